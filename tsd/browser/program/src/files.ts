/** Files of the site, read with their progress and checked. */

export type Progress = (loaded: number, total: number) => void;

/** Reads files below `base`; `sizes` are the bytes of each. */
export class Files {
  private loaded = 0;
  private readonly total: number;

  constructor(
    private readonly base: string,
    sizes: Record<string, number>,
    private readonly progress: Progress,
  ) {
    this.total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  }

  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const answer = await fetch(new URL(name, this.base));
    if (!answer.ok || !answer.body) throw new Error(`${name} cannot be loaded (${answer.status}): copy the site whole`);
    const pieces: Uint8Array[] = [];
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      this.loaded += value.length;
      this.progress(Math.min(this.loaded, this.total), this.total);
    }
    const content = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
    let at = 0;
    for (const piece of pieces) {
      content.set(piece, at);
      at += piece.length;
    }
    return content;
  }

  async floats(name: string): Promise<Float32Array> {
    return new Float32Array((await this.read(name)).buffer);
  }

  async json<T>(name: string): Promise<T> {
    return JSON.parse(new TextDecoder().decode(await this.read(name))) as T;
  }
}

/** ValueError's counterpart: the content must have this SHA-256. */
export async function checked(content: Uint8Array<ArrayBuffer>, digest: string, name: string): Promise<Uint8Array<ArrayBuffer>> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== digest) throw new Error(`${name} is not the file that the card was written for: copy the site again`);
  return content;
}

/** A graph as the site holds it, its bytes in four planes (tsd/browser/site.py) -> the graph. */
export async function graphOf(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const planes = await unpacked(content);
  const graph = new Uint8Array(planes.length);
  for (let plane = 0, from = 0; plane < 4; plane++) {
    for (let to = plane; to < graph.length; to += 4) graph[to] = planes[from++];
  }
  return graph;
}

/** Unpacks gzip; a host that has unpacked it already is fine. */
export async function unpacked(content: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (content[0] !== 0x1f || content[1] !== 0x8b) return content;
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** One float32 tensor of a safetensors file, and its shape. */
export function tensorOf(content: Uint8Array<ArrayBuffer>, name: string): { data: Float32Array; shape: number[] } {
  const view = new DataView(content.buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(content.subarray(8, 8 + length)));
  const entry = header[name];
  if (!entry || entry.dtype !== "F32") throw new Error(`the motion bank holds no ${name} of float32: export it again`);
  const [begin, end] = entry.data_offsets as [number, number];
  return { data: new Float32Array(content.buffer.slice(8 + length + begin, 8 + length + end)), shape: entry.shape };
}
