/** Pictures as arrays, and the resampling that the talker needs, as OpenCV does it. */

/** uint8 or float32 [height, width, channels]. */
export interface Picture<T extends Uint8Array | Uint8ClampedArray | Float32Array = Uint8Array> {
  data: T;
  width: number;
  height: number;
  channels: number;
}

/** Affine map [[a, b, x], [c, d, y]]. */
export type Affine = number[][];

export function inverse([[a, b, x], [c, d, y]]: Affine): Affine {
  const det = a * d - b * c;
  return [
    [d / det, -b / det, (b * y - d * x) / det],
    [-c / det, a / det, (c * x - a * y) / det],
  ];
}

/** The nearest whole number, halves to the even one, within a byte. */
export function byte(x: number): number {
  if (x <= 0) return 0;
  if (x >= 255) return 255;
  const low = Math.floor(x);
  const part = x - low;
  return part > 0.5 || (part === 0.5 && low % 2 === 1) ? low + 1 : low;
}

/** RGBA of a canvas -> RGB on white. */
export function rgbOf(image: ImageData): Picture {
  const { width, height, data } = image;
  const out = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    const alpha = data[i + 3] / 255;
    for (let c = 0; c < 3; c++) out[j + c] = byte(data[i + c] * alpha + 255 * (1 - alpha));
  }
  return { data: out, width, height, channels: 3 };
}

/** Means over the pixels that each new one covers, parts of pixels by their share (INTER_AREA, to a smaller size). */
export function area(picture: Picture, width: number, height: number): Picture {
  const { channels } = picture;
  const wide = new Float32Array(picture.height * width * channels);
  const across = shares(picture.width, width);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < width; x++) {
      for (const [from, share] of across[x]) {
        for (let c = 0; c < channels; c++) {
          wide[(y * width + x) * channels + c] += share * picture.data[(y * picture.width + from) * channels + c];
        }
      }
    }
  }
  const out = new Uint8Array(width * height * channels);
  shares(picture.height, height).forEach((rows, y) => {
    for (let i = 0; i < width * channels; i++) {
      let sum = 0;
      for (const [from, share] of rows) sum += share * wide[from * width * channels + i];
      out[y * width * channels + i] = byte(sum);
    }
  });
  return { data: out, width, height, channels };
}

function shares(from: number, to: number): [number, number][][] {
  const scale = from / to;
  return Array.from({ length: to }, (_, i) => {
    const [begin, end] = [i * scale, Math.min(from, (i + 1) * scale)];
    const found: [number, number][] = [];
    for (let j = Math.floor(begin + 1e-9); j < Math.min(from, Math.ceil(end - 1e-9)); j++) {
      found.push([j, (Math.min(end, j + 1) - Math.max(begin, j)) / (end - begin)]);
    }
    return found;
  });
}

/** Bilinear enlargement between pixel centres, borders repeated: INTER_LINEAR, in OpenCV's whole numbers. */
export function enlarged(picture: Picture, width: number, height: number): Picture {
  const { channels, data } = picture;
  const across = neighbours(picture.width, width);
  const down = neighbours(picture.height, height);
  const line = picture.width * channels;
  const out = new Uint8Array(width * height * channels);
  let k = 0;
  for (const [row, upper, lower] of down) {
    const first = row * line;
    const second = Math.min(row + 1, picture.height - 1) * line;
    for (const [column, left, right] of across) {
      const here = column * channels;
      const next = Math.min(column + 1, picture.width - 1) * channels;
      for (let c = 0; c < channels; c++) {
        const above = data[first + here + c] * left + data[first + next + c] * right;
        const below = data[second + here + c] * left + data[second + next + c] * right;
        out[k++] = (((upper * (above >> 4)) >> 16) + ((lower * (below >> 4)) >> 16) + 2) >> 2;
      }
    }
  }
  return { data: out, width, height, channels };
}

/** For each new pixel: the one before it, and the weights of that and the next one, of 2048. */
function neighbours(from: number, to: number): [number, number, number][] {
  return Array.from({ length: to }, (_, i) => {
    const at = Math.min(Math.max(((i + 0.5) * from) / to - 0.5, 0), from - 1);
    const first = Math.floor(at);
    return [first, Math.round((1 - at + first) * 2048), Math.round((at - first) * 2048)];
  });
}

/** Output pixel p shows what the picture has at `toSource` p; borders are repeated. */
export function warped(picture: Picture, toSource: Affine, width: number, height: number): Picture {
  const { channels, data } = picture;
  const out = new Uint8Array(width * height * channels);
  const [[a, b, tx], [c, d, ty]] = toSource;
  const right = picture.width - 1;
  const bottom = picture.height - 1;
  for (let y = 0, k = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const sx = a * x + b * y + tx;
      const sy = c * x + d * y + ty;
      const x0 = Math.floor(sx);
      const y0 = Math.floor(sy);
      const [fx, fy] = [sx - x0, sy - y0];
      const [xa, xb] = [clamp(x0, right), clamp(x0 + 1, right)];
      const [ya, yb] = [clamp(y0, bottom) * picture.width, clamp(y0 + 1, bottom) * picture.width];
      for (let ch = 0; ch < channels; ch++) {
        const upper = data[(ya + xa) * channels + ch] * (1 - fx) + data[(ya + xb) * channels + ch] * fx;
        const lower = data[(yb + xa) * channels + ch] * (1 - fx) + data[(yb + xb) * channels + ch] * fx;
        out[k++] = byte(upper * (1 - fy) + lower * fy);
      }
    }
  }
  return { data: out, width, height, channels };
}

function clamp(i: number, last: number): number {
  return i < 0 ? 0 : i > last ? last : i;
}

/** Mean of each cell of an adaptive average pool: [height, width, channels] of a part of a picture, as float32. */
export function pooled(
  picture: Picture,
  box: [number, number, number, number],
  width: number,
  height: number,
): Float32Array {
  const [left, top, right, bottom] = box;
  const { channels } = picture;
  const out = new Float32Array(width * height * channels);
  for (let y = 0, k = 0; y < height; y++) {
    const y0 = top + Math.floor((y * (bottom - top)) / height);
    const y1 = top + Math.ceil(((y + 1) * (bottom - top)) / height);
    for (let x = 0; x < width; x++) {
      const x0 = left + Math.floor((x * (right - left)) / width);
      const x1 = left + Math.ceil(((x + 1) * (right - left)) / width);
      for (let c = 0; c < channels; c++, k++) {
        let sum = 0;
        for (let row = y0; row < y1; row++) {
          for (let i = (row * picture.width + x0) * channels + c, n = x0; n < x1; n++, i += channels) {
            sum += picture.data[i];
          }
        }
        out[k] = sum / ((y1 - y0) * (x1 - x0));
      }
    }
  }
  return out;
}
