/** What a visitor gives: a picture and speech, from files, camera and microphone. */

import { Refusal } from "./faces";
import type { Speech } from "./messages";

const VIDEO_RATE = 48000;

/** Pixels of a picture file, upright, its longer side at most `longest`. */
export async function readPicture(file: Blob, longest: number): Promise<ImageData> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "default" });
  } catch {
    throw new Refusal("This is not a picture that this browser can read: give a png or jpg.");
  }
  const scale = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  return pixels(bitmap, Math.round(bitmap.width * scale), Math.round(bitmap.height * scale));
}

export function pixels(source: CanvasImageSource, width: number, height: number): ImageData {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (!context) throw new Refusal("This browser cannot draw: use a current one.");
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** A sound or video file -> what the nets hear, and what the video shall sound like. */
export async function readSpeech(file: Blob, rate: number): Promise<Speech> {
  const content = await file.arrayBuffer();
  try {
    const heard = await decode(content.slice(0), rate);
    const played = await decode(content, VIDEO_RATE);
    const channels = Array.from({ length: Math.min(2, played.numberOfChannels) }, (_, i) => played.getChannelData(i));
    return { wave: mixed(heard), sound: { channels: channels.map((c) => c.slice()), rate: played.sampleRate } };
  } catch {
    throw new Refusal("This file holds no sound that this browser can read: give a wav, mp3 or m4a.");
  }
}

function decode(content: ArrayBuffer, rate: number): Promise<AudioBuffer> {
  return new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
}

function mixed(buffer: AudioBuffer): Float32Array {
  const out = buffer.getChannelData(0).slice();
  for (let c = 1; c < buffer.numberOfChannels; c++) {
    buffer.getChannelData(c).forEach((sample, i) => (out[i] += sample));
  }
  return out.map((sample) => Math.min(1, Math.max(-1, sample / buffer.numberOfChannels)));
}

/** The camera, shown in `view` until a picture is taken. */
export class Camera {
  private stream: MediaStream | null = null;

  constructor(private readonly view: HTMLVideoElement) {}

  get on(): boolean {
    return this.stream !== null;
  }

  async start(): Promise<void> {
    this.stream = await asked({ video: { facingMode: "user" } }, "camera");
    this.view.srcObject = this.stream;
    this.view.hidden = false;
    await this.view.play();
  }

  take(): ImageData {
    return pixels(this.view, this.view.videoWidth, this.view.videoHeight);
  }

  stop(): void {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.view.hidden = true;
  }
}

/** Seconds of sound at a time: a frame waits at most so much longer than for its own sound. */
const PIECE = 0.01;

/** The microphone: samples at a rate. */
export class Microphone {
  private constructor(
    private readonly stream: MediaStream,
    private readonly context: AudioContext,
  ) {}

  static async start(base: string, rate: number, heard: (samples: Float32Array) => void): Promise<Microphone> {
    const stream = await asked({ audio: { channelCount: 1 } }, "microphone");
    const context = new AudioContext({ sampleRate: rate });
    await context.audioWorklet.addModule(new URL("microphone.js", base).href);
    const options = { numberOfOutputs: 0, processorOptions: { seconds: PIECE } };
    const worklet = new AudioWorkletNode(context, "microphone", options);
    worklet.port.onmessage = ({ data }: MessageEvent<Float32Array>) => heard(data);
    context.createMediaStreamSource(stream).connect(worklet);
    await context.resume();
    return new Microphone(stream, context);
  }

  stop(): void {
    this.stream.getTracks().forEach((track) => track.stop());
    void this.context.close();
  }
}

async function asked(what: MediaStreamConstraints, name: string): Promise<MediaStream> {
  try {
    return await navigator.mediaDevices.getUserMedia(what);
  } catch {
    throw new Refusal(`The ${name} cannot be used: allow it for this page, or give a file.`);
  }
}

/** Samples as a recording: wav of 16 bits. */
export function wavOf(pieces: Float32Array[], rate: number): Blob {
  const count = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at: number, letters: string) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.round(Math.min(1, Math.max(-1, sample)) * 32767), true);
      at += 2;
    }
  }
  return new Blob([view.buffer], { type: "audio/wav" });
}
