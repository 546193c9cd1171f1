/** Scribbles as places in the patient: what operations take as marks. */

import type { Frame } from "../geometry/frames";
import { type Vec3, add, times } from "../geometry/vector";
import type { Drawing } from "./store";

/** Places of each mark that are sent; more are thinned evenly. */
const MOST = 3000;

/** Places along a stroke that a wire is led through. */
const KNOTS = 24;

const rounded = (v: number) => Math.round(v * 1000) / 1000;

/** A way from a frame's pixels to L, P, S in mm. */
function worldOf({ position, row, column, spacing }: Frame): (x: number, y: number) => Vec3 {
  if (!position || !row || !column || !spacing) {
    throw new Error("The images carry no position in space, and marks on them cannot be sent.");
  }
  return (x, y) => add(position, add(times(row, x * spacing[1]), times(column, y * spacing[0])));
}

/** L, P, S of places along the last stroke, evenly apart and in its order, in mm. */
export function knotsOf({ series, path }: Drawing): number[] {
  const frame = series.frames.find((f) => f.imageId === path?.imageId);
  if (!frame || !path) return [];
  const world = worldOf(frame);
  const lengths = [0];
  path.places.forEach(([x, y], i) => {
    const [a, b] = path.places[i - 1] ?? [x, y];
    if (i > 0) lengths.push((lengths[i - 1] ?? 0) + Math.hypot(x - a, y - b));
  });
  const whole = lengths.at(-1) ?? 0;
  const count = Math.min(KNOTS, Math.max(2, Math.floor(whole / 4)));
  const chosen = Array.from({ length: count }, (_, k) => {
    const at = (whole * k) / (count - 1);
    return path.places[lengths.findIndex((l) => l >= at - 1e-9)];
  });
  return chosen.flatMap((p) => (p ? world(Math.round(p[0]), Math.round(p[1])).map(rounded) : []));
}

/** L, P, S of every pixel with a label, one after the other, in mm. */
export function pointsOf({ series, labels }: Drawing, label: number): number[] {
  const places: Vec3[] = [];
  for (const frame of series.frames) {
    const values = labels.get(frame.imageId);
    if (!values) continue;
    const world = worldOf(frame);
    values.forEach((value, i) => {
      if (value === label) places.push(world(i % frame.columns, Math.floor(i / frame.columns)));
    });
  }
  const step = Math.max(1, places.length / MOST);
  const kept = Array.from({ length: Math.min(places.length, MOST) }, (_, i) => places[Math.floor(i * step)]);
  return kept.flatMap((p) => (p ? p.map(rounded) : []));
}
