/** A volume small enough for the CPU: means over boxes, so that noise goes and no structure is skipped. */

import { cache, imageLoader } from "@cornerstonejs/core";

import { type Frame, normal } from "../geometry/frames";
import type { Vec3 } from "../geometry/vector";
import type { Voxels } from "./rays";

/** Voxels to keep: about 140 cubed. */
const KEEP = 2_750_000;

export interface Placed {
  voxels: Voxels;
  /** unit vectors of x, y, z in LPS, and the centre in LPS mm */
  axes: [Vec3, Vec3, Vec3];
  centre: Vec3;
}

/** How many voxels to average along each axis: near-cubic results, at most `KEEP` of them. */
export function factors(shape: Vec3, spacing: Vec3): Vec3 {
  const volume = shape.reduce((product, n, i) => product * n * (spacing[i] ?? 1), 1);
  const wanted = Math.max(Math.cbrt(volume / KEEP), Math.min(...spacing));
  return [0, 1, 2].map((i) => Math.max(1, Math.round(wanted / (spacing[i] ?? 1)))) as Vec3;
}

/** Frames in order of place; `heard` is told the part done, and may stop the work by returning false. */
export async function reduce(
  frames: Frame[],
  gap: number,
  heard: (part: number) => boolean,
): Promise<Placed | undefined> {
  const first = frames[0];
  const n = first && normal(first);
  if (!first?.spacing || !first.row || !first.column || !first.position || !n) return undefined;
  const spacing: Vec3 = [first.spacing[1], first.spacing[0], gap];
  const shape: Vec3 = [first.columns, first.rows, frames.length];
  const [fx, fy, fz] = factors(shape, spacing);
  const [nx, ny, nz] = [Math.floor(shape[0] / fx), Math.floor(shape[1] / fy), Math.floor(shape[2] / fz)];
  const sums = new Float32Array(nx * ny * nz);
  let pause = performance.now();
  for (let z = 0; z < nz * fz; z++) {
    const frame = frames[z];
    if (!frame) continue;
    const image =
      cache.getImage(frame.imageId) ??
      (await imageLoader.loadAndCacheImage(frame.imageId).catch(() => undefined));
    const pixels = image?.voxelManager?.getScalarData();
    if (image && pixels) {
      const scaled = image.preScale?.scaled;
      const [slope, intercept] = scaled ? [1, 0] : [image.slope || 1, image.intercept || 0];
      const base = Math.floor(z / fz) * nx * ny;
      for (let y = 0; y < ny * fy; y++) {
        const row = base + Math.floor(y / fy) * nx;
        const from = y * shape[0];
        for (let x = 0; x < nx * fx; x++) {
          const at = row + ((x / fx) | 0);
          sums[at] = (sums[at] ?? 0) + (pixels[from + x] ?? 0) * slope + intercept;
        }
      }
    }
    if (performance.now() - pause > 30) {
      if (!heard((z + 1) / shape[2])) return undefined;
      await new Promise((go) => setTimeout(go, 0));
      pause = performance.now();
    }
  }
  heard(1);
  const count = fx * fy * fz;
  let [low, high] = [Infinity, -Infinity];
  for (const s of sums) {
    if (s < low) low = s;
    if (s > high) high = s;
  }
  const span = high - low || 1;
  const values = new Uint16Array(nx * ny * nz);
  const histogram = new Uint32Array(1024);
  sums.forEach((s, i) => {
    const v = Math.round(((s - low) / span) * 65535);
    values[i] = v;
    histogram[v >> 6] = (histogram[v >> 6] ?? 0) + 1;
  });
  const valueAt = (bin: number) => (low + (bin / 1024) * span) / count;
  let [seen, top] = [0, 1023];
  while (top > 1 && (seen += histogram[top] ?? 0) < 0.0005 * values.length) top--;
  const middle = (i: 0 | 1 | 2) =>
    (first.position?.[i] ?? 0) +
    (((nx * fx - 1) / 2) * spacing[0] * (first.row?.[i] ?? 0) +
      ((ny * fy - 1) / 2) * spacing[1] * (first.column?.[i] ?? 0) +
      ((nz * fz - 1) / 2) * spacing[2] * n[i]);
  return {
    voxels: {
      values,
      shape: [nx, ny, nz],
      spacing: [fx * spacing[0], fy * spacing[1], fz * spacing[2]],
      range: [low / count, high / count],
      usual: [low / count, valueAt(top + 1)],
    },
    axes: [first.row, first.column, n],
    centre: [middle(0), middle(1), middle(2)],
  };
}
