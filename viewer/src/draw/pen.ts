/** A round pen on the pixels of one image: strokes from place to place, in millimetres. */

import type { Frame } from "../geometry/frames";

export type Point = readonly [number, number];

/** Pixels across and down that a radius in mm is; of an unknown size it is in pixels. */
export function reach(frame: Frame, radius: number): [number, number] {
  const [down, across] = frame.spacing ?? [1, 1];
  return [radius / across, radius / down];
}

/** How far a place is from the way between two others. */
function away(x: number, y: number, [ax, ay]: Point, [bx, by]: Point): number {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length > 0 ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/**
 * Give `value` to the pixels within the pen's way from `a` to `b` (pixel coordinates, centres whole);
 * the pixel below the pen always. Whether anything changed.
 */
export function stroke(labels: Uint8Array, frame: Frame, a: Point, b: Point, radius: number, value: number): boolean {
  const [rx, ry] = reach(frame, radius);
  // In units of the radius the pen is a circle of one.
  const scaled = ([x, y]: Point): Point => [x / rx, y / ry];
  const [from, to] = [scaled(a), scaled(b)];
  const [left, right] = [Math.min(a[0], b[0]) - rx, Math.max(a[0], b[0]) + rx];
  const [top, bottom] = [Math.min(a[1], b[1]) - ry, Math.max(a[1], b[1]) + ry];
  let changed = false;
  const put = (x: number, y: number) => {
    if (x < 0 || y < 0 || x >= frame.columns || y >= frame.rows) return;
    const i = y * frame.columns + x;
    if (labels[i] === value) return;
    labels[i] = value;
    changed = true;
  };
  for (let y = Math.max(0, Math.ceil(top)); y <= Math.min(frame.rows - 1, bottom); y++) {
    for (let x = Math.max(0, Math.ceil(left)); x <= Math.min(frame.columns - 1, right); x++) {
      if (away(x / rx, y / ry, from, to) <= 1) put(x, y);
    }
  }
  put(Math.round(b[0]), Math.round(b[1]));
  return changed;
}
