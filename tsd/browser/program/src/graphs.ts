/** Exported graphs, run by ONNX Runtime in WebAssembly. */

import type * as Ort from "onnxruntime-web/wasm";
import { unpacked } from "./files";
import type { Card, Graph } from "./settings";

/** A tensor: its numbers (or true and false) and its shape. */
export type Value = [Float32Array | boolean[], number[]];
export type Run = (inputs: Record<string, Value>) => Promise<Record<string, Float32Array>>;

/** What the talker needs of an export, and the three nets of the face finder. */
export const TALKING = ["recogniser", "encoder", "reference", "frames", "step", "decoder"] as const;
export const FINDING = ["propose", "refine", "output"] as const;

export type Nets = Record<(typeof TALKING)[number] | (typeof FINDING)[number], Run>;

/** Loads the runtime from `ort/` and opens graphs. base: the site's address. */
export class Runtime {
  private constructor(
    private readonly ort: typeof Ort,
    readonly threads: number,
  ) {}

  static async load(base: string, read: (name: string) => Promise<Uint8Array<ArrayBuffer>>): Promise<Runtime> {
    const ort: typeof Ort = await import(/* @vite-ignore */ new URL("ort/ort.wasm.min.mjs", base).href);
    const threads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = { mjs: new URL("ort/ort-wasm-simd-threaded.mjs", base).href };
    ort.env.wasm.wasmBinary = (await unpacked(await read("ort/runtime.bin"))).buffer;
    ort.env.logLevel = "error";
    return new Runtime(ort, threads);
  }

  async open(model: Uint8Array, graph: Graph): Promise<Run> {
    const session = await this.ort.InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
    });
    return async (inputs) => {
      const feeds: Record<string, Ort.Tensor> = {};
      for (const name of Object.keys(graph.inputs)) {
        // A graph that does not use an input of its card has none of this name.
        if (session.inputNames.includes(name)) feeds[name] = this.tensor(inputs[name], name);
      }
      const outputs = await session.run(feeds);
      return Object.fromEntries(graph.outputs.map((name) => [name, outputs[name].data as Float32Array]));
    };
  }

  private tensor(value: Value | undefined, name: string): Ort.Tensor {
    if (!value) throw new Error(`the graph asks for ${name}, which this program does not know: build the site again`);
    const [data, shape] = value;
    return Array.isArray(data)
      ? new this.ort.Tensor("bool", data, shape)
      : new this.ort.Tensor("float32", data, shape);
  }
}

/** All graphs, opened one after the other: each takes memory while it is optimised. read: gives a graph by its name. */
export async function openAll(
  runtime: Runtime,
  card: Card,
  read: (name: string) => Promise<Uint8Array>,
): Promise<Nets> {
  const nets: Partial<Nets> = {};
  for (const name of TALKING) nets[name] = await runtime.open(await read(`nets/${name}`), card.graphs[name]);
  for (const name of FINDING) {
    const outputs = ["probability", "moves", ...(name === "output" ? ["landmarks"] : [])];
    const graph = { inputs: { pictures: [] }, outputs };
    nets[name] = await runtime.open(await read(`faces/${name}`), graph);
  }
  return nets as Nets;
}
