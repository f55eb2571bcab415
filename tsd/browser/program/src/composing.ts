/** Frames of a whole photograph from what the decoder says of its face (tsd/runtime/canvas.py and composing.py). */

import { cutOut, toPixels } from "./faces";
import { type Affine, type Picture, area, byte, inverse } from "./pixels";
import type { Settings } from "./settings";

/** Left, top, right and bottom. */
export type Box = [number, number, number, number];

export interface Canvas {
  picture: Picture;
  /** From its pixels to units of the face's square. */
  toUnit: Affine;
  /** Landmarks in units of the square. */
  points: [number, number][];
  /** What is shown. */
  shown: Box;
  /** Edges of the photograph in this picture. */
  photograph: Box;
}

export function sideOf([[a, b], [c, d]]: Affine): number {
  return 1 / Math.sqrt(Math.max(Math.abs(a * d - b * c), 1e-12));
}

/** `frame`: the whole picture, or the face's square alone; as large as the picture is, within the settings' limits. */
export function canvasOf(
  photograph: Picture,
  toUnit: Affine,
  points: [number, number][],
  frame: "picture" | "face",
  smallest: number,
  settings: Settings,
): Canvas {
  const { largest_face, largest_picture } = settings.canvas;
  const side = sideOf(toUnit);
  if (frame === "face") {
    const across = Math.max(smallest, Math.min(largest_face, Math.round(side)));
    return faceCanvas(photograph, toUnit, points, Math.floor(across / 2) * 2, settings);
  }
  const longest = Math.max(photograph.width, photograph.height);
  return pictureCanvas(photograph, toUnit, points, Math.min(1, largest_face / side, largest_picture / longest));
}

function pictureCanvas(photograph: Picture, toUnit: Affine, points: [number, number][], scale: number): Canvas {
  let picture = photograph;
  if (scale < 1) {
    const width = Math.max(2, Math.round(photograph.width * scale));
    const height = Math.max(2, Math.round(photograph.height * scale));
    picture = area(photograph, width, height);
    const [across, down] = [photograph.width / width, photograph.height / height];
    toUnit = toUnit.map(([a, b, x]) => [a * across, b * down, x]);
  }
  const width = Math.max(1, Math.floor(picture.width / 2) * 2);
  const height = Math.max(1, Math.floor(picture.height / 2) * 2);
  const whole: Box = [0, 0, width, height];
  return { picture: cropped(picture, width, height), toUnit, points, shown: whole, photograph: whole };
}

function cropped(picture: Picture, width: number, height: number): Picture {
  if (picture.width === width && picture.height === height) return picture;
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    data.set(picture.data.subarray(y * picture.width * 3, (y * picture.width + width) * 3), y * width * 3);
  }
  return { data, width, height, channels: 3 };
}

function faceCanvas(
  photograph: Picture,
  toUnit: Affine,
  points: [number, number][],
  size: number,
  settings: Settings,
): Canvas {
  const margin = Math.round(settings.canvas.reach * size);
  const across = size + 2 * margin;
  const wider = toUnit.map(([a, b, x]) => [(a * size) / across, (b * size) / across, (x * size + margin) / across]);
  const toCanvas = toPixels(toUnit, size).map(([a, b, x]) => [a, b, x + margin]);
  const corners = [
    [0, 0],
    [photograph.width - 1, 0],
    [0, photograph.height - 1],
    [photograph.width - 1, photograph.height - 1],
  ].map(([x, y]) => toCanvas.map(([a, b, t]) => a * x + b * y + t));
  const [xs, ys] = [corners.map((p) => p[0]), corners.map((p) => p[1])];
  return {
    picture: cutOut(photograph, wider, across),
    toUnit: [
      [1 / size, 0, -margin / size],
      [0, 1 / size, -margin / size],
    ],
    points,
    shown: [margin, margin, margin + size, margin + size],
    photograph: [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1],
  };
}

/** What makes a photograph's face as bright as usual, and its share of usual colour. */
export interface Light {
  gain: number;
  colour: number;
}

export function lightOf(face: Picture, settings: Settings): Light {
  const { rows, columns, bright, largest_gain, coloured, luminance } = settings.light;
  const part = ([begin, end]: [number, number], size: number) => [Math.trunc(begin * size), Math.trunc(end * size)];
  const [top, bottom] = part(rows, face.height);
  const [left, right] = part(columns, face.width);
  const levels: number[] = [];
  let chroma = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const rgb = [...face.data.subarray((y * face.width + x) * 3, (y * face.width + x) * 3 + 3)].map((v) => v / 255);
      levels.push(rgb[0] * luminance[0] + rgb[1] * luminance[1] + rgb[2] * luminance[2]);
      chroma += Math.max(...rgb) - Math.min(...rgb);
    }
  }
  const mean = levels.reduce((sum, level) => sum + level, 0) / levels.length;
  const gain = Math.min(Math.max(bright / Math.max(quantile(levels, 0.9), 1e-3), 1), largest_gain);
  return { gain, colour: Math.min(1, chroma / levels.length / Math.max(mean, 1e-3) / coloured) };
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

/** A picture in the light that nets know. */
export function usual(face: Picture, light: Light): Picture {
  return light.gain === 1 ? face : { ...face, data: face.data.map((level) => byte(level * Math.fround(light.gain))) };
}

/** Weights of the four pixels around a position: OpenCV's cubic convolution, a = -0.75. */
function cubic(x: number): number[] {
  const a = -0.75;
  const near = (t: number) => ((a + 2) * t - (a + 3)) * t * t + 1;
  const first = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
  const [second, third] = [near(x), near(1 - x)];
  return [first, second, third, 1 - first - second - third];
}

/** Weights of the 2 `half` pixels around a place halfway between two: Lanczos. */
function lanczos(half: number): number[] {
  const sinc = (x: number) => Math.sin(Math.PI * x) / (Math.PI * x);
  const weights = Array.from({ length: 2 * half }, (_, i) => sinc(i + 0.5 - half) * sinc((i + 0.5 - half) / half));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Part of a picture -> [2 height - 1, 2 width - 1]: its pixels at even places, what lies halfway between at odd ones. */
function doubled(picture: Picture, [left, top, right, bottom]: Box, half: number): Picture {
  const [wide, high] = [right - left, bottom - top];
  const [width, height] = [2 * wide - 1, 2 * high - 1];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const from = ((y + top) * picture.width + x + left) * 3;
      data.set(picture.data.subarray(from, from + 3), (2 * y * width + 2 * x) * 3);
    }
  }
  const weights = lanczos(half);
  /** Fills the odd places of a line of `count` samples, of which those at even places are known. */
  const fill = (first: number, step: number, count: number) => {
    for (let i = 0; i < count - 1; i++) {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let tap = 0; tap < 2 * half; tap++) {
          sum += weights[tap] * data[first + 2 * mirrored(i + tap + 1 - half, count) * step + channel];
        }
        data[first + (2 * i + 1) * step + channel] = byte(sum);
      }
    }
  };
  for (let y = 0; y < high; y++) fill(2 * y * width * 3, 3, wide);
  for (let x = 0; x < width; x++) fill(x * 3, width * 3, high);
  return { data, width, height, channels: 3 };
}

/** Weights of a Gaussian from -reach to reach; their sum is 1. */
function gaussian(sigma: number, reach: number): number[] {
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * sigma * sigma)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** A field of size x size cells, blurred along x (step 1) or y (step size); mirrored at its edges. */
function blurredAlong(field: Float32Array, kernel: number[], size: number, step: number): Float32Array {
  const out = new Float32Array(field.length);
  const reach = (kernel.length - 1) / 2;
  for (let at = 0; at < field.length; at++) {
    const place = Math.floor(at / step) % size;
    const first = at - place * step;
    for (let i = 0; i < kernel.length; i++) out[at] += kernel[i] * field[first + mirrored(place + i - reach, size) * step];
  }
  return out;
}

function rise(x: number): number {
  const t = Math.min(Math.max(x, 0), 1);
  return t * t * (3 - 2 * t);
}

/** Composes the frames of one canvas; what does not change from frame to frame is computed once. */
export class Composer {
  private readonly margin: number;
  private readonly grid: number;
  private readonly lowerFace: Float32Array;
  private readonly painted: Float32Array;
  private readonly moved: Float32Array;
  private readonly region: Box;
  private readonly toGrid: Affine;
  private readonly toCanvas: number[][];
  /** The picture around the region in twice its size, and where that begins; none for the lower face, which is small. */
  private readonly doubled: Picture | null = null;
  private readonly first: [number, number] = [0, 0];

  constructor(
    private readonly canvas: Canvas,
    private readonly resolution: number,
    private readonly light: Light,
    still: boolean,
    private readonly settings: Settings,
  ) {
    this.margin = Math.round(settings.canvas.reach * resolution);
    this.grid = resolution + 2 * this.margin;
    this.toGrid = toPixels(canvas.toUnit, resolution).map(([a, b, x]) => [a, b, x + this.margin]);
    this.lowerFace = this.mouth();
    this.painted = still ? this.lowerFace : this.rim();
    this.moved = still ? this.painted : this.reach();
    this.region = this.changing();
    const [[a, b], [c, d]] = canvas.toUnit;
    const det = a * d - b * c;
    this.toCanvas = [
      [d / det, -b / det],
      [-c / det, a / det],
    ];
    if (!still) {
      const margin = Math.round(settings.canvas.edge * sideOf(canvas.toUnit));
      const [left, top, right, bottom] = this.region;
      const { width, height } = canvas.picture;
      this.first = [Math.max(left - margin, 0), Math.max(top - margin, 0)];
      const last = [Math.min(right + margin, width), Math.min(bottom + margin, height)];
      this.doubled = doubled(canvas.picture, [...this.first, ...last] as Box, settings.canvas.half);
    }
  }

  /** Width and height of a frame. */
  get size(): [number, number] {
    const [left, top, right, bottom] = this.canvas.shown;
    return [right - left, bottom - top];
  }

  /** change [R, R, 3] in -1..1 as planes [3, R, R], offsets [R, R, 2] -> RGBA of what the canvas shows. */
  frame(change: Float32Array, offsets: Float32Array): Uint8ClampedArray<ArrayBuffer> {
    const { grid } = this;
    const levels = this.levels(change);
    const shift = this.shift(offsets);
    const { picture, shown } = this.canvas;
    const [width, height] = this.size;
    const out = new Uint8ClampedArray(width * height * 4);
    for (let y = 0, k = 0; y < height; y++) {
      for (let i = ((y + shown[1]) * picture.width + shown[0]) * 3, x = 0; x < width; x++, k += 4, i += 3) {
        out[k] = picture.data[i];
        out[k + 1] = picture.data[i + 1];
        out[k + 2] = picture.data[i + 2];
        out[k + 3] = 255;
      }
    }
    const [[a, b, tx], [c, d, ty]] = this.toGrid;
    const [left, top, right, bottom] = this.region;
    const at: Corners = { cells: [0, 0, 0, 0], weights: [0, 0, 0, 0] };
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const gx = a * x + b * y + tx;
        const gy = c * x + d * y + ty;
        if (gx <= -1 || gy <= -1 || gx >= grid || gy >= grid) continue;
        corners(rounded(a * x, b * y + tx), rounded(c * x, d * y + ty), grid, at);
        const k = ((y - shown[1]) * width + (x - shown[0])) * 4;
        this.look(x + mixed(shift, 2, 0, at), y + mixed(shift, 2, 1, at), out, k);
      }
    }
    this.takeDetail(out, change);
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const gx = a * x + b * y + tx;
        const gy = c * x + d * y + ty;
        if (gx <= -1 || gy <= -1 || gx >= grid || gy >= grid) continue;
        corners(gx, gy, grid, at);
        const k = ((y - shown[1]) * width + (x - shown[0])) * 4;
        out[k] = byte(out[k] + mixed(levels, 3, 0, at));
        out[k + 1] = byte(out[k + 1] + mixed(levels, 3, 1, at));
        out[k + 2] = byte(out[k + 2] + mixed(levels, 3, 2, at));
      }
    }
    return out;
  }

  /** Blurs the moved picture where `change` paints it over: in the lower face, and only if that is a pixel of the canvas
   * or more. */
  private takeDetail(out: Uint8ClampedArray, change: Float32Array): void {
    const sigma = (this.settings.canvas.detail * sideOf(this.canvas.toUnit)) / this.resolution;
    const share = sigma < 1 ? null : this.paintedOver(change);
    const box = share && this.boxOf(share);
    if (!share || !box) return;
    const [width, height] = this.size;
    const [left, top, right, bottom] = box;
    const kernel = gaussian(sigma, Math.ceil(3 * sigma));
    const reach = (kernel.length - 1) / 2;
    const across = right - left;
    const rows = new Float32Array((bottom - top + 2 * reach) * across * 3); // blurred along x
    for (let y = top - reach, to = 0; y < bottom + reach; y++) {
      const line = mirrored(y, height) * width;
      for (let x = left; x < right; x++, to += 3) {
        for (let i = 0; i < kernel.length; i++) {
          const from = (line + mirrored(x + i - reach, width)) * 4;
          for (let c = 0; c < 3; c++) rows[to + c] += kernel[i] * out[from + c];
        }
      }
    }
    const [[a, b, tx], [c, d, ty]] = this.toGrid;
    const [x0, y0] = this.canvas.shown;
    const at: Corners = { cells: [0, 0, 0, 0], weights: [0, 0, 0, 0] };
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        corners(a * (x + x0) + b * (y + y0) + tx, c * (x + x0) + d * (y + y0) + ty, this.grid, at);
        const much = mixed(share, 1, 0, at);
        if (!much) continue;
        const k = (y * width + x) * 4;
        for (let channel = 0; channel < 3; channel++) {
          let blurred = 0;
          for (let i = 0; i < kernel.length; i++) {
            blurred += kernel[i] * rows[((y - top + i) * across + x - left) * 3 + channel];
          }
          out[k + channel] = byte(out[k + channel] + much * (blurred - out[k + channel]));
        }
      }
    }
  }

  /** On the grid: how much of the photograph's fine detail goes, 0..1. */
  private paintedOver(change: Float32Array): Float32Array {
    const { resolution, margin, grid, lowerFace } = this;
    const [weak, strong] = this.settings.canvas.painted_over;
    const plane = resolution * resolution;
    const most = new Float32Array(plane);
    for (let i = 0; i < plane; i++) {
      most[i] = Math.max(Math.abs(change[i]), Math.abs(change[plane + i]), Math.abs(change[2 * plane + i]));
    }
    const kernel = gaussian(1, 3);
    const levels = blurredAlong(blurredAlong(most, kernel, resolution, 1), kernel, resolution, resolution);
    const out = new Float32Array(grid * grid);
    for (let y = 0; y < resolution; y++) {
      for (let x = 0; x < resolution; x++) {
        const to = (y + margin) * grid + x + margin;
        if (lowerFace[to]) {
          out[to] = rise((levels[y * resolution + x] * 127.5 - weak) / (strong - weak)) * lowerFace[to];
        }
      }
    }
    return out;
  }

  /** Left, top, right and bottom of what is shown of the cells that hold something; null where none does. */
  private boxOf(share: Float32Array): Box | null {
    const { grid } = this;
    let [first, last, above, below] = [grid, -1, grid, -1];
    for (let i = 0; i < share.length; i++) {
      if (share[i] <= 0) continue;
      const x = i % grid;
      first = Math.min(first, x);
      last = Math.max(last, x);
      above = Math.min(above, Math.floor(i / grid));
      below = Math.floor(i / grid);
    }
    if (last < 0) return null;
    const [[a, b, tx], [c, d, ty]] = inverse(this.toGrid);
    const places = [first - 1, last + 1].flatMap((x) =>
      [above - 1, below + 1].map((y) => [a * x + b * y + tx, c * x + d * y + ty]),
    );
    const [left, top, right, bottom] = this.canvas.shown;
    const [xs, ys] = [places.map(([x]) => x), places.map(([, y]) => y)];
    const within = (value: number, most: number) => Math.min(Math.max(value, 0), most);
    return [
      within(Math.floor(Math.min(...xs)) - left, right - left),
      within(Math.floor(Math.min(...ys)) - top, bottom - top),
      within(Math.ceil(Math.max(...xs)) + 1 - left, right - left),
      within(Math.ceil(Math.max(...ys)) + 1 - top, bottom - top),
    ];
  }

  /** The picture at a position, into out[k .. k + 2]; beyond its edges it is mirrored. Cubic interpolation, or linear in
   * the doubled picture. */
  private look(x: number, y: number, out: Uint8ClampedArray, k: number): void {
    if (this.doubled) {
      between(this.doubled, 2 * (x - this.first[0]), 2 * (y - this.first[1]), out, k);
      return;
    }
    const { data, width, height } = this.canvas.picture;
    const x0 = Math.floor(x) - 1;
    const y0 = Math.floor(y) - 1;
    const [across, down] = [cubic(x - x0 - 1), cubic(y - y0 - 1)];
    const inside = x0 >= 0 && y0 >= 0 && x0 + 3 < width && y0 + 3 < height;
    let red = 0;
    let green = 0;
    let blue = 0;
    for (let j = 0; j < 4; j++) {
      const row = (inside ? y0 + j : mirrored(y0 + j, height)) * width;
      for (let i = 0; i < 4; i++) {
        const from = (row + (inside ? x0 + i : mirrored(x0 + i, width))) * 3;
        const weight = down[j] * across[i];
        red += weight * data[from];
        green += weight * data[from + 1];
        blue += weight * data[from + 2];
      }
    }
    out[k] = byte(red);
    out[k + 1] = byte(green);
    out[k + 2] = byte(blue);
  }

  /** On the grid: what is added, [., ., 3] in levels. */
  private levels(change: Float32Array): Float32Array {
    const { resolution, margin, grid, painted, light } = this;
    const plane = resolution * resolution;
    const [r, g, b] = this.settings.light.luminance;
    const out = new Float32Array(grid * grid * 3);
    for (let y = 0; y < resolution; y++) {
      for (let x = 0; x < resolution; x++) {
        const i = y * resolution + x;
        const to = (y + margin) * grid + x + margin;
        const grey = change[i] * r + change[plane + i] * g + change[2 * plane + i] * b;
        for (let c = 0; c < 3; c++) {
          const own = light.colour < 1 ? grey + light.colour * (change[c * plane + i] - grey) : change[c * plane + i];
          out[to * 3 + c] = ((own / light.gain) * 127.5) * painted[to];
        }
      }
    }
    return out;
  }

  /** On the grid: where it looks, [., ., 2] in pixels of the canvas. */
  private shift(offsets: Float32Array): Float32Array {
    const { resolution, margin, grid, moved, toCanvas } = this;
    const out = new Float32Array(grid * grid * 2);
    const inside = (i: number) => Math.min(Math.max(i - margin, 0), resolution - 1);
    for (let y = 0; y < grid; y++) {
      for (let x = 0; x < grid; x++) {
        const from = (inside(y) * resolution + inside(x)) * 2;
        const to = y * grid + x;
        const [dx, dy] = [offsets[from] * moved[to], offsets[from + 1] * moved[to]];
        out[to * 2] = toCanvas[0][0] * dx + toCanvas[0][1] * dy;
        out[to * 2 + 1] = toCanvas[1][0] * dx + toCanvas[1][1] * dy;
      }
    }
    return out;
  }

  /** 1 in the square, falling to 0 along its rim. */
  private rim(): Float32Array {
    const { resolution } = this;
    const near = (i: number) => {
      const at = (i + 0.5) / resolution;
      return Math.min(at, 1 - at) - 0.5 / resolution;
    };
    return this.field((x, y) => rise(Math.min(near(x), near(y)) / this.settings.canvas.rim));
  }

  /** 1 over mouth and chin. */
  private mouth(): Float32Array {
    const { resolution } = this;
    const { lower_face, roundness, edge } = this.settings.mouth;
    const [left, right, , mouthLeft, mouthRight] = this.canvas.points;
    const eyes = [(left[0] + right[0]) / 2, (left[1] + right[1]) / 2];
    const mouth = [(mouthLeft[0] + mouthRight[0]) / 2, (mouthLeft[1] + mouthRight[1]) / 2];
    const apart = Math.max(Math.hypot(right[0] - left[0], right[1] - left[1]), 1e-6);
    const across = [(right[0] - left[0]) / apart, (right[1] - left[1]) / apart];
    const down = [-across[1], across[0]];
    const unit = Math.max(Math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]), 1e-6);
    const [wide, high, below] = lower_face;
    const centre = [mouth[0] + below * unit * down[0], mouth[1] + below * unit * down[1]];
    return this.field((column, row) => {
      const at = [(column + 0.5) / resolution, (row + 0.5) / resolution];
      const way = [at[0] - centre[0], at[1] - centre[1]];
      const u = Math.abs(way[0] * across[0] + way[1] * across[1]) / (wide * unit);
      const v = Math.abs(way[0] * down[0] + way[1] * down[1]) / (high * unit);
      const inside = 1 - (u ** roundness + v ** roundness) ** (1 / roundness);
      const border = Math.min(at[0], 1 - at[0], at[1], 1 - at[1]) - 0.5 / resolution;
      return rise(Math.min(inside / edge, border / 0.05));
    });
  }

  private field(value: (x: number, y: number) => number): Float32Array {
    const { resolution, margin, grid } = this;
    const out = new Float32Array(grid * grid);
    for (let y = 0; y < resolution; y++) {
      for (let x = 0; x < resolution; x++) out[(y + margin) * grid + x + margin] = value(x, y);
    }
    return out;
  }

  /** 1 in the square, falling to 0 at some distance from it and at the photograph's edges. */
  private reach(): Float32Array {
    const { resolution, margin, grid, canvas } = this;
    const outermost = margin + resolution - 1;
    const [[a, b, tx], [c, d, ty]] = inverse(this.toGrid);
    const [left, top, right, bottom] = canvas.photograph;
    const within = this.settings.canvas.edge * sideOf(canvas.toUnit);
    const out = new Float32Array(grid * grid);
    for (let y = 0; y < grid; y++) {
      for (let x = 0; x < grid; x++) {
        const far = Math.max(margin - x, x - outermost, margin - y, y - outermost, 0);
        const column = a * x + b * y + tx;
        const row = c * x + d * y + ty;
        const near = Math.min(column - left, right - 1 - column, row - top, bottom - 1 - row);
        out[y * grid + x] = rise(1 - far / margin) * rise(near / within);
      }
    }
    return out;
  }

  /** Part of the canvas in which anything can change: where the grid lies, with a pixel more on every side. */
  private changing(): Box {
    const [[a, b, tx], [c, d, ty]] = inverse(this.toGrid);
    const xs: number[] = [];
    const ys: number[] = [];
    for (const [x, y] of [
      [-1, -1],
      [this.grid, -1],
      [-1, this.grid],
      [this.grid, this.grid],
    ]) {
      xs.push(a * x + b * y + tx);
      ys.push(c * x + d * y + ty);
    }
    const [left, top, right, bottom] = this.canvas.shown;
    return [
      Math.max(left, Math.floor(Math.min(...xs))),
      Math.max(top, Math.floor(Math.min(...ys))),
      Math.min(right, Math.ceil(Math.max(...xs)) + 1),
      Math.min(bottom, Math.ceil(Math.max(...ys)) + 1),
    ];
  }
}

/** A picture at a position, into out[k .. k + 2], by linear interpolation; beyond its edges it is mirrored. */
function between({ data, width, height }: Picture, x: number, y: number, out: Uint8ClampedArray, k: number): void {
  const [x0, y0] = [Math.floor(x), Math.floor(y)];
  const [fx, fy] = [x - x0, y - y0];
  const [left, right] = [mirrored(x0, width) * 3, mirrored(x0 + 1, width) * 3];
  const [above, below] = [mirrored(y0, height) * width * 3, mirrored(y0 + 1, height) * width * 3];
  for (let channel = 0; channel < 3; channel++) {
    const upper = data[above + left + channel] * (1 - fx) + data[above + right + channel] * fx;
    const lower = data[below + left + channel] * (1 - fx) + data[below + right + channel] * fx;
    out[k + channel] = byte(upper * (1 - fy) + lower * fy);
  }
}

/** Index beyond an edge, mirrored at the outermost pixel. */
function mirrored(i: number, size: number): number {
  if (i >= 0 && i < size) return i;
  if (size === 1) return 0;
  const period = 2 * (size - 1);
  const at = ((i % period) + period) % period;
  return at < size ? at : period - at;
}

/** Four cells around a position, and how much of each is there. */
interface Corners {
  cells: number[];
  weights: number[];
}

/** Into `at`; beyond the grid there is nothing. */
function corners(x: number, y: number, grid: number, at: Corners): void {
  const x0 = Math.floor(x);
  const y0 = Math.floor(y);
  const fx = x - x0;
  const fy = y - y0;
  const left = x0 >= 0 && x0 < grid ? 1 - fx : 0;
  const right = x0 >= -1 && x0 < grid - 1 ? fx : 0;
  const above = y0 >= 0 && y0 < grid ? 1 - fy : 0;
  const below = y0 >= -1 && y0 < grid - 1 ? fy : 0;
  const inside = (i: number) => Math.min(Math.max(i, 0), grid - 1);
  const [first, second] = [inside(y0) * grid, inside(y0 + 1) * grid];
  const [column, next] = [inside(x0), inside(x0 + 1)];
  at.cells[0] = first + column;
  at.cells[1] = first + next;
  at.cells[2] = second + column;
  at.cells[3] = second + next;
  at.weights[0] = left * above;
  at.weights[1] = right * above;
  at.weights[2] = left * below;
  at.weights[3] = right * below;
}

function mixed(field: Float32Array, channels: number, channel: number, { cells, weights }: Corners): number {
  let sum = 0;
  for (let i = 0; i < 4; i++) sum += weights[i] * field[cells[i] * channels + channel];
  return sum;
}

/** A coordinate as OpenCV has it where two numbers are warped together: in steps of 1/32. */
function rounded(along: number, rest: number): number {
  return Math.floor((Math.round(along * 1024) + Math.round(rest * 1024) + 16) / 32) / 32;
}
