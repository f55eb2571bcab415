/** The worker: nets, frames and files, apart from the page, which stays quick. */

import { Refusal } from "./faces";
import { Files, checked, graphOf, tensorOf } from "./files";
import { Runtime, openAll } from "./graphs";
import { joined } from "./hearing";
import { Label } from "./label";
import type { FromWorker, Speech, ToWorker, Wishes } from "./messages";
import { rgbOf } from "./pixels";
import type { Card, Settings } from "./settings";
import { LogMel } from "./sound";
import { type Speaker, type Stream, Talker } from "./talker";
import { VideoFile } from "./video";

/** Frames at a time of a finished recording. */
const CHUNK = 8;

/** Frames that may wait in live mode before the older ones are not shown, and before their sound is not heard. */
const BEHIND = 2;
const FAR_BEHIND = 10;

let talker: Talker;
let speaker: Speaker | null = null;
let photograph: { image: ImageData; frame: Wishes["frame"] } | null = null;
let stopped = false;
let live: Live | null = null;
let turn: Promise<void> = Promise.resolve();

function say(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "stop") {
    stopped = true;
    live?.end();
  } else if (data.kind === "sound") {
    live?.hear(data.samples);
  } else {
    if (data.kind === "live") live = new Live(talker.card.sample_rate / talker.card.fps);
    turn = turn.then(() => answer(data)).catch(refuse);
  }
};

/** One thing after the other. */
async function answer(message: ToWorker): Promise<void> {
  stopped = false;
  if (message.kind === "load") await load(message.base);
  if (message.kind === "photograph") await look(message.image, message.frame);
  if (message.kind === "speak") await speak(message.speech, message.wishes);
  if (message.kind === "live" && live) await talk(live, message.wishes);
}

function refuse(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  say({ kind: "refused", text: error instanceof Refusal ? text : `This did not work (${text}): load the page again.` });
}

async function load(base: string): Promise<void> {
  const settings: Settings = await (await fetch(new URL("settings.json", base))).json();
  const files = new Files(base, settings.files, (loaded, total) => say({ kind: "loading", loaded, total }));
  const card = await files.json<Card>("nets/card.json");
  const runtime = await Runtime.load(base, (name) => files.read(name));
  const nets = await openAll(runtime, card, async (name) => {
    const graph = await graphOf(await files.read(`${name}.packed`));
    const digest = card.files[`${name.replace("nets/", "")}.onnx`];
    return name.startsWith("nets/") ? checked(graph, digest, name) : graph;
  });
  const bank = "motion.safetensors" in card.files ? tensorOf(await files.read("nets/motion.safetensors"), "tracks") : null;
  const logMel = new LogMel(settings, await files.floats("mel.bin"));
  talker = new Talker(card, settings, nets, logMel, bank);
  const steps = Object.keys(card.schedules);
  const { sample_rate: rate, fps } = card;
  say({ kind: "ready", steps, threads: runtime.threads, rate, fps, longestSide: settings.limits.longest_side });
}

async function look(image: ImageData, frame: Wishes["frame"]): Promise<void> {
  speaker = null;
  photograph = { image, frame };
  speaker = await talker.speaker(rgbOf(image), frame);
  say({ kind: "found", sentences: speaker.sentences });
}

/** The speaker whose frames are as these wishes have them. */
async function seated(wishes: Wishes): Promise<Speaker> {
  if (!photograph) throw new Refusal("The photograph is missing: give one of one person who looks into the camera.");
  if (!speaker || photograph.frame !== wishes.frame) await look(photograph.image, wishes.frame);
  return speaker as Speaker;
}

async function speak({ wave, sound }: Speech, wishes: Wishes): Promise<void> {
  const { card, settings } = talker;
  check(wave, settings);
  const stream = talker.stream(await seated(wishes), wishes);
  const [width, height] = stream.size;
  const said = wishes.consent ? `consent: ${wishes.consent.replace(/\.$/, "")}` : settings.words.no_consent;
  const comment = `${settings.words.generated}; ${said}. Weights ${settings.weights.slice(0, 16)}. Not signed.`;
  const file = await VideoFile.open([width, height], card.fps, sound, comment);
  const label = labelOf(wishes, width, height);
  const total = Math.ceil((wave.length * card.fps) / card.sample_rate);
  const begun = performance.now();
  let number = 0;
  try {
    for await (const made of everything(stream, wave)) {
      for (const frame of made) {
        if (!frame) continue;
        const rgba = label ? label.drawn(frame) : frame;
        await file.add(rgba);
        say({ kind: "frame", number: number++, total, width, height, rgba }, [rgba.buffer]);
      }
      await pause();
      if (stopped) break;
    }
  } catch (error) {
    await file.cancel();
    throw error;
  }
  if (stopped) {
    await file.cancel();
    return say({ kind: "stopped", dropped: 0, frames: number });
  }
  const seconds = (performance.now() - begun) / 1000;
  const finished = await file.finish();
  say({ kind: "done", file: finished, frames: number, seconds, steps: wishes.steps }, [finished.content]);
}

async function* everything(stream: Stream, wave: Float32Array) {
  yield* stream.push(wave, CHUNK);
  yield* stream.finish(CHUNK);
}

function check(wave: Float32Array, settings: Settings): void {
  const { rate, seconds } = { rate: talker.card.sample_rate, seconds: settings.limits.seconds };
  if (!wave.length) throw new Refusal("The sound is empty: give a recording of speech.");
  if (wave.length > seconds * rate) {
    const long = (wave.length / rate).toFixed(1);
    throw new Refusal(`The sound is ${long} s long: ${seconds} s are the most here; cut it.`);
  }
  if (wave.every((sample) => Math.abs(sample) < settings.sound.silence)) {
    throw new Refusal("The sound is silent: give a recording of speech.");
  }
}

function labelOf(wishes: Wishes, width: number, height: number): Label | null {
  if (!wishes.label) return null;
  const { label, no_consent } = talker.settings.words;
  return new Label(width, height, wishes.consent ? [label] : [label, no_consent]);
}

/** Lets messages in. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** A microphone's stream, which begins before the nets are ready for it. Frames belong to their sound: where too many
 *  wait, the older ones are not shown, and where a machine cannot even follow the sound, some of that is skipped. */
class Live {
  private samples = new Float32Array(0);
  private wake: (() => void) | null = null;
  private over = false;
  dropped = 0;
  frames = 0;

  /** perFrame: samples. */
  constructor(private readonly perFrame: number) {}

  hear(samples: Float32Array): void {
    this.samples = joined(this.samples, samples);
    this.wake?.();
  }

  end(): void {
    this.over = true;
    this.wake?.();
  }

  async run(stream: Stream, label: Label | null): Promise<void> {
    const [width, height] = stream.size;
    while (!this.over) {
      if (!this.samples.length) await new Promise<void>((resolve) => (this.wake = resolve));
      const newest = (n: number) => Array.from({ length: n }, (_, i) => n <= BEHIND || i === n - 1);
      for await (const made of stream.push(this.waiting(), FAR_BEHIND, newest)) {
        for (const frame of made) {
          const number = this.frames++;
          if (!frame) {
            this.dropped++;
            continue;
          }
          const rgba = label ? label.drawn(frame) : frame;
          say({ kind: "frame", number, total: 0, width, height, rgba }, [rgba.buffer]);
        }
      }
      await pause();
    }
  }

  /** What was heard since the last time, without whole frames that are too late by far. */
  private waiting(): Float32Array {
    const late = Math.max(0, Math.floor(this.samples.length / this.perFrame) - FAR_BEHIND);
    this.frames += late;
    this.dropped += late;
    const samples = this.samples.slice(late * this.perFrame);
    this.samples = new Float32Array(0);
    return samples;
  }
}

async function talk(here: Live, wishes: Wishes): Promise<void> {
  try {
    const stream = talker.stream(await seated(wishes), wishes, talker.settings.visemes.live_wait);
    const [width, height] = stream.size;
    await here.run(stream, labelOf(wishes, width, height));
    say({ kind: "stopped", dropped: here.dropped, frames: here.frames });
  } finally {
    live = null;
  }
}
