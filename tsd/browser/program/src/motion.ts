/** Head motion: recorded tracks on another face, and the maps from a frame's face to the reference's. */

import { Random } from "./noise";

type Point = [number, number];
type Face = [Point, Point, Point];

/** Left eye, right eye and nose of a canonical crop are not needed here: without landmarks the head stands still. */
export type Track = number[][];

/** Similarity transform [[a, b, x], [c, d, y]] that takes the eyes of one face to another's. */
export function similarity(source: Face | Point[], target: Face | Point[]): number[][] {
  const x = source[1][0] - source[0][0];
  const y = source[1][1] - source[0][1];
  const tx = target[1][0] - target[0][0];
  const ty = target[1][1] - target[0][1];
  const size = Math.max(x * x + y * y, 1e-4);
  const cos = (x * tx + y * ty) / size;
  const sin = (x * ty - y * tx) / size;
  const mx = (source[0][0] + source[1][0]) / 2;
  const my = (source[0][1] + source[1][1]) / 2;
  return [
    [cos, -sin, (target[0][0] + target[1][0]) / 2 - (cos * mx - sin * my)],
    [sin, cos, (target[0][1] + target[1][1]) / 2 - (sin * mx + cos * my)],
  ];
}

function applied(map: number[][], point: Point): Point {
  return [
    map[0][0] * point[0] + map[0][1] * point[1] + map[0][2],
    map[1][0] * point[0] + map[1][1] * point[1] + map[1][2],
  ];
}

export function faceOf(motion: ArrayLike<number>): Face {
  return [
    [motion[0], motion[1]],
    [motion[2], motion[3]],
    [motion[4], motion[5]],
  ];
}

/** The nose's offset to the side of and below the middle of the eyes, in units of their distance. */
function noseOf([left, right, nose]: Face): Point {
  const way: Point = [right[0] - left[0], right[1] - left[1]];
  const away: Point = [nose[0] - (left[0] + right[0]) / 2, nose[1] - (left[1] + right[1]) / 2];
  const size = Math.max(way[0] ** 2 + way[1] ** 2, 1e-6);
  return [(away[0] * way[0] + away[1] * way[1]) / size, (-away[0] * way[1] + away[1] * way[0]) / size];
}

function poseOf(face: Face): Point {
  return [noseOf(face)[0], Math.atan2(face[1][1] - face[0][1], face[1][0] - face[0][0])];
}

/** The motion that a stream repeats without end: a bank's track [N, T, M] on the face of `start`, or `start` alone. */
export function cycle(bank: { data: Float32Array; shape: number[] } | null, start: number[], seed: number): Track {
  if (!bank) return [start];
  const [tracks, frames, size] = bank.shape;
  const track = new Random(seed).bits() % tracks;
  const rows = Array.from({ length: frames }, (_, t) =>
    Array.from(bank.data.subarray((track * frames + t) * size, (track * frames + t + 1) * size)),
  );
  const face = faceOf(start);
  const begin = nearest(rows, poseOf(face));
  const order = [...rows.keys(), ...Array.from({ length: Math.max(0, frames - 2) }, (_, i) => frames - 2 - i)];
  const count = Math.max(1, 2 * frames - 2);
  const along = Array.from({ length: count }, (_, i) => rows[order[(begin + i) % order.length]]);
  const first = faceOf(along[0]);
  return along.map((row) => replayed(face, first, row));
}

function nearest(rows: number[][], pose: Point): number {
  let best = 0;
  let least = Infinity;
  rows.forEach((row, i) => {
    const other = poseOf(faceOf(row));
    const distance = (other[0] - pose[0]) ** 2 + (other[1] - pose[1]) ** 2;
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}

/** A face moved as a track moves from its first frame to `row`. */
function replayed(face: Face, first: Face, row: number[]): number[] {
  const points = faceOf(row);
  const map = similarity(first, points);
  const left = applied(map, face[0]);
  const right = applied(map, face[1]);
  const [here, now, then] = [noseOf(face), noseOf(points), noseOf(first)];
  const along = here[0] + now[0] - then[0];
  const down = here[1] + now[1] - then[1];
  const way: Point = [right[0] - left[0], right[1] - left[1]];
  const nose: Point = [
    (left[0] + right[0]) / 2 + along * way[0] - down * way[1],
    (left[1] + right[1]) / 2 + along * way[1] + down * way[0],
  ];
  return [...left, ...right, ...nose, ...row.slice(6)];
}

/** Map [6] from a frame's face to the reference's. */
export function toReference(motion: number[], reference: number[]): number[] {
  return similarity(faceOf(motion), faceOf(reference)).flat();
}
