/** What is being drawn, over the slice of a stack; the left button draws on it. */

import { Enums, StackViewport, type Types } from "@cornerstonejs/core";
import { useEffect } from "react";

import type { Frame } from "../geometry/frames";
import type { Vec3 } from "../geometry/vector";
import { cornersOf, pixelOf } from "../process/source";
import type { Series } from "../study/series";
import { frameOf } from "../viewport/provider";
import { viewportOf } from "../viewport/readout";
import { type Point, reach, stroke } from "./pen";
import { type Colour, drawn, opened, touched, useDrawing, watchDrawing } from "./store";

const OPACITY = 0.5;

function stackOf(id: string): { viewport: Types.IStackViewport; frame: Frame } | undefined {
  const viewport = viewportOf(id);
  const frame = viewport instanceof StackViewport ? frameOf(viewport.getCurrentImageId() ?? "") : undefined;
  return frame ? { viewport: viewport as Types.IStackViewport, frame } : undefined;
}

function coloured(into: HTMLCanvasElement, frame: Frame, labels: Uint8Array, colours: Colour[]): void {
  into.width = frame.columns;
  into.height = frame.rows;
  const words = new Uint32Array(labels.length);
  const table = [0, ...colours.map(([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0)];
  labels.forEach((label, i) => (words[i] = table[label] ?? 0));
  const image = new ImageData(new Uint8ClampedArray(words.buffer), frame.columns, frame.rows);
  into.getContext("2d")?.putImageData(image, 0, 0);
}

/** CSS pixels of the picture's pixel (x, y), as a matrix. */
function matrixOf(viewport: Types.IStackViewport, frame: Frame): [number, number, number, number, number, number] {
  const [o, r, d] = cornersOf(viewport, frame, [-0.5, -0.5, frame.columns - 0.5, -0.5, -0.5, frame.rows - 0.5]);
  const [ox = 0, oy = 0] = o ?? [];
  const [rx = 0, ry = 0] = r ?? [];
  const [dx = 0, dy = 0] = d ?? [];
  const [w, h] = [frame.columns, frame.rows];
  return [(rx - ox) / w, (ry - oy) / w, (dx - ox) / h, (dy - oy) / h, ox, oy];
}

export function DrawLayer(props: { id: string; element: HTMLDivElement | null; series: Series; active: boolean }) {
  const { id, element, series, active } = props;
  const mine = useDrawing().drawing?.series.row.uid === series.row.uid;

  useEffect(() => {
    const holder = element?.querySelector(".viewport-element");
    if (!mine || !element || !holder) return;
    const canvas = document.createElement("canvas");
    canvas.className = "preview-canvas draw-canvas";
    holder.append(canvas);
    const small = document.createElement("canvas");
    let [pointer, pending]: [Point | undefined, number] = [undefined, 0];
    const draw = () => {
      const ratio = window.devicePixelRatio || 1;
      const [w, h] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      canvas.width = w;
      canvas.height = h;
      const context = canvas.getContext("2d");
      const stack = stackOf(id);
      const { drawing, pen } = drawn();
      if (!context || !stack || !drawing) return;
      const { viewport, frame } = stack;
      const labels = drawing.labels.get(frame.imageId);
      const [a, b, c, d, e, f] = matrixOf(viewport, frame);
      context.setTransform(a * ratio, b * ratio, c * ratio, d * ratio, e * ratio, f * ratio);
      canvas.dataset["labelled"] = labels?.some((v) => v > 0) ? "true" : "false";
      if (labels) {
        coloured(small, frame, labels, drawing.colours);
        context.imageSmoothingEnabled = false;
        context.globalAlpha = OPACITY;
        context.drawImage(small, 0, 0);
        context.globalAlpha = 1;
      }
      if (pointer && active) {
        const [rx, ry] = reach(frame, pen.radius);
        const [r, g, bl] = drawing.colours[pen.label - 1] ?? [255, 255, 255];
        context.beginPath();
        context.ellipse(pointer[0] + 0.5, pointer[1] + 0.5, rx, ry, 0, 0, 2 * Math.PI);
        context.setTransform(ratio, 0, 0, ratio, 0, 0);
        context.strokeStyle = `rgb(${r} ${g} ${bl})`;
        context.lineWidth = 1.5;
        context.stroke();
      }
    };
    const soon = () => {
      pending ||= requestAnimationFrame(() => {
        pending = 0;
        draw();
      });
    };
    const at = (event: PointerEvent): Point | undefined => {
      const stack = stackOf(id);
      if (!stack) return undefined;
      const box = element.getBoundingClientRect();
      const world = stack.viewport.canvasToWorld([event.clientX - box.left, event.clientY - box.top]);
      return pixelOf(stack.frame, world as unknown as Vec3);
    };
    let [last, labels, frame]: [Point | undefined, Uint8Array | undefined, Frame | undefined] = [
      undefined, undefined, undefined,
    ];
    let path: Point[] = [];
    const paint = (place: Point) => {
      const { pen } = drawn();
      if (!labels || !frame) return;
      if (stroke(labels, frame, last ?? place, place, pen.radius, pen.label)) soon();
      last = place;
      path.push(place);
    };
    const down = (event: PointerEvent) => {
      const place = at(event);
      frame = stackOf(id)?.frame;
      if (!active || event.button !== 0 || event.ctrlKey || !place || !frame) return;
      labels = opened(frame.imageId, frame.rows * frame.columns);
      element.setPointerCapture(event.pointerId);
      last = undefined;
      path = [];
      paint(place);
    };
    const move = (event: PointerEvent) => {
      pointer = at(event);
      if (labels && pointer && stackOf(id)?.frame === frame) {
        // All places between two pictures of the display, so that a quick stroke stays round.
        const places = event.getCoalescedEvents().map(at);
        for (const place of [...places, pointer]) if (place) paint(place);
      }
      if (active) soon();
    };
    const up = () => {
      if (!labels || !frame) return;
      touched(frame.imageId, path);
      [last, labels, frame] = [undefined, undefined, undefined];
    };
    const leave = () => {
      pointer = undefined;
      soon();
    };
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("pointerleave", leave);
    element.addEventListener(Enums.Events.IMAGE_RENDERED, draw);
    const stop = watchDrawing(soon);
    draw();
    return () => {
      stop();
      cancelAnimationFrame(pending);
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", up);
      element.removeEventListener("pointerleave", leave);
      element.removeEventListener(Enums.Events.IMAGE_RENDERED, draw);
      canvas.remove();
    };
  }, [mine, element, id, active]);
  return null;
}
