/** An audio worklet: passes the microphone's samples on, some milliseconds at a time. */

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

class Microphone extends AudioWorkletProcessor {
  private readonly block: Float32Array;
  private filled = 0;

  constructor({ processorOptions }: { processorOptions: { seconds: number } }) {
    super();
    this.block = new Float32Array(Math.round(sampleRate * processorOptions.seconds));
  }

  process([[channel]]: Float32Array[][]): boolean {
    for (const sample of channel ?? []) {
      this.block[this.filled++] = sample;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
