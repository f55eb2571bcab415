/** A face and sound in, frames out: the chain of tsd/runtime/talker.py on exported graphs. */

import { type Canvas, Composer, type Light, canvasOf, lightOf, sideOf, usual } from "./composing";
import { concerns, cutOut, findFace, framing, inSquare } from "./faces";
import type { Nets, Value } from "./graphs";
import { Hearing } from "./hearing";
import { cycle, toReference, type Track } from "./motion";
import { Random } from "./noise";
import type { Picture } from "./pixels";
import type { Card, Settings } from "./settings";
import type { LogMel } from "./sound";

/** A prepared reference: what every frame uses, by the names of the graphs' inputs. */
export interface Speaker {
  canvas: Canvas;
  light: Light;
  motion: number[];
  picture: Float32Array;
  latent: Float32Array;
  parts: Record<string, Value>;
  sentences: string[];
}

export interface Wish {
  steps: string;
  seed: number;
  motion: "natural" | "still";
}

/** Frames that were made together: RGBA of each, or null for those that a slow machine leaves out. */
export type Made = (Uint8ClampedArray<ArrayBuffer> | null)[];

export class Talker {
  constructor(
    readonly card: Card,
    readonly settings: Settings,
    private readonly nets: Nets,
    private readonly logMel: LogMel,
    private readonly bank: { data: Float32Array; shape: number[] } | null,
  ) {}

  /** Find the face of a photograph and read everything that its frames will use. */
  async speaker(photograph: Picture, frame: "picture" | "face"): Promise<Speaker> {
    const { card, settings, nets } = this;
    const face = await findFace(photograph, nets, settings);
    const toUnit = framing(face.points, settings);
    const points = inSquare(face.points, toUnit);
    const side = sideOf(toUnit);
    const crop = cutOut(photograph, toUnit, card.resolution);
    const light = lightOf(crop, settings);
    const canvas = canvasOf(photograph, toUnit, points, frame, card.resolution, settings);
    const motion = [...points.slice(0, 3).flat(), 1];
    const picture = unitPlanes(usual(crop, light));
    const shape = [1, 3, card.resolution, card.resolution];
    const latent = (await nets.encoder({ pictures: [picture, shape] })).z;
    const parts = await this.read(latent, motion);
    const found = `One face, ${side.toFixed(0)} pixels across, in a picture of ${photograph.width} x ${photograph.height}.`;
    return { canvas, light, motion, picture, latent, parts, sentences: [found, ...concerns(face, side, settings)] };
  }

  /** The reference's features, under the names that the other graphs give them. */
  private async read(latent: Float32Array, motion: number[]): Promise<Record<string, Value>> {
    const { channels, size } = this.card.latents;
    const parts: Record<string, Value> = {
      reference_latent: [latent, [1, channels, size, size]],
      reference_motion: [Float32Array.from(motion), [1, motion.length]],
      motion_known: [[true], [1]],
    };
    const features = await this.nets.reference(parts);
    const shapes = { ...this.card.graphs.frames.inputs, ...this.card.graphs.step.inputs };
    for (const [name, data] of Object.entries(features)) {
      const shape = shapes[`reference_${name}`];
      if (shape) parts[`reference_${name}`] = [data, sized(shape, 1, 1)];
    }
    return parts;
  }

  /** A stream of this speaker; see `Stream`. wait: as in `Hearing`. */
  stream(speaker: Speaker, wish: Wish, wait: number | null = null): Stream {
    const strengths = this.card.schedules[wish.steps];
    if (!strengths) throw new Error(`the export holds no schedule ${wish.steps}`);
    const hearing = new Hearing(this.card, this.settings, this.logMel, this.nets.recogniser, wait);
    const track = wish.motion === "still" ? [speaker.motion] : cycle(this.bank, speaker.motion, wish.seed);
    const still = wish.motion === "still";
    const composer = new Composer(speaker.canvas, this.card.resolution, speaker.light, still, this.settings);
    return new Stream(this.card, this.nets, speaker, strengths, hearing, track, composer, wish.seed);
  }
}

/** One video in progress. Its state is the sound that is still needed and the student's memory of every step. */
export class Stream {
  private readonly memories: (Record<string, Value> | null)[];
  private readonly noise: Float32Array;
  private done = 0;

  constructor(
    private readonly card: Card,
    private readonly nets: Nets,
    private readonly speaker: Speaker,
    private readonly strengths: number[],
    private readonly hearing: Hearing,
    private readonly track: Track,
    private readonly composer: Composer,
    seed: number,
  ) {
    this.memories = strengths.map(() => null);
    this.noise = new Random(seed).normal(speaker.latent.length);
  }

  /** Width and height of its frames. */
  get size(): [number, number] {
    return this.composer.size;
  }

  /** The next samples, float32 at 16 kHz -> the frames whose sound is there now, at most `chunk` at a time.
   *  show: which of n frames are composed; the others are null, but remembered by the nets. */
  async *push(wave: Float32Array, chunk: number, show?: (n: number) => boolean[]): AsyncGenerator<Made> {
    yield* this.speak(await this.hearing.push(wave), chunk, show);
  }

  async *finish(chunk: number): AsyncGenerator<Made> {
    yield* this.speak(await this.hearing.finish(), chunk);
  }

  private async *speak(windows: Float32Array, chunk: number, show?: (n: number) => boolean[]): AsyncGenerator<Made> {
    const shape = this.card.graphs.frames.inputs.visemes as number[];
    const span = shape[2] * shape[3];
    for (let at = 0; at < windows.length; at += chunk * span) {
      const part = windows.slice(at, at + chunk * span);
      const count = part.length / span;
      yield await this.part(part, count, show?.(count));
    }
  }

  /** The next `count` frames: features, steps, decoder, composing. */
  private async part(windows: Float32Array, count: number, show?: boolean[]): Promise<Made> {
    const { card, nets, speaker, track } = this;
    const motions = Array.from({ length: count }, (_, i) => track[(this.done + i) % track.length]);
    this.done += count;
    const shapes = card.graphs.frames.inputs;
    const given: Record<string, Value> = {
      ...speaker.parts,
      visemes: [windows, sized(shapes.visemes, 1, count)],
      motion: [Float32Array.from(motions.flat()), sized(shapes.motion, 1, count)],
    };
    const features = await nets.frames(given);
    const z = await this.steps(features, count);
    const wanted = show ?? motions.map(() => true);
    if (!wanted.some(Boolean)) return motions.map(() => null);
    return this.decoded(z, motions, wanted);
  }

  /** Algorithm 3: from noise to latents [count, C, h, w]. */
  private async steps(features: Record<string, Float32Array>, count: number): Promise<Float32Array> {
    const { card, nets, speaker, strengths } = this;
    const shapes = card.graphs.step.inputs;
    const size = speaker.latent.length;
    const z = new Float32Array(count * size);
    for (let i = 0; i < z.length; i++) z[i] = Math.fround(strengths[0]) * this.noise[i % size];
    const given: Record<string, Value> = { ...speaker.parts };
    for (const [name, data] of Object.entries(features)) given[name] = [data, sized(shapes[name], 1, count)];
    for (const [k, strength] of strengths.entries()) {
      const memory = this.memories[k] ?? nothing(card);
      const state: Value = [z, sized(shapes.z_s, 1, count)];
      const outputs = await nets.step({ ...given, ...memory, z_s: state, s: [Float32Array.of(strength), [1]] });
      const eta = Math.fround(strength - (strengths[k + 1] ?? 0));
      for (let i = 0; i < z.length; i++) z[i] -= eta * outputs.eps_hat[i];
      this.memories[k] = Object.fromEntries(
        card.memory.map((shape, i) => [`memory_${i}`, [outputs[`next_${i}`], [1, ...shape]]]),
      );
    }
    return z;
  }

  private async decoded(z: Float32Array, motions: Track, wanted: boolean[]): Promise<Made> {
    const { card, nets, speaker, composer } = this;
    const { resolution } = card;
    const shown = [...wanted.keys()].filter((i) => wanted[i]);
    const size = speaker.latent.length;
    const latents = new Float32Array(shown.length * size);
    shown.forEach((from, i) => latents.set(z.subarray(from * size, (from + 1) * size), i * size));
    const maps = shown.flatMap((i) => toReference(motions[i], speaker.motion));
    const shapes = card.graphs.decoder.inputs;
    const { change, offsets } = await nets.decoder({
      ...speaker.parts,
      z: [latents, sized(shapes.z, 1, shown.length)],
      picture: [speaker.picture, [1, 3, resolution, resolution]],
      maps: [Float32Array.from(maps), [1, shown.length, 2, 3]],
    });
    const plane = resolution * resolution;
    const made: Made = motions.map(() => null);
    shown.forEach((frame, i) => {
      const colours = change.subarray(3 * plane * i, 3 * plane * (i + 1));
      made[frame] = composer.frame(colours, offsets.subarray(2 * plane * i, 2 * plane * (i + 1)));
    });
    return made;
  }
}

/** The student's memory before the first frame. */
function nothing(card: Card): Record<string, Value> {
  return Object.fromEntries(
    card.memory.map((shape, i) => [
      `memory_${i}`,
      [new Float32Array(shape.reduce((product, n) => product * n, 1)), [1, ...shape]] as Value,
    ]),
  );
}

/** A card's shape with its free dimensions filled in. */
function sized(shape: (number | string)[], batch: number, frames: number): number[] {
  return shape.map((size) => (size === "batch" ? batch : size === "frames" ? frames : Number(size)));
}

/** uint8 [H, W, 3] -> float32 [3, H, W] in -1..1. */
function unitPlanes({ data, width, height }: Picture): Float32Array {
  const plane = width * height;
  const out = new Float32Array(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) out[c * plane + i] = data[3 * i + c] / 127.5 - 1;
  }
  return out;
}
