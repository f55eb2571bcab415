/** The page: what a visitor sees and presses. */

import { Refusal } from "./faces";
import { Camera, Microphone, readPicture, readSpeech, wavOf } from "./inputs";
import type { FromWorker, Speech, ToWorker, Wishes } from "./messages";

const base = new URL(".", document.baseURI).href;

function part<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const status = part<HTMLParagraphElement>("status");
const progress = part<HTMLProgressElement>("progress");
const frames = part<HTMLCanvasElement>("frames");
const result = part<HTMLVideoElement>("result");
const numbers = part<HTMLParagraphElement>("numbers");
const download = part<HTMLAnchorElement>("download");
const seen = part<HTMLCanvasElement>("seen");
const heard = part<HTMLAudioElement>("heard");
const buttons = {
  camera: part<HTMLButtonElement>("camera"),
  record: part<HTMLButtonElement>("record"),
  speak: part<HTMLButtonElement>("speak"),
  live: part<HTMLButtonElement>("live"),
  cancel: part<HTMLButtonElement>("cancel"),
};

type State = "loading" | "idle" | "making" | "live";

let state: State = "loading";
let speech: Speech | null = null;
let hasPhotograph = false;
let longestSide = 0;
/** Of the nets: samples and frames a second. */
let rate = 0;
let fps = 0;
let recording: { microphone: Microphone; pieces: Float32Array[] } | null = null;
let microphone: Microphone | null = null;
let clock: Clock | null = null;
let worker: Worker;

function say(text: string, refused = false): void {
  status.textContent = text;
  status.classList.toggle("refused", refused);
}

function enter(next: State): void {
  state = next;
  const idle = state === "idle";
  for (const id of ["inputs", "options"]) part<HTMLFieldSetElement>(id).disabled = !idle;
  buttons.speak.disabled = !idle;
  buttons.live.disabled = !idle;
  buttons.cancel.disabled = state !== "making" && state !== "live";
  buttons.cancel.textContent = state === "live" ? "Stop" : "Cancel";
  progress.hidden = state !== "loading" && state !== "making";
}

function wishes(): Wishes {
  const value = (id: string) => part<HTMLInputElement | HTMLSelectElement>(id).value;
  return {
    steps: value("steps"),
    seed: Math.max(0, Math.trunc(Number(value("seed")) || 0)),
    motion: value("motion") as Wishes["motion"],
    frame: value("frame") as Wishes["frame"],
    label: part<HTMLInputElement>("label").checked,
    consent: value("consent").trim(),
  };
}

function tell(message: ToWorker, transfer: Transferable[] = []): void {
  worker.postMessage(message, transfer);
}

function answered({ data }: MessageEvent<FromWorker>): void {
  if (data.kind === "loading") progress.value = data.loaded / data.total;
  if (data.kind === "ready") ready(data);
  if (data.kind === "found") found(data.sentences);
  if (data.kind === "frame") show(data);
  if (data.kind === "done") done(data);
  if (data.kind === "stopped") stopped(data);
  if (data.kind === "refused") {
    endLive();
    enter("idle");
    say(data.text, true);
  }
}

function ready(data: Extract<FromWorker, { kind: "ready" }>): void {
  ({ longestSide, rate, fps } = data);
  const known = data.steps.map((name) => new Option(`K = ${name.slice(1)}`, name));
  part<HTMLSelectElement>("steps").replaceChildren(...known);
  if (data.steps.includes("k2")) part<HTMLSelectElement>("steps").value = "k2";
  enter("idle");
  say("Ready. Give a photograph and speech.");
  document.body.dataset.threads = String(data.threads);
}

function found(sentences: string[]): void {
  const items = sentences.map((sentence) => {
    const item = document.createElement("li");
    item.textContent = sentence;
    return item;
  });
  part("found").replaceChildren(...items);
  if (state === "idle") say("The photograph can speak.");
}

function show(data: Extract<FromWorker, { kind: "frame" }>): void {
  const { width, height, rgba, number, total } = data;
  if (frames.width !== width || frames.height !== height) [frames.width, frames.height] = [width, height];
  frames.hidden = false;
  frames.getContext("2d")?.putImageData(new ImageData(rgba, width, height), 0, 0);
  if (total) {
    progress.value = (number + 1) / total;
    say(`Frame ${number + 1} of ${total}`);
  } else {
    clock?.shown(number);
  }
}

function done(data: Extract<FromWorker, { kind: "done" }>): void {
  const address = URL.createObjectURL(new Blob([data.file.content], { type: data.file.type }));
  if (result.src) URL.revokeObjectURL(result.src);
  result.src = address;
  result.hidden = false;
  frames.hidden = true;
  download.href = address;
  download.download = `generated_${data.steps}.${data.file.ending}`;
  download.textContent = `Download the video (${data.file.ending}, ${(data.file.content.byteLength / 1e6).toFixed(1)} MB)`;
  download.hidden = false;
  const pace = data.frames / data.seconds;
  numbers.textContent =
    `${data.frames} frames (${(data.frames / fps).toFixed(1)} s) with K = ${data.steps.slice(1)} in ` +
    `${data.seconds.toFixed(1)} s: ${pace.toFixed(1)} frames a second. Speech needs ${fps}.`;
  enter("idle");
  say("Done. The video says that it was generated; it is not signed.");
}

function stopped(data: Extract<FromWorker, { kind: "stopped" }>): void {
  const live = clock !== null;
  endLive();
  enter("idle");
  say(live ? `Stopped after ${data.frames} frames; ${data.dropped} were left out.` : "Cancelled. Nothing was kept.");
  frames.hidden = !live;
}

/** Live mode's delay from sound to picture, by the page's own clock. */
class Clock {
  private begun = 0;
  private length = 0;
  private readonly delays: number[] = [];
  private shownFrames = 0;
  private dropped = 0;

  /** A piece of sound has come, ms long. The earliest arrival says when the stream began. */
  heard(length: number): void {
    this.length += length;
    const began = performance.now() - this.length;
    this.begun = this.length === length ? began : Math.min(this.begun, began);
  }

  /** A frame is on the screen: its sound ended when the frame after it began. */
  shown(number: number): void {
    this.dropped += number - (this.shownFrames + this.dropped);
    this.shownFrames++;
    this.delays.push(performance.now() - this.begun - (number + 1) * (1000 / fps));
    if (this.delays.length > 2 * fps) this.delays.shift();
    const mean = this.delays.reduce((sum, delay) => sum + delay, 0) / this.delays.length;
    const most = Math.max(...this.delays);
    numbers.textContent =
      `Picture ${mean.toFixed(0)} ms after its sound (${most.toFixed(0)} ms at most in two seconds), ` +
      `${this.shownFrames} frames shown, ${this.dropped} left out.`;
  }
}

function endLive(): void {
  microphone?.stop();
  microphone = null;
  clock = null;
}

/** Runs what a visitor asked for; what is refused is said. */
function guarded(run: () => Promise<void>): () => void {
  return () => {
    run().catch((error: unknown) => {
      const text = error instanceof Error ? error.message : String(error);
      say(error instanceof Refusal ? text : `This did not work: ${text}`, true);
    });
  };
}

const camera = new Camera(part<HTMLVideoElement>("view"));

function photographed(image: ImageData): void {
  camera.stop();
  buttons.camera.textContent = "Use the camera";
  [seen.width, seen.height] = [image.width, image.height];
  seen.getContext("2d")?.putImageData(image, 0, 0);
  seen.hidden = false;
  part("found").replaceChildren();
  hasPhotograph = true;
  say("Looking for the face …");
  tell({ kind: "photograph", image, frame: wishes().frame });
}

async function given(file: Blob): Promise<void> {
  speech = null;
  speech = await readSpeech(file, rate);
  heard.src = URL.createObjectURL(file);
  heard.hidden = false;
  say(`${(speech.wave.length / rate).toFixed(1)} s of speech.`);
}

async function toggleRecording(): Promise<void> {
  if (recording) {
    recording.microphone.stop();
    const blob = wavOf(recording.pieces, rate);
    recording = null;
    buttons.record.textContent = "Record";
    return given(blob);
  }
  const pieces: Float32Array[] = [];
  recording = { microphone: await Microphone.start(base, rate, (samples) => pieces.push(samples)), pieces };
  part<HTMLInputElement>("speech").value = "";
  buttons.record.textContent = "Stop recording";
  say("Recording …");
}

async function letItSpeak(): Promise<void> {
  if (!hasPhotograph) throw new Refusal("The photograph is missing.");
  if (!speech) throw new Refusal("The speech is missing.");
  result.hidden = true;
  download.hidden = true;
  numbers.textContent = "";
  progress.value = 0;
  enter("making");
  say("Making …");
  tell({ kind: "speak", speech, wishes: wishes() });
}

async function speakLive(): Promise<void> {
  if (!hasPhotograph) throw new Refusal("The photograph is missing.");
  enter("live");
  say("Waiting for the microphone …");
  try {
    microphone = await Microphone.start(base, rate, (samples) => {
      clock?.heard((1000 * samples.length) / rate);
      tell({ kind: "sound", samples }, [samples.buffer]);
    });
  } catch (error) {
    enter("idle");
    throw error;
  }
  result.hidden = true;
  download.hidden = true;
  say("Speak: the face follows.");
  tell({ kind: "live", wishes: wishes() });
  clock = new Clock();
}

function listen(): void {
  part<HTMLInputElement>("photograph").addEventListener("change", (event) => {
    const file = (event.target as HTMLInputElement).files?.[0];
    if (file) guarded(async () => photographed(await readPicture(file, longestSide)))();
  });
  part<HTMLInputElement>("speech").addEventListener("change", (event) => {
    const file = (event.target as HTMLInputElement).files?.[0];
    if (file) guarded(() => given(file))();
  });
  const look = async () => {
    if (camera.on) return photographed(camera.take());
    await camera.start();
    part<HTMLInputElement>("photograph").value = ""; // so that the same file can be chosen again
    buttons.camera.textContent = "Take the picture";
  };
  buttons.camera.addEventListener("click", guarded(look));
  buttons.record.addEventListener("click", guarded(toggleRecording));
  part<HTMLFormElement>("form").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(letItSpeak)();
  });
  buttons.live.addEventListener("click", guarded(speakLive));
  buttons.cancel.addEventListener("click", () => tell({ kind: "stop" }));
}

/** Registers the service worker; the first visit is loaded again under it, which gives the page its headers. */
async function underServiceWorker(): Promise<void> {
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register(new URL("service.js", base), { type: "module" });
  await navigator.serviceWorker.ready;
  if (!self.crossOriginIsolated && !sessionStorage.getItem("loaded again")) {
    sessionStorage.setItem("loaded again", "yes");
    location.reload();
    await new Promise(() => undefined);
  }
}

async function start(): Promise<void> {
  listen();
  await underServiceWorker().catch(() => undefined); // without it: one thread, and not offline
  worker = new Worker(new URL("worker.js", base), { type: "module" });
  worker.onmessage = answered;
  worker.onerror = () => say("The program cannot be loaded: load the page again.", true);
  tell({ kind: "load", base });
}

void start();
