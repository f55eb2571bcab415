/** What the export's card and the builder's settings say. No number of the method is written in this program. */

export interface Graph {
  inputs: Record<string, (number | string)[]>;
  outputs: string[];
}

/** card.json of the export (docs/export.md). */
export interface Card {
  resolution: number;
  fps: number;
  sample_rate: number;
  latents: { channels: number; size: number };
  visemes: string[];
  motion: string[];
  schedules: Record<string, number[]>;
  hears?: string;
  look_ahead: number;
  recogniser_memory: number;
  look_ahead_ms: number;
  memory: number[][];
  graphs: Record<string, Graph>;
  files: Record<string, string>;
}

/** settings.json: constants of the Python package, written by `make site`. */
export interface Settings {
  version: string;
  /** SHA-256 of the card. */
  weights: string;
  sound: {
    hop: number;
    window: number;
    mels: number;
    mels_per_frame: number;
    floor: number;
    log_mean: number;
    log_std: number;
    silence: number;
  };
  visemes: { past: number; future: number; live_wait: number };
  /** What a denoiser can hear, by its name in the card, and how many numbers a frame that is. */
  hears: { visemes: number; visemes_lips: number; visemes_loudness: number; loudness: number };
  loudness: { bands: [number, number][]; memory: number; least: number; range: number; quiet: number };
  faces: {
    eyes_at: [number, number];
    eyes_to_mouth: number;
    max_roll: number;
    smallest: number;
    sure: number;
    rival: number;
    finder: { smallest: number; thresholds: number[]; factor: number };
  };
  canvas: {
    reach: number;
    edge: number;
    rim: number;
    painted_over: [number, number];
    detail: number;
    half: number;
    largest_face: number;
    largest_picture: number;
  };
  mouth: { lower_face: [number, number, number]; roundness: number; edge: number };
  light: {
    rows: [number, number];
    columns: [number, number];
    bright: number;
    largest_gain: number;
    coloured: number;
    luminance: [number, number, number];
  };
  concerns: { turned: number; lean: number; small: number };
  limits: { seconds: number; longest_side: number };
  words: { label: string; no_consent: string; generated: string };
  files: Record<string, number>;
}

/** How many numbers a denoiser is given of each frame of speech: visemes, and lips or loudness behind them. */
export function heardSize(card: Card, settings: Settings): number {
  const size = (settings.hears as Record<string, number>)[heardBy(card)];
  if (!size) throw new Error(`the export hears ${heardBy(card)}, which this program does not know: build the site again`);
  return size;
}

export function heardBy(card: Card): string {
  return card.hears ?? "visemes";
}
