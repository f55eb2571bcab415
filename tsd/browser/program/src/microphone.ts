/** An audio worklet: passes the microphone's samples on, a video frame's worth at a time. */

declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

const PER_SECOND = 25;

class Microphone extends AudioWorkletProcessor {
  private readonly block = new Float32Array(Math.round(sampleRate / PER_SECOND));
  private filled = 0;

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
