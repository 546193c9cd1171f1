/** A drawing as a NIfTI-1 label map on the grid of its series: the form the server takes outlines in. */

import type { Frame } from "../geometry/frames";
import { normal } from "../geometry/frames";
import { type Vec3, sub, times } from "../geometry/vector";
import { shownPlane } from "../viewport/provider";
import type { Drawing } from "./store";

const HEADER = 352;

/** The slices in order; an error that says why where the series is no volume. */
function slicesOf({ series }: Drawing): Frame[] {
  const { volume, frames } = series;
  if (volume.ok) return volume.frames;
  if (frames.length === 1) return frames;
  throw new Error(`Outlines of this series cannot be kept. ${volume.reason}`);
}

/** From slice to slice in mm. */
function stepOf(slices: Frame[]): Vec3 {
  const [first, second] = slices;
  if (first?.position && second?.position) return sub(second.position, first.position);
  const n = first && normal(first);
  return times(n ?? [0, 0, 1], first?.thickness ?? 1);
}

/** Affine of (column, row, slice) to RAS+ millimetres: NIfTI's x runs to the right, ours to the left. */
function affineOf(slices: Frame[]): number[] {
  const first = slices[0];
  if (!first) return [];
  const { origin, row, column, spacing } = shownPlane(first);
  const columns = [times(row, spacing[1]), times(column, spacing[0]), stepOf(slices), origin];
  return [0, 1, 2].flatMap((k) => columns.map((c) => (k < 2 ? -1 : 1) * (c[k] ?? 0)));
}

/** Uncompressed bytes, one byte a voxel. */
export function bytesOf(drawing: Drawing): Uint8Array<ArrayBuffer> {
  const slices = slicesOf(drawing);
  const { columns = 0, rows = 0 } = slices[0] ?? {};
  const size = columns * rows;
  const bytes = new Uint8Array(HEADER + size * slices.length);
  const view = new DataView(bytes.buffer);
  const short = (at: number, value: number) => view.setInt16(at, value, true);
  const float = (at: number, value: number) => view.setFloat32(at, value, true);
  view.setInt32(0, 348, true);
  [3, columns, rows, slices.length, 1, 1, 1, 1].forEach((n, i) => short(40 + 2 * i, n));
  short(70, 2); // unsigned bytes
  short(72, 8);
  const affine = affineOf(slices);
  const edge = (k: number) => Math.hypot(affine[k] ?? 0, affine[4 + k] ?? 0, affine[8 + k] ?? 0);
  [1, edge(0), edge(1), edge(2)].forEach((v, i) => float(76 + 4 * i, v));
  float(108, HEADER);
  float(112, 1);
  bytes[123] = 2; // mm
  short(254, 1); // the affine below leads to the scanner's places
  affine.forEach((v, i) => float(280 + 4 * i, v));
  bytes.set([0x6e, 0x2b, 0x31, 0], 344);
  slices.forEach((frame, k) => {
    const labels = drawing.labels.get(frame.imageId);
    if (labels) bytes.set(labels, HEADER + k * size);
  });
  return bytes;
}

export async function niftiOf(drawing: Drawing): Promise<Blob> {
  const packed = new Blob([bytesOf(drawing)]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(packed).blob();
}
