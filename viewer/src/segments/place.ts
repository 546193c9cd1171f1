/** Lay segmentation frames on the slices of a series, by place in space. */

import { type Frame, normal } from "../geometry/frames";
import { type Vec3, add, dot, sub, times } from "../geometry/vector";
import type { SegFrame, Segmentation } from "./decode";

export interface Placed {
  /** label image (segment index, row-major) by image ID of the source slice */
  labels: Map<string, Uint8Array>;
  /** pixels claimed by more than one segment */
  overlaps: number;
  /** pixels of each segment index */
  counts: Map<number, number>;
  /** frames of the segmentation that meet no slice of the series */
  unplaced: number;
}

const TOLERANCE = 0.1;
const SAME = 1e-3;

function sameGrid(seg: SegFrame, frame: Frame): boolean {
  if (!seg.position || !frame.position || !seg.row || !frame.row || !seg.column || !frame.column) {
    return true;
  }
  const half = 0.5 * Math.min(...(frame.spacing ?? [1, 1]));
  const offset = sub(seg.position, frame.position);
  return (
    dot(seg.row, frame.row) > 0.9999 &&
    dot(seg.column, frame.column) > 0.9999 &&
    Math.abs(dot(offset, frame.row)) < half &&
    Math.abs(dot(offset, frame.column)) < half &&
    (frame.spacing === undefined ||
      (Math.abs(seg.spacing[0] - frame.spacing[0]) < 0.01 * frame.spacing[0] &&
        Math.abs(seg.spacing[1] - frame.spacing[1]) < 0.01 * frame.spacing[1]))
  );
}

/** The slice a segmentation frame belongs to: named as its source, or at its place. */
function slicesFor(seg: SegFrame, frames: Frame[], gap: number): Frame[] {
  const { position } = seg;
  if (position) {
    let least = Infinity;
    const distances = frames.map((frame) => {
      const n = normal(frame);
      const away = n && frame.position ? Math.abs(dot(sub(position, frame.position), n)) : Infinity;
      least = Math.min(least, away);
      return away;
    });
    // Several images at one place are time points or echoes of it: it lies over all of them.
    return least > Math.max(TOLERANCE, gap / 2)
      ? []
      : frames.filter((_, i) => (distances[i] ?? Infinity) < least + SAME);
  }
  return frames.filter((f) => f.sop === seg.source && f.number === seg.sourceFrame);
}

function resample(seg: SegFrame, shape: [number, number], frame: Frame): (index: number) => number {
  const [rows, columns] = shape;
  const { position, row, column, spacing } = frame;
  if (!seg.position || !seg.row || !seg.column || !position || !row || !column || !spacing) {
    return () => -1;
  }
  const { position: origin, row: along, column: down } = seg;
  return (index) => {
    const r = Math.floor(index / frame.columns);
    const c = index % frame.columns;
    const world: Vec3 = add(position, add(times(row, c * spacing[1]), times(column, r * spacing[0])));
    const offset = sub(world, origin);
    const x = Math.round(dot(offset, along) / seg.spacing[1]);
    const y = Math.round(dot(offset, down) / seg.spacing[0]);
    return x < 0 || y < 0 || x >= columns || y >= rows ? -1 : y * columns + x;
  };
}

/** `indexOf` gives the label value (1 to 255) of a segment number. */
export function place(
  segmentation: Segmentation,
  frames: Frame[],
  gap: number,
  indexOf: ReadonlyMap<number, number>,
): Placed {
  const placed: Placed = { labels: new Map(), overlaps: 0, counts: new Map(), unplaced: 0 };
  for (const seg of segmentation.frames) {
    const targets = slicesFor(seg, frames, gap);
    if (targets.length === 0) placed.unplaced += 1;
    for (const [nth, frame] of targets.entries()) {
      const size = frame.rows * frame.columns;
      const labels = placed.labels.get(frame.imageId) ?? new Uint8Array(size);
      placed.labels.set(frame.imageId, labels);
      const direct =
        segmentation.rows === frame.rows && segmentation.columns === frame.columns && sameGrid(seg, frame);
      const at = direct ? undefined : resample(seg, [segmentation.rows, segmentation.columns], frame);
      for (let i = 0; i < size; i++) {
        const value = seg.values[at ? at(i) : i] ?? 0;
        if (value === 0) continue;
        const index = indexOf.get(seg.segment ?? value);
        if (index === undefined) continue;
        const before = labels[i] ?? 0;
        labels[i] = index;
        if (nth > 0) continue;
        if (before !== 0 && before !== index) placed.overlaps += 1;
        placed.counts.set(index, (placed.counts.get(index) ?? 0) + 1);
      }
    }
  }
  return placed;
}
