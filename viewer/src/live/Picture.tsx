/** The frame on a canvas, in colours of a table; the newest one wins. */

import { useEffect, useRef } from "react";

import { table } from "../viewport/palettes";
import { type Frame } from "./connection";

export interface Screen {
  /** Show this frame with the next picture of the display; `drawn` is called when it is there. */
  show(frame: Frame, drawn: (frame: Frame) => void, overtaken: () => void): void;
}

export function paint(canvas: HTMLCanvasElement, frame: Frame, colours: Uint32Array): void {
  const { rows, columns, channels } = frame.head;
  if (canvas.width !== columns || canvas.height !== rows) {
    canvas.width = columns;
    canvas.height = rows;
  }
  const [dy, dx] = frame.head.spacing;
  canvas.style.setProperty("--ratio", String((columns * dx) / (rows * dy)));
  const pen = canvas.getContext("2d", { alpha: false });
  if (!pen) return;
  const image = pen.createImageData(columns, rows);
  const words = new Uint32Array(image.data.buffer);
  const { pixels } = frame;
  if (channels === 1) {
    for (let i = 0; i < words.length; i++) words[i] = colours[pixels[i] ?? 0] ?? 0;
  } else {
    for (let i = 0, k = 0; i < words.length; i++, k += 3) {
      const [red, green, blue] = [pixels[k] ?? 0, pixels[k + 1] ?? 0, pixels[k + 2] ?? 0];
      words[i] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    }
  }
  pen.putImageData(image, 0, 0);
}

export function Picture(props: { palette: string; onScreen: (screen: Screen) => void }) {
  const { palette, onScreen } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const colours = useRef(table(palette));
  const last = useRef<Frame | undefined>(undefined);

  useEffect(() => {
    colours.current = table(palette);
    if (canvas.current && last.current) paint(canvas.current, last.current, colours.current);
  }, [palette]);

  useEffect(() => {
    let waiting: { frame: Frame; drawn: (frame: Frame) => void } | undefined;
    let asked = 0;
    const draw = () => {
      asked = 0;
      if (!waiting || !canvas.current) return;
      const { frame, drawn } = waiting;
      waiting = undefined;
      last.current = frame;
      paint(canvas.current, frame, colours.current);
      drawn(frame);
    };
    onScreen({
      show(frame, drawn, overtaken) {
        if (waiting) overtaken();
        waiting = { frame, drawn };
        asked ||= requestAnimationFrame(draw);
      },
    });
    return () => cancelAnimationFrame(asked);
  }, [onScreen]);

  return <canvas ref={canvas} className="live-canvas" aria-label="Live picture" />;
}
