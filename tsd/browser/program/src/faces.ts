/** Finds the one face of a photograph (MTCNN, Zhang et al. 2016) and cuts it out, as tsd/media/faces.py does. */

import type { Nets, Run } from "./graphs";
import { type Affine, type Picture, area, enlarged, inverse, pooled, warped } from "./pixels";
import type { Settings } from "./settings";

type Box = [number, number, number, number];

export interface Landmarks {
  /** Eye on the left of the picture, eye on the right, nose, mouth corners: x, y in pixels. */
  points: [number, number][];
  box: Box;
  probability: number;
}

interface Candidate {
  box: Box;
  score: number;
  shift: number[];
}

/** Something about a visitor's file or wish, to be shown to them as it is. */
export class Refusal extends Error {}

/** The one face; Refusal for none, several of comparable size, or one that is too small. */
export async function findFace(picture: Picture, nets: Nets, settings: Settings): Promise<Landmarks> {
  const { rival, smallest } = settings.faces;
  const faces = await detectFaces(picture, nets, settings);
  if (!faces.length) throw new Refusal("No face found: give a picture of one person who looks into the camera.");
  const rivals = faces.filter((face) => sizeOf(face) > rival * sizeOf(faces[0]));
  if (rivals.length > 1) throw new Refusal(`The picture shows ${rivals.length} faces: cut out the one that shall speak.`);
  if (sizeOf(faces[0]) < smallest) {
    const across = sizeOf(faces[0]).toFixed(0);
    throw new Refusal(`The face is only ${across} pixels across: give one where it has ${smallest}.`);
  }
  return faces[0];
}

function sizeOf({ box }: Landmarks): number {
  return Math.max(box[2] - box[0], box[3] - box[1]);
}

async function detectFaces(picture: Picture, nets: Nets, settings: Settings): Promise<Landmarks[]> {
  const short = Math.min(picture.width, picture.height);
  const long = Math.max(picture.width, picture.height);
  const first = short < 320 ? Math.min(4, 320 / short) : Math.min(1, 1024 / long);
  const found = await detectAt(picture, first, nets, settings);
  return found.length ? found : detectAt(picture, Math.min(1, 100 / short), nets, settings);
}

async function detectAt(picture: Picture, scale: number, nets: Nets, settings: Settings): Promise<Landmarks[]> {
  const width = Math.round(picture.width * scale);
  const height = Math.round(picture.height * scale);
  const sized = scale < 1 ? area(picture, width, height) : scale > 1 ? enlarged(picture, width, height) : picture;
  const found = await cascade(sized, nets, settings);
  return found
    .filter((face) => face.probability >= settings.faces.sure)
    .map((face) => ({
      points: face.points.map(([x, y]) => [x / scale, y / scale] as [number, number]),
      box: face.box.map((x) => x / scale) as Box,
      probability: face.probability,
    }))
    .sort((a, b) => sizeOf(b) - sizeOf(a));
}

async function cascade(picture: Picture, nets: Nets, settings: Settings): Promise<Landmarks[]> {
  const [first, second, third] = settings.faces.finder.thresholds;
  let boxes = (await proposals(picture, nets.propose, first, settings)).map(square);
  boxes = await refined(picture, boxes, nets.refine, second);
  return outputs(picture, boxes, nets.output, third);
}

/** First net: every place of a pyramid of pictures. */
async function proposals(picture: Picture, propose: Run, threshold: number, settings: Settings): Promise<Box[]> {
  const { smallest, factor } = settings.faces.finder;
  const found: Candidate[] = [];
  let scale = 12 / smallest;
  for (let side = Math.min(picture.width, picture.height) * scale; side >= 12; side *= factor, scale *= factor) {
    const width = Math.trunc(picture.width * scale + 1);
    const height = Math.trunc(picture.height * scale + 1);
    const data = planes(pooled(picture, [0, 0, picture.width, picture.height], width, height), width * height);
    const { probability, moves } = await propose({ pictures: [data, [1, 3, height, width]] });
    const [rows, columns] = [convolved(height), convolved(width)];
    const here: Candidate[] = [];
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const at = y * columns + x;
        const score = probability[at];
        if (score < threshold) continue;
        const corner = (i: number, end: number) => Math.floor((2 * i + end) / scale);
        const shift = [0, 1, 2, 3].map((i) => moves[i * rows * columns + at]);
        here.push({ box: [corner(x, 1), corner(y, 1), corner(x, 12), corner(y, 12)], score, shift });
      }
    }
    found.push(...withoutOverlaps(here, 0.5));
  }
  return withoutOverlaps(found, 0.7).map(({ box, shift }) => {
    const [width, height] = [box[2] - box[0], box[3] - box[1]];
    return [
      box[0] + shift[0] * width,
      box[1] + shift[1] * height,
      box[2] + shift[2] * width,
      box[3] + shift[3] * height,
    ];
  });
}

/** Side of the first net's result: three convolutions of 3 around a pooling of 2 that rounds up. */
function convolved(side: number): number {
  return Math.ceil((side - 2) / 2) - 4;
}

async function refined(picture: Picture, boxes: Box[], refine: Run, threshold: number): Promise<Box[]> {
  const kept = boxes.filter((box) => cut(picture, box));
  if (!kept.length) return [];
  const { probability, moves } = await refine({ pictures: crops(picture, kept, 24) });
  const found = kept.map((box, i) => ({ box, score: probability[i], shift: [...moves.subarray(4 * i, 4 * i + 4)] }));
  const sure = found.filter(({ score }) => score > threshold);
  return withoutOverlaps(sure, 0.7).map((candidate) => square(moved(candidate)));
}

async function outputs(picture: Picture, boxes: Box[], output: Run, threshold: number): Promise<Landmarks[]> {
  const kept = boxes.filter((box) => cut(picture, box));
  if (!kept.length) return [];
  const { probability, moves, landmarks } = await output({ pictures: crops(picture, kept, 48) });
  const found = kept
    .map((box, i) => {
      const [width, height] = [box[2] - box[0] + 1, box[3] - box[1] + 1];
      const marks = Array.from({ length: 5 }, (_, p): [number, number] => [
        width * landmarks[10 * i + p] + box[0] - 1,
        height * landmarks[10 * i + 5 + p] + box[1] - 1,
      ]);
      const candidate = { box, score: probability[i], shift: [...moves.subarray(4 * i, 4 * i + 4)] };
      return { points: marks, box: moved(candidate), probability: candidate.score };
    })
    .filter(({ probability }) => probability > threshold);
  return apart(found);
}

/** Of candidates that overlap by more than `most` of their union, the best alone. */
function withoutOverlaps(candidates: Candidate[], most: number): Candidate[] {
  const kept: Candidate[] = [];
  for (const candidate of [...candidates].sort((a, b) => b.score - a.score)) {
    const area = extent(candidate.box, 0);
    if (kept.every(({ box }) => {
      const common = shared(box, candidate.box, 0);
      return common <= most * (extent(box, 0) + area - common);
    })) {
      kept.push(candidate);
    }
  }
  return kept;
}

/** Of faces that overlap by more than 0.7 of the smaller one, the surest alone. */
function apart(faces: Landmarks[]): Landmarks[] {
  const kept: Landmarks[] = [];
  for (const face of [...faces].sort((a, b) => b.probability - a.probability)) {
    const area = extent(face.box, 1);
    if (kept.every(({ box }) => shared(box, face.box, 1) <= 0.7 * Math.min(area, extent(box, 1)))) kept.push(face);
  }
  return kept;
}

function extent(box: Box, more: number): number {
  return (box[2] - box[0] + more) * (box[3] - box[1] + more);
}

function shared(a: Box, b: Box, more: number): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]) + more;
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]) + more;
  return Math.max(0, width) * Math.max(0, height);
}

function moved({ box, shift }: Candidate): Box {
  const [width, height] = [box[2] - box[0] + 1, box[3] - box[1] + 1];
  return [box[0] + shift[0] * width, box[1] + shift[1] * height, box[2] + shift[2] * width, box[3] + shift[3] * height];
}

function square(box: Box): Box {
  const [width, height] = [box[2] - box[0], box[3] - box[1]];
  const side = Math.max(width, height);
  const left = box[0] + width * 0.5 - side * 0.5;
  const top = box[1] + height * 0.5 - side * 0.5;
  return [left, top, left + side, top + side];
}

/** The part of a box that lies in the picture, in whole pixels; null where there is none. */
function cut(picture: Picture, box: Box): Box | null {
  const left = Math.max(Math.trunc(box[0]), 1) - 1;
  const top = Math.max(Math.trunc(box[1]), 1) - 1;
  const right = Math.min(Math.trunc(box[2]), picture.width);
  const bottom = Math.min(Math.trunc(box[3]), picture.height);
  return right > left && bottom > top ? [left, top, right, bottom] : null;
}

function crops(picture: Picture, boxes: Box[], side: number): [Float32Array, number[]] {
  const size = 3 * side * side;
  const out = new Float32Array(boxes.length * size);
  boxes.forEach((box, i) => {
    out.set(planes(pooled(picture, cut(picture, box) as Box, side, side), side * side), i * size);
  });
  return [out, [boxes.length, 3, side, side]];
}

/** [pixels, 3] in 0..255 -> [3, pixels] as the finder's nets want it. */
function planes(pixels: Float32Array, count: number): Float32Array {
  const out = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let c = 0; c < 3; c++) out[c * count + i] = (pixels[3 * i + c] - 127.5) * 0.0078125;
  }
  return out;
}

/** Map from pixels to units of the side of the framed picture. */
export function framing(points: [number, number][], settings: Settings): Affine {
  const { eyes_at, eyes_to_mouth, max_roll } = settings.faces;
  const [left, right, , mouthLeft, mouthRight] = points;
  const eyes = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2];
  const mouth = [(mouthLeft[0] + mouthRight[0]) / 2, (mouthLeft[1] + mouthRight[1]) / 2];
  const scale = eyes_to_mouth / Math.max(Math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]), 1e-6);
  const lean = leanOf(points);
  const turn = Math.min(Math.max(lean, -max_roll), max_roll) - lean;
  const [cos, sin] = [scale * Math.cos(turn), scale * Math.sin(turn)];
  return [
    [cos, -sin, eyes_at[0] - (cos * eyes[0] - sin * eyes[1])],
    [sin, cos, eyes_at[1] - (sin * eyes[0] + cos * eyes[1])],
  ];
}

function leanOf([left, right]: [number, number][]): number {
  return Math.atan2(right[1] - left[1], right[0] - left[0]);
}

/** A map to units of the side -> the same to pixels of a picture of `size`, between pixel centres. */
export function toPixels(toUnit: Affine, size: number): Affine {
  return toUnit.map(([a, b, x]) => [a * size, b * size, x * size + 0.5 * size * (a + b) - 0.5]);
}

/** What `toUnit` maps to the unit square, [size, size, 3]; borders are repeated. */
export function cutOut(picture: Picture, toUnit: Affine, size: number): Picture {
  const [[a, b], [c, d]] = toUnit;
  const scale = Math.sqrt(Math.abs(a * d - b * c));
  const fine = size * Math.max(1, Math.ceil(1 / (scale * size) - 1e-9));
  const made = warped(picture, inverse(toPixels(toUnit, fine)), fine, fine);
  return fine === size ? made : area(made, size, size);
}

/** Points in units of the square. */
export function inSquare(points: [number, number][], [[a, b, x], [c, d, y]]: Affine): [number, number][] {
  return points.map(([px, py]) => [Math.fround(a * px + b * py + x), Math.fround(c * px + d * py + y)]);
}

/** Sentences about a face that speaks less well. */
export function concerns(face: Landmarks, side: number, settings: Settings): string[] {
  const { turned, lean, small } = settings.concerns;
  const [left, right, nose] = face.points;
  const [ax, ay] = [right[0] - left[0], right[1] - left[1]];
  const off = (nose[0] - (left[0] + right[0]) / 2) * ax + (nose[1] - (left[1] + right[1]) / 2) * ay;
  const found: string[] = [];
  if (Math.abs(off) > turned * (ax * ax + ay * ay)) {
    found.push("The head is turned to the side: one half of the mouth will be invented.");
  }
  if (Math.abs(leanOf(face.points)) > lean) found.push("The head leans far: its motion may look wrong.");
  if (side < small) found.push(`The face's square has only ${side.toFixed(0)} pixels: with ${small} or more it is sharper.`);
  return found;
}
