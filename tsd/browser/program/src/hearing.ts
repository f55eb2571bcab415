/** A stream of sound to windows of what the denoiser hears, in pieces of any size (tsd/runtime/hearing.py). */

import type { Run } from "./graphs";
import { type Card, type Settings, heardBy, heardSize } from "./settings";
import { type LogMel, bandLevels, relativeLoudness } from "./sound";

/** What the recogniser says of a piece of a stream. */
interface Heard {
  heard: Float32Array;
  width: number;
  memory: Float32Array;
  early: number;
}

/** wait: frames of sound after a frame that are awaited; null: all that the nets look ahead. */
export class Hearing {
  /** Numbers per frame. */
  readonly size: number;
  private wave = new Float32Array(0);
  private begun = false;
  /** Columns of the frames whose visemes are not known yet. */
  private mel = new Float32Array(0);
  /** How many numbers of `mel` the recogniser has heard. */
  private listened = 0;
  /** The recogniser's memory of this stream, and its outputs still to come that lie before the first frame. */
  private memory: Float32Array;
  private early: number;
  private levels = new Float32Array(0);
  private visemes: Float32Array;
  /** Frames whose sound is there, and those whose windows have been given out. */
  private frames = 0;
  private given = 0;
  /** Whether windows are given out before all that the nets look ahead is there. */
  private readonly hasty: boolean;
  private readonly wait: number;
  private readonly perFrame: number;
  private readonly perColumns: number;
  private readonly margin: number;

  constructor(
    private readonly card: Card,
    private readonly settings: Settings,
    private readonly logMel: LogMel,
    private readonly recognise: Run,
    wait: number | null = null,
  ) {
    const most = card.look_ahead + settings.visemes.future;
    this.wait = Math.min(wait ?? most, most);
    this.hasty = this.wait < most;
    const { hop, window, mels, mels_per_frame } = settings.sound;
    this.size = heardSize(card, settings);
    this.perFrame = hop * mels_per_frame;
    this.perColumns = mels * mels_per_frame;
    this.margin = (window - hop) / 2;
    this.memory = new Float32Array(card.recogniser_memory);
    this.early = card.look_ahead;
    this.visemes = new Float32Array(settings.visemes.past * this.size);
  }

  /** The next samples -> windows [n, W, size] of the frames after which enough sound is there now. */
  async push(wave: Float32Array): Promise<Float32Array> {
    this.wave = joined(this.wave, wave);
    this.listen(Math.floor((this.wave.length - this.margin) / this.perFrame));
    const count = Math.max(0, this.frames - this.wait - this.given);
    if (!count) return this.windows(0);
    await this.understand();
    return this.windows(count, this.hasty ? await this.expected() : undefined);
  }

  /** The end of the stream: windows of the frames that were still waiting. */
  async finish(): Promise<Float32Array> {
    this.listen(Math.ceil(this.wave.length / this.perFrame));
    if (this.mel.length) await this.understand(true);
    return this.windows(this.frames - this.given);
  }

  /** Log-mel columns of the first `frames` frames of `wave`; the last of these stays as a neighbour. */
  private listen(frames: number): void {
    const before = this.begun ? 1 : 0;
    if (frames <= before) return;
    const columns = this.logMel.columns(this.wave.subarray(0, frames * this.perFrame + this.margin));
    this.mel = joined(this.mel, columns.subarray(before * this.perColumns, frames * this.perColumns));
    this.frames += frames - before;
    this.wave = this.wave.slice((frames - 1) * this.perFrame);
    this.begun = true;
  }

  /** Visemes of the frames that can be known by now; forgets their columns. */
  private async understand(end = false): Promise<void> {
    const fresh = this.mel.slice(this.listened);
    const { heard, width, memory, early } = await this.hear(end ? joined(fresh, this.beyond()) : fresh);
    this.memory = memory;
    this.early = early;
    const mel = this.mel.slice(0, (heard.length / width) * this.perColumns);
    this.mel = this.mel.slice(mel.length);
    this.listened = this.mel.length;
    this.visemes = joined(this.visemes, this.said(heard, width, mel));
    this.remember(mel);
  }

  /** Visemes of the frames whose future is not there yet, if the sound went on as it is now. What the stream has heard
   *  stays as it is. */
  private async expected(): Promise<Float32Array> {
    const { heard, width } = await this.hear(this.beyond());
    return this.said(heard, width, this.mel);
  }

  /** What is heard beyond the end of a sound: its last column, for the lookahead of the last frames. */
  private beyond(): Float32Array {
    const { mels } = this.settings.sound;
    const columns = this.card.look_ahead * (this.perColumns / mels);
    const out = new Float32Array(columns * mels);
    for (let at = 0; at < columns; at++) out.set(this.mel.subarray(this.mel.length - mels), at * mels);
    return out;
  }

  /** The recogniser on the next columns: what it says of the frames that are known with them, [T, width], its memory
   *  after them, and its outputs still to come that lie before the first frame. */
  private async hear(fresh: Float32Array): Promise<Heard> {
    const { mels } = this.settings.sound;
    const frames = fresh.length / this.perColumns;
    const out = await this.recognise({
      mel: [fresh, [1, fresh.length / mels, mels]],
      memory: [this.memory, [1, this.memory.length]],
    });
    const skipped = Math.min(this.early, frames);
    const width = out.heard.length / frames;
    return { heard: out.heard.subarray(skipped * width), width, memory: out.next_memory, early: this.early - skipped };
  }

  /** What the denoiser hears of frames, [T, size], by the recogniser's rows [T, width] and their columns. */
  private said(rows: Float32Array, width: number, mel: Float32Array): Float32Array {
    if (!rows.length) return new Float32Array(0);
    const visemes = probabilities(rows, width, this.card.visemes.length);
    return beside(visemes, this.extra(rows, width, mel));
  }

  /** What the denoiser hears beside visemes, [T, n]: lips, loudness or nothing. */
  private extra(rows: Float32Array, width: number, mel: Float32Array): Float32Array {
    const hears = heardBy(this.card);
    if (hears === "visemes") return new Float32Array(0);
    if (hears === "visemes_lips") return lips(rows, width, this.card.visemes.length);
    return relativeLoudness(bandLevels(mel, this.settings), this.levels, this.settings);
  }

  /** Keep the levels of frames that are known: what the loudness of later ones is measured in. */
  private remember(mel: Float32Array): void {
    if (!heardBy(this.card).includes("loudness")) return;
    const { memory, bands } = this.settings.loudness;
    this.levels = joined(this.levels, bandLevels(mel, this.settings)).slice(-(memory - 1) * bands.length);
  }

  /** The next `count` windows; forgets what no later one asks for. */
  private windows(count: number, expected = new Float32Array(0)): Float32Array {
    const { past, future } = this.settings.visemes;
    const visemes = joined(this.visemes, expected);
    const span = (past + 1 + future) * this.size;
    const out = new Float32Array(count * span);
    for (let t = 0; t < count; t++) {
      out.set(visemes.subarray(t * this.size, Math.min(visemes.length, t * this.size + span)), t * span);
    }
    this.visemes = this.visemes.slice(count * this.size);
    this.given += count;
    return out;
  }
}

export function joined(a: Float32Array, b: Float32Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

/** The recogniser's rows [T, width] -> softmax of their first `count` numbers, [T][count]. */
function probabilities(rows: Float32Array, width: number, count: number): Float32Array[] {
  const powersOf = (logits: Float32Array) => {
    const most = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - most));
    const sum = powers.reduce((total, power) => total + power, 0);
    return powers.map((power) => power / sum);
  };
  return Array.from({ length: rows.length / width }, (_, t) => powersOf(rows.subarray(t * width, t * width + count)));
}

/** How far the lips are open, the number behind the recogniser's `count` visemes, and that it is known: [T, 2]. */
function lips(rows: Float32Array, width: number, count: number): Float32Array {
  if (width <= count) throw new Error("this student follows lips, but its recogniser does not say how far they are open");
  const out = new Float32Array((2 * rows.length) / width).fill(1);
  for (let t = 0; t < rows.length / width; t++) out[2 * t] = Math.max(rows[t * width + count], 0);
  return out;
}

/** Visemes [T][V] with the rows of [T, n] behind them: [T, V + n]. */
function beside(visemes: Float32Array[], extra: Float32Array): Float32Array {
  if (!visemes.length) return extra;
  const n = extra.length / visemes.length;
  const size = visemes[0].length + n;
  const out = new Float32Array(visemes.length * size);
  visemes.forEach((row, t) => {
    out.set(row, t * size);
    out.set(extra.subarray(t * n, (t + 1) * n), t * size + row.length);
  });
  return out;
}
