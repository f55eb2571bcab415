/** Frames and sound into one file, by WebCodecs and a muxer. */

import {
  AudioSample,
  AudioSampleSource,
  BufferTarget,
  Mp4OutputFormat,
  Output,
  Quality,
  VideoSample,
  VideoSampleSource,
  WebMOutputFormat,
  getFirstEncodableAudioCodec,
  getFirstEncodableVideoCodec,
} from "mediabunny";
import { Refusal } from "./faces";

/** The visitor's sound for the video: planes of float32. */
export interface Sound {
  channels: Float32Array[];
  rate: number;
}

export interface Finished {
  content: ArrayBuffer;
  type: string;
  ending: string;
}

/** A file being written: frames first, then `finish`. mp4 with H.264 where the browser has an encoder, else WebM. */
export class VideoFile {
  private count = 0;

  private constructor(
    private readonly output: Output<Mp4OutputFormat | WebMOutputFormat, BufferTarget>,
    private readonly video: VideoSampleSource,
    private readonly audio: AudioSampleSource,
    private readonly fps: number,
    private readonly size: [number, number],
    private readonly sound: Sound,
  ) {}

  /** comment: what the container's metadata say of the file. */
  static async open(size: [number, number], fps: number, sound: Sound, comment: string): Promise<VideoFile> {
    const [width, height] = size;
    const quality = new Quality("high");
    const hears = { numberOfChannels: sound.channels.length, sampleRate: sound.rate, quality };
    const shows = { width, height, quality };
    const avc = await getFirstEncodableVideoCodec(["avc"], shows);
    const video = avc ?? (await getFirstEncodableVideoCodec(["vp9", "vp8", "av1"], shows));
    const audio = await getFirstEncodableAudioCodec(avc ? ["aac", "opus"] : ["opus"], hears);
    if (!video || !audio) throw new Refusal("This browser cannot write videos: use a current Chrome, Edge, Firefox or Safari.");
    const format = avc ? new Mp4OutputFormat({ fastStart: "in-memory" }) : new WebMOutputFormat();
    const output = new Output({ format, target: new BufferTarget() });
    const pictures = new VideoSampleSource({ codec: video, quality });
    const track = new AudioSampleSource({ codec: audio, quality });
    output.addVideoTrack(pictures, { frameRate: fps });
    output.addAudioTrack(track);
    output.setMetadataTags({ title: "AI-generated video", comment, description: comment });
    await output.start();
    return new VideoFile(output, pictures, track, fps, size, sound);
  }

  async add(rgba: Uint8ClampedArray<ArrayBuffer>): Promise<void> {
    const [codedWidth, codedHeight] = this.size;
    const [timestamp, duration] = [this.count++ / this.fps, 1 / this.fps];
    const sample = new VideoSample(rgba, { format: "RGBA", codedWidth, codedHeight, timestamp, duration });
    await this.video.add(sample);
    sample.close();
  }

  /** With the sound, cut or followed by silence to exactly as long as the frames. */
  async finish(): Promise<Finished> {
    const { rate, channels } = this.sound;
    const length = Math.round((this.count / this.fps) * rate);
    for (let at = 0; at < length; at += rate) {
      const count = Math.min(rate, length - at);
      const data = new Float32Array(count * channels.length);
      channels.forEach((plane, i) => data.set(plane.subarray(at, at + count), i * count));
      const sample = new AudioSample({
        data,
        format: "f32-planar",
        numberOfChannels: channels.length,
        sampleRate: rate,
        timestamp: at / rate,
      });
      await this.audio.add(sample);
      sample.close();
    }
    await this.output.finalize();
    const mp4 = this.output.format instanceof Mp4OutputFormat;
    const content = this.output.target.buffer as ArrayBuffer;
    return { content, type: mp4 ? "video/mp4" : "video/webm", ending: mp4 ? "mp4" : "webm" };
  }

  async cancel(): Promise<void> {
    await this.output.cancel();
  }
}
