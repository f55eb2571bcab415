/** Samples at 16 kHz to log-mel columns and loudness, as tsd/media/audio.py and tsd/media/loudness.py compute them. */

import type { Settings } from "./settings";

export class LogMel {
  private readonly cos: Float32Array;
  private readonly sin: Float32Array;
  private readonly hann: Float32Array;
  private readonly bins: number;

  /** filters: [window / 2 + 1, mels]. */
  constructor(
    private readonly settings: Settings,
    private readonly filters: Float32Array,
  ) {
    const { window } = settings.sound;
    this.bins = window / 2 + 1;
    this.hann = Float32Array.from({ length: window }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / window));
    this.cos = new Float32Array(window);
    this.sin = new Float32Array(window);
    for (let i = 0; i < window; i++) {
      this.cos[i] = Math.cos((2 * Math.PI * i) / window);
      this.sin[i] = Math.sin((2 * Math.PI * i) / window);
    }
  }

  /** float32 [N] -> [mels_per_frame * ceil(N / frame), mels]; zeros beyond both ends. */
  columns(wave: Float32Array): Float32Array {
    const { hop, window, mels, mels_per_frame, floor, log_mean, log_std } = this.settings.sound;
    const count = mels_per_frame * Math.ceil(wave.length / (hop * mels_per_frame));
    const margin = (window - hop) / 2;
    const out = new Float32Array(count * mels);
    const piece = new Float32Array(window);
    const power = new Float32Array(this.bins);
    for (let column = 0; column < count; column++) {
      for (let i = 0; i < window; i++) piece[i] = (wave[column * hop - margin + i] ?? 0) * this.hann[i];
      this.powers(piece, power);
      for (let band = 0; band < mels; band++) {
        let sum = 0;
        for (let bin = 0; bin < this.bins; bin++) sum += power[bin] * this.filters[bin * mels + band];
        out[column * mels + band] = (Math.log10(Math.max(sum, floor)) - log_mean) / log_std;
      }
    }
    return out;
  }

  /** Power of each frequency of a window of real samples. */
  private powers(piece: Float32Array, power: Float32Array): void {
    const n = piece.length;
    for (let bin = 0; bin < this.bins; bin++) {
      let re = 0;
      let im = 0;
      for (let i = 0, angle = 0; i < n; i++) {
        re += piece[i] * this.cos[angle];
        im += piece[i] * this.sin[angle];
        angle += bin;
        if (angle >= n) angle -= n;
      }
      power[bin] = re * re + im * im;
    }
  }
}

/** Log-mel [T * mels_per_frame, mels] -> [T, bands]: the mean of each band in every frame. */
export function bandLevels(mel: Float32Array, settings: Settings): Float32Array {
  const { mels, mels_per_frame } = settings.sound;
  const { bands, least } = settings.loudness;
  const frames = mel.length / (mels * mels_per_frame);
  const out = new Float32Array(frames * bands.length);
  for (let t = 0; t < frames; t++) {
    bands.forEach(([first, end], b) => {
      let sum = 0;
      for (let c = 0; c < mels_per_frame; c++) {
        for (let i = first; i < end; i++) sum += Math.max(mel[(t * mels_per_frame + c) * mels + i], least);
      }
      out[t * bands.length + b] = sum / (mels_per_frame * (end - first));
    });
  }
  return out;
}

/** Levels [T, bands] -> loudness [T, bands], 1 as loud as the loudest of the last `memory` frames. before: earlier levels. */
export function relativeLoudness(levels: Float32Array, before: Float32Array, settings: Settings): Float32Array {
  const { bands, memory, range, quiet } = settings.loudness;
  const width = bands.length;
  const every = new Float32Array(before.length + levels.length);
  every.set(before);
  every.set(levels, before.length);
  const first = before.length / width;
  const out = new Float32Array(levels.length);
  for (let t = 0; t < levels.length / width; t++) {
    let loudest = quiet;
    for (let i = Math.max(0, first + t - memory + 1); i <= first + t; i++) loudest = Math.max(loudest, every[i * width]);
    for (let b = 0; b < width; b++) {
      out[t * width + b] = Math.max(1 + (levels[t * width + b] - loudest) / range, 0);
    }
  }
  return out;
}
