"""What a page that needs no server costs, how fast it is and what it keeps: figures of a real Chromium, part by part.

    .venv/bin/python experiments/browser/browser.py visit speed live reach [--minutes 10] [--weights people]

Needs Chromium, Node.js and what `make setup` installs. Each part merges what it found into report.json; beside every
time stands what other programs did meanwhile.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tsd.bench.chromium import chromium, examined, frames_of, keep_frames, says, visit
from tsd.bench.machine import describe
from tsd.bench.processes import Reading
from tsd.bench.static_host import hosted
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio, write_wav
from tsd.media.signals import FPS, SAMPLE_RATE
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
FACE, SPEECH = (REPO / "experiments" / "quality" / name for name in ("face.png", "speech.wav"))
BELOW = "any/path/"
"""The site is opened below a path of its host."""

PACE = re.compile(r"([\d.]+) frames a second")
LIVE = re.compile(r"Picture (-?\d+) ms after its sound \((-?\d+) ms at most.*?(\d+) frames shown, (\d+) left out")
"""What the page itself says of a video, and of live speech."""


def make_site(root: Path, weights: str) -> None:
    """The site below BELOW of a new host's folder; ends as `make site` does where that fails."""
    folder = root / BELOW
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tsd.commands.site", f"weights={weights}", f"out={folder}"]
    if code := subprocess.run(command, cwd=REPO).returncode:
        raise SystemExit(code)


def speech_of(seconds: float, path: Path) -> Path:
    """The first seconds of the speech, again and again where it is shorter."""
    write_wav(path, np.resize(load_audio(SPEECH), round(seconds * SAMPLE_RATE)))
    return path


def ready(page) -> None:
    says(page, "Ready.")


def given(page, speech: Path | None, steps: str = "k1") -> None:
    """A visitor's photograph, speech and wishes; no label, which Python draws with other letters."""
    page.locator("#photograph").set_input_files(FACE)
    says(page, "The photograph can speak.")
    page.locator("#steps").select_option(steps)
    page.locator("#label").uncheck()
    if speech:
        page.locator("#speech").set_input_files(speech)
        says(page, "s of speech.")


def spoken(page) -> None:
    page.locator("#status").evaluate("status => { status.textContent = ''; }")  # else the last video's end is found
    page.locator("#speak").click()
    says(page, "Done.")


def first_visit(root: Path, work: Path, _) -> dict:
    """Bytes of a first visit, by the host's count, and a video without the host after it."""
    speech = speech_of(1, work / "one.wav")
    with chromium(speech) as browser:
        with hosted(root, BELOW) as host:
            begun = time.monotonic()
            page, errors = visit(browser, host.address)
            ready(page)
            found = {"seconds": time.monotonic() - begun, "mb": sum(host.sizes) / 1e6, "files": len(host.sizes)}
        page.reload()
        ready(page)
        given(page, speech)
        spoken(page)
        return found | {"offline": page.locator("#numbers").inner_text(), "console_errors": errors}


def speed(root: Path, work: Path, options) -> dict:
    """Frames a second by the page's own clock, and how far frames are from Python's."""
    one, ten = speech_of(1, work / "one.wav"), speech_of(10, work / "ten.wav")
    talker = Talker.load(REPO / "weights" / options.weights, "onnxruntime", threads=1)
    talker.marked = False
    talker.set_reference(FACE)
    found = {}
    with hosted(root, BELOW) as host, chromium(one) as browser:
        page, _ = visit(browser, host.address)
        ready(page)
        keep_frames(page)
        for steps in options.steps:
            page.reload()
            ready(page)
            given(page, one, steps)
            spoken(page)
            theirs, ours = frames_of(page).astype(int), talker.video(load_audio(one), steps)
            found[steps] = {"largest_difference": int(np.abs(theirs - ours).max())} | paces(page, ten, options.rounds)
        found["threads"] = int(page.evaluate("document.body.dataset.threads"))
    return found


def paces(page, speech: Path, rounds: int) -> dict:
    """Of several videos of one speech: frames a second, and processor time of all of Chromium for each frame."""
    page.locator("#speech").set_input_files(speech)
    says(page, "s of speech.")
    found, frames = [], len(load_audio(speech)) * FPS / SAMPLE_RATE
    for _ in range(rounds):
        before = Reading.of("chrom")
        spoken(page)
        after = Reading.of("chrom")
        pace = float(PACE.search(page.locator("#numbers").inner_text())[1])
        found.append({"fps": pace, "processor_ms": 1000 * (after.own - before.own) / frames} | after.since(before))
    return {"fps": float(np.median([row["fps"] for row in found])), "rounds": found}


def live(root: Path, work: Path, options) -> dict:
    """Minutes of speech into the microphone: delay by the page's own clock, drift, frames left out, memory."""
    with hosted(root, BELOW) as host, chromium(speech_of(30, work / "half.wav")) as browser:
        page, errors = visit(browser, host.address)
        ready(page)
        given(page, None, options.steps[0])
        page.locator("#live").click()
        page.locator("#numbers", has_text="ms after its sound").wait_for()
        page.wait_for_timeout(5000)
        first, rows = Reading.of("chrom"), []
        while (now := Reading.of("chrom")).clock - first.clock < 60 * options.minutes:
            mean, most, shown, left_out = map(int, LIVE.search(page.locator("#numbers").inner_text()).groups())
            rows.append((now.clock - first.clock, mean, most, shown, left_out, now.resident / 2**20))
            page.wait_for_timeout(2000)
        page.locator("#cancel").click()
        says(page, "Stopped after")
    return of_minutes(np.array(rows)) | now.since(first) | {"console_errors": errors, "steps": options.steps[0]}


def of_minutes(rows: np.ndarray) -> dict:
    """rows [N, 6]: seconds, mean and largest delay of two seconds in ms, frames shown and left out so far, MiB."""
    seconds, mean, most, shown, left_out, mib = rows.T
    first, last = seconds < seconds[0] + 60, seconds > seconds[-1] - 60
    length = seconds[-1] - seconds[0]
    return {
        "minutes": length / 60,
        "delay_ms": {"median": float(np.median(mean)), "p95_of_largest": float(np.quantile(most, 0.95))},
        "drift_ms": float(np.median(mean[last]) - np.median(mean[first])),
        "shown_a_second": float((shown[-1] - shown[0]) / length),
        "frames_a_second": float((shown[-1] + left_out[-1] - shown[0] - left_out[0]) / length),
        "left_out": int(left_out[-1] - left_out[0]),
        "mib": {"first_minute": float(np.median(mib[first])), "last_minute": float(np.median(mib[last]))},
    }


def reach(root: Path, work: Path, _) -> dict:
    """What axe says of the site, at two widths, light and dark, empty and with a result."""
    speech, found = speech_of(1, work / "one.wav"), {}
    with hosted(root, BELOW) as host, chromium(speech) as browser:
        for name, wide, dark in (("desktop", 1100, False), ("phone", 390, False), ("dark", 1100, True)):
            page, _ = visit(browser, host.address, wide, dark=dark)
            ready(page)
            found[f"{name}, empty"] = counts(page)
            given(page, speech)
            spoken(page)
            found[f"{name}, result"] = counts(page)
            page.context.close()
    return found


def counts(page) -> dict:
    """How many rules axe found kept, broken and undecided; the broken ones by name."""
    answer = examined(page)
    told = {kind: len(answer[kind]) for kind in ("passes", "incomplete")}
    return told | {"violations": [rule["id"] for rule in answer["violations"]]}


PARTS: dict[str, Callable] = {"visit": first_visit, "speed": speed, "live": live, "reach": reach}


def merge(path: Path, found: dict) -> None:
    """Write the parts that were found into a report; the others stay."""
    before = json.loads(path.read_text()) if path.is_file() else {}
    write_file(path, (json.dumps(before | found, indent=1, sort_keys=True) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--weights", default="people", help="a folder of weights/")
    parser.add_argument("--steps", nargs="+", default=["k1", "k2"], help="schedules; live speech takes the first")
    parser.add_argument("--rounds", type=int, default=3, help="videos that are timed")
    parser.add_argument("--minutes", type=float, default=10, help="of live speech")
    parser.add_argument("--work", type=Path, default=REPO / "outputs" / "browser")
    options = parser.parse_args()
    root = options.work / "host"
    options.work.mkdir(parents=True, exist_ok=True)
    make_site(root, options.weights)
    for part in options.parts:
        found = PARTS[part](root, options.work, options)
        merge(STUDY / "report.json", {part: found | {"machine": describe([])["processor"]}})
        print(part, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
