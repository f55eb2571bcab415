/** A label that everybody sees: words in the lower left corner of every frame, as tsd/media/label.py draws them. */

const WIDTH = 0.8;

export class Label {
  private readonly canvas: OffscreenCanvas;
  private readonly context: OffscreenCanvasRenderingContext2D;
  private readonly size: number;

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly lines: string[],
  ) {
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true }) as OffscreenCanvasRenderingContext2D;
    this.context.font = "100px sans-serif";
    const widest = Math.max(...lines.map((line) => this.context.measureText(line).width));
    this.size = Math.max(8, Math.min((100 * WIDTH * width) / widest, height / 8));
  }

  drawn(rgba: Uint8ClampedArray<ArrayBuffer>): Uint8ClampedArray<ArrayBuffer> {
    const { context, size, width, height } = this;
    context.putImageData(new ImageData(rgba, width, height), 0, 0);
    context.font = `${size}px sans-serif`;
    context.lineWidth = Math.max(2, size / 7);
    context.lineJoin = "round";
    [...this.lines].reverse().forEach((line, row) => {
      const at: [number, number] = [0.03 * width, height - 0.03 * height - row * 1.2 * size];
      context.strokeStyle = "black";
      context.strokeText(line, ...at);
      context.fillStyle = "white";
      context.fillText(line, ...at);
    });
    return new Uint8ClampedArray(context.getImageData(0, 0, width, height).data);
  }
}
