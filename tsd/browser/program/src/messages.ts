/** What page and worker say to each other. */

import type { Finished, Sound } from "./video";

export interface Speech {
  /** float32 of one channel, at the rate of the nets: what they hear. */
  wave: Float32Array;
  /** What the video sounds like. */
  sound: Sound;
}

export interface Wishes {
  steps: string;
  seed: number;
  motion: "natural" | "still";
  frame: "picture" | "face";
  label: boolean;
  consent: string;
}

export type ToWorker =
  | { kind: "load"; base: string }
  | { kind: "photograph"; image: ImageData; frame: "picture" | "face" }
  | { kind: "speak"; speech: Speech; wishes: Wishes }
  | { kind: "live"; wishes: Wishes }
  | { kind: "sound"; samples: Float32Array }
  | { kind: "stop" };

export type FromWorker =
  | { kind: "loading"; loaded: number; total: number }
  | { kind: "ready"; steps: string[]; threads: number; rate: number; fps: number; longestSide: number }
  | { kind: "found"; sentences: string[] }
  | { kind: "frame"; number: number; total: number; width: number; height: number; rgba: Uint8ClampedArray<ArrayBuffer> }
  | { kind: "done"; file: Finished; frames: number; seconds: number; steps: string }
  | { kind: "stopped"; dropped: number; frames: number }
  | { kind: "refused"; text: string };
