"use strict";
const part = (id) => document.getElementById(id);
const runs = JSON.parse(part("data").textContent);
const sides = ["first", "second"];
const players = [part("left"), part("right")];

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name, i) => new Option(decodeURIComponent(name), i)));
  select.selectedIndex = Math.min(chosen, names.length - 1);
}

function element(kind, text, name) {
  const made = document.createElement(kind);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function chosen() {
  return sides.map((side) => runs[part(side).selectedIndex]);
}

function figures([first, second]) {
  const rows = [];
  for (const row of Object.keys(first.figures).filter((name) => name in second.figures)) {
    for (const metric of Object.keys(first.figures[row]).filter((name) => name in second.figures[row])) {
      const [a, b] = [first.figures[row][metric], second.figures[row][metric]];
      const line = document.createElement("tr");
      const cells = [a.toPrecision(4), b.toPrecision(4), (b - a).toPrecision(2)].map((x) => element("td", x, "number"));
      line.append(element("th", row), element("td", metric, "text"), ...cells);
      rows.push(line);
    }
  }
  part("figures").replaceChildren(...rows);
}

function sheets(pair) {
  const pictures = pair.map((run) => {
    if (!run.sheet) return element("p", "no contact sheet");
    const image = new Image();
    image.src = run.sheet;
    image.alt = "Contact sheet of " + run.name;
    return image;
  });
  part("sheets").replaceChildren(...pictures);
  part("sweep").hidden = pair.every((run) => !run.sheet);
}

/** A contact sheet shows moments from left to right: a bright band goes over both at one pace. */
function sweep() {
  for (const image of part("sheets").querySelectorAll("img")) {
    const steps = Array.from({ length: 41 }, (_, i) => {
      const middle = i * 2.5;
      return { maskImage: `linear-gradient(90deg,#0004 ${middle - 9}%,#000 ${middle - 8}% ${middle + 8}%,#0004 ${middle + 9}%)` };
    });
    image.animate(steps, { duration: 10000, easing: "steps(40)" });
  }
}

function videos(pair) {
  pair.forEach((run, i) => fill(part("video-" + sides[i]), run.videos, 0));
  sources();
}

function sources() {
  const pair = chosen();
  players.forEach((player, i) => {
    const source = pair[i].videos[part("video-" + sides[i]).selectedIndex];
    player.hidden = !source;
    if (source) player.src = source;
    else player.removeAttribute("src");
  });
  part("player").hidden = players.every((player) => player.hidden);
  part("play").textContent = "Play both";
}

function shown() {
  return players.filter((player) => !player.hidden);
}

function toggle() {
  const playing = shown().some((player) => !player.paused);
  for (const player of shown()) {
    if (playing) player.pause();
    else void player.play();
  }
  part("play").textContent = playing ? "Play both" : "Pause both";
}

/** The second follows the first: both show one moment, within a frame. */
function follow() {
  const [leader, other] = shown();
  if (!leader) return;
  if (leader.duration) part("time").value = leader.currentTime / leader.duration;
  if (other && Math.abs(other.currentTime - leader.currentTime) > 0.04 && leader.currentTime < other.duration) {
    other.currentTime = leader.currentTime;
  }
}

function choose() {
  const pair = chosen();
  figures(pair);
  sheets(pair);
  videos(pair);
}

sides.forEach((side, i) => {
  fill(part(side), runs.map((run) => encodeURIComponent(run.name)), i);
  part(side).addEventListener("change", choose);
  part("video-" + side).addEventListener("change", sources);
});
part("play").addEventListener("click", toggle);
part("sweep").addEventListener("click", sweep);
part("time").addEventListener("input", () => {
  for (const player of shown()) player.currentTime = part("time").value * (player.duration || 0);
});
players.forEach((player) => player.addEventListener("timeupdate", follow));
choose();
