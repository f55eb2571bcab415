/** A stream of sound to windows of what the denoiser hears, in pieces of any size (tsd/runtime/hearing.py). */

import type { Run } from "./graphs";
import { type Card, type Settings, heardSize, hearsLoudness } from "./settings";
import { type LogMel, bandLevels, relativeLoudness } from "./sound";

export class Hearing {
  /** Numbers per frame. */
  readonly size: number;
  private wave = new Float32Array(0);
  private mel = new Float32Array(0);
  private levels = new Float32Array(0);
  private first = 0;
  private heard = 0;
  private visemes: Float32Array;
  private readonly perFrame: number;
  private readonly perColumns: number;
  private readonly margin: number;

  constructor(
    private readonly card: Card,
    private readonly settings: Settings,
    private readonly logMel: LogMel,
    private readonly recognise: Run,
  ) {
    const { hop, window, mels, mels_per_frame } = settings.sound;
    this.size = heardSize(card, settings);
    this.perFrame = hop * mels_per_frame;
    this.perColumns = mels * mels_per_frame;
    this.margin = (window - hop) / 2;
    this.visemes = new Float32Array(settings.visemes.past * this.size);
  }

  /** The next samples -> windows [n, W, size] of the frames whose future is known now. */
  async push(wave: Float32Array): Promise<Float32Array> {
    this.wave = joined(this.wave, wave);
    this.listen(Math.floor((this.wave.length - this.margin) / this.perFrame));
    const known = this.first + this.mel.length / this.perColumns - this.card.look_ahead;
    const ready = this.visemes.length / this.size - this.settings.visemes.past + known - this.heard;
    const count = Math.max(0, ready - this.settings.visemes.future);
    if (count) await this.understand(known);
    return this.windows(count);
  }

  /** The end of the stream: windows of the frames that were still waiting. */
  async finish(): Promise<Float32Array> {
    this.listen(Math.ceil(this.wave.length / this.perFrame));
    await this.understand(this.first + this.mel.length / this.perColumns);
    return this.windows(this.visemes.length / this.size - this.settings.visemes.past);
  }

  /** Log-mel columns of the first `frames` frames of `wave`; the last of these stays as a neighbour. */
  private listen(frames: number): void {
    const before = this.first + this.mel.length > 0 ? 1 : 0;
    if (frames <= before) return;
    const columns = this.logMel.columns(this.wave.subarray(0, frames * this.perFrame + this.margin));
    this.mel = joined(this.mel, columns.subarray(before * this.perColumns, frames * this.perColumns));
    this.wave = this.wave.slice((frames - 1) * this.perFrame);
  }

  private async understand(known: number): Promise<void> {
    if (known <= this.heard) return;
    const { mels } = this.settings.sound;
    const { logits } = await this.recognise({ mel: [this.mel, [1, this.mel.length / mels, mels]] });
    const from = this.heard - this.first;
    const until = known - this.first;
    this.visemes = joined(this.visemes, this.withLoudness(softmax(logits, this.card.visemes.length), from, until));
    this.heard = known;
    const forget = Math.max(0, known - this.card.past - this.first);
    this.mel = this.mel.slice(forget * this.perColumns);
    this.first += forget;
  }

  /** Rows `from` to `until` of visemes [T, V], with loudness behind them where the denoiser hears it. */
  private withLoudness(visemes: Float32Array, from: number, until: number): Float32Array {
    const width = this.card.visemes.length;
    if (!hearsLoudness(this.card)) return visemes.slice(from * width, until * width);
    const bands = this.settings.loudness.bands.length;
    const levels = bandLevels(this.mel.subarray(from * this.perColumns, until * this.perColumns), this.settings);
    const loudness = relativeLoudness(levels, this.levels, this.settings);
    this.levels = joined(this.levels, levels).slice(-(this.settings.loudness.memory - 1) * bands);
    const out = new Float32Array((until - from) * this.size);
    for (let t = 0; t < until - from; t++) {
      out.set(visemes.subarray((from + t) * width, (from + t + 1) * width), t * this.size);
      out.set(loudness.subarray(t * bands, (t + 1) * bands), t * this.size + width);
    }
    return out;
  }

  /** The next `count` windows; forgets what no later one asks for. */
  private windows(count: number): Float32Array {
    const { past, future } = this.settings.visemes;
    const span = (past + 1 + future) * this.size;
    const out = new Float32Array(count * span);
    for (let t = 0; t < count; t++) {
      out.set(this.visemes.subarray(t * this.size, Math.min(this.visemes.length, t * this.size + span)), t * span);
    }
    this.visemes = this.visemes.slice(count * this.size);
    return out;
  }
}

export function joined(a: Float32Array, b: Float32Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

function softmax(logits: Float32Array, width: number): Float32Array {
  const out = new Float32Array(logits.length);
  for (let row = 0; row < logits.length; row += width) {
    let most = -Infinity;
    for (let i = 0; i < width; i++) most = Math.max(most, logits[row + i]);
    let sum = 0;
    for (let i = 0; i < width; i++) sum += out[row + i] = Math.exp(logits[row + i] - most);
    for (let i = 0; i < width; i++) out[row + i] /= sum;
  }
  return out;
}
