/**
 * Rays through a volume, on the CPU: what draws volumes where no GPU does. WebGL in software takes
 * seconds a picture, most of it for samples that nobody sees; here empty blocks are stepped over, a
 * ray ends where nothing behind it shows, and light is worked out for visible samples alone.
 */

import { type Look, UNIT, pointsIn } from "./presets";

export interface Voxels {
  /** x fastest; 0 to 65535 stands for `range` */
  values: Uint16Array;
  /** columns, rows, slices */
  shape: [number, number, number];
  /** mm between voxels along x, y, z */
  spacing: [number, number, number];
  /** smallest and largest value */
  range: [number, number];
  /** values that nearly all voxels lie between: what `part` looks are measured in */
  usual: [number, number];
}

/** A view in index coordinates of the volume: parallel rays. */
export interface View {
  width: number;
  height: number;
  /** where the ray of the upper left pixel starts, and the steps to the next pixel */
  start: [number, number, number];
  across: [number, number, number];
  down: [number, number, number];
  /** one millimetre along the ray */
  ahead: [number, number, number];
  /** towards the light, in mm along the volume's axes */
  light: [number, number, number];
  /** mm between two samples */
  step: number;
}

const BLOCK = 8;
const ENTRIES = 4096;
const OPAQUE = 0.97;
const NOTHING: Look["points"][number] = [0, 0, 0, 0, 0];

export class Rays {
  private readonly blocks: [number, number, number];
  private readonly least: Uint16Array;
  private readonly most: Uint16Array;
  private visible: Uint8Array;
  private alpha = new Float32Array(ENTRIES);
  private rgb = new Float32Array(3 * ENTRIES);
  private key = "";

  constructor(private readonly voxels: Voxels) {
    const [nx, ny, nz] = voxels.shape;
    this.blocks = [Math.ceil(nx / BLOCK), Math.ceil(ny / BLOCK), Math.ceil(nz / BLOCK)];
    const count = this.blocks[0] * this.blocks[1] * this.blocks[2];
    this.least = new Uint16Array(count).fill(65535);
    this.most = new Uint16Array(count);
    this.visible = new Uint8Array(count);
    this.bound();
  }

  /** Least and greatest value that interpolation can meet in each block. */
  private bound(): void {
    const { values, shape } = this.voxels;
    const [nx, ny, nz] = shape;
    const [bx, by] = this.blocks;
    for (let z = 0; z < nz; z++) {
      for (let y = 0; y < ny; y++) {
        for (let x = 0; x < nx; x++) {
          const v = values[(z * ny + y) * nx + x] ?? 0;
          // The first voxel of a block is met from the block before it too.
          for (let k = z % BLOCK || z === 0 ? 0 : 1; k >= 0; k--) {
            for (let j = y % BLOCK || y === 0 ? 0 : 1; j >= 0; j--) {
              for (let i = x % BLOCK || x === 0 ? 0 : 1; i >= 0; i--) {
                const b = ((((z - k) >> 3) * by + ((y - j) >> 3)) * bx + ((x - i) >> 3)) | 0;
                if (v < (this.least[b] ?? 0)) this.least[b] = v;
                if (v > (this.most[b] ?? 0)) this.most[b] = v;
              }
            }
          }
        }
      }
    }
  }

  /** Tables of opacity and colour for steps of `step` mm. */
  private prepare(look: Look, step: number): void {
    const key = `${look.id}/${step}`;
    if (key === this.key) return;
    this.key = key;
    const [low, high] = this.voxels.range;
    const points = pointsIn(look, this.voxels.usual);
    const last = points.length - 1;
    for (let e = 0; e < ENTRIES; e++) {
      const value = low + ((e + 0.5) / ENTRIES) * (high - low);
      let n = 0;
      while (n < last && value > (points[n + 1]?.[0] ?? Infinity)) n++;
      const a = points[n] ?? NOTHING;
      const b = points[Math.min(n + 1, last)] ?? NOTHING;
      const part = Math.min(1, Math.max(0, (value - a[0]) / (b[0] - a[0] || 1)));
      const mix = (i: 1 | 2 | 3 | 4) => a[i] + part * (b[i] - a[i]);
      this.alpha[e] = look.mode === "mip" ? mix(1) : 1 - (1 - mix(1)) ** (step / UNIT);
      this.rgb.set([mix(2), mix(3), mix(4)], 3 * e);
    }
    // A block shows if any entry between its least and greatest value does.
    const before = new Uint16Array(ENTRIES + 1);
    for (let e = 0; e < ENTRIES; e++) before[e + 1] = (before[e] ?? 0) + ((this.alpha[e] ?? 0) > 1e-4 ? 1 : 0);
    for (let b = 0; b < this.visible.length; b++) {
      const [from, to] = [(this.least[b] ?? 0) >> 4, (this.most[b] ?? 0) >> 4];
      this.visible[b] = (before[to + 1] ?? 0) > (before[Math.max(0, from)] ?? 0) ? 1 : 0;
    }
  }

  /** Rows `from` to `to` of a view, RGBA into `out` (whole picture). */
  draw(view: View, look: Look, from: number, to: number, out: Uint8ClampedArray): void {
    this.prepare(look, view.step);
    const [nx, ny, nz] = this.voxels.shape;
    const { start, across, down, ahead, width } = view;
    const solid = look.mode === "solid";
    for (let py = from; py < to; py++) {
      for (let px = 0; px < width; px++) {
        const x = start[0] + px * across[0] + py * down[0];
        const y = start[1] + px * across[1] + py * down[1];
        const z = start[2] + px * across[2] + py * down[2];
        let near = -1e9;
        let far = 1e9;
        for (let a = 0; a < 3; a++) {
          const o = a === 0 ? x : a === 1 ? y : z;
          const d = ahead[a] ?? 0;
          const top = (a === 0 ? nx : a === 1 ? ny : nz) - 1.001;
          if (Math.abs(d) < 1e-9) {
            if (o < 0 || o > top) far = -1e9;
            continue;
          }
          const [p, q] = [(0 - o) / d, (top - o) / d];
          near = Math.max(near, Math.min(p, q));
          far = Math.min(far, Math.max(p, q));
        }
        const at = 4 * (py * width + px);
        out[at + 3] = 255;
        if (near >= far) continue;
        // Samples lie on planes common to all rays: no grain, no rings where the box begins.
        const first = Math.ceil(near / view.step);
        if (solid) this.gather(view, x, y, z, first, far, out, at);
        else this.largest(view, x, y, z, first, far, out, at);
      }
    }
  }

  private sample(x: number, y: number, z: number): number {
    const { values, shape } = this.voxels;
    const [nx, ny] = shape;
    const [i, j, k] = [x | 0, y | 0, z | 0];
    const [u, v, w] = [x - i, y - j, z - k];
    const o = (k * ny + j) * nx + i;
    const p = o + nx;
    const q = o + nx * ny;
    const r = q + nx;
    const a = values[o]! + u * (values[o + 1]! - values[o]!);
    const b = values[p]! + u * (values[p + 1]! - values[p]!);
    const c = values[q]! + u * (values[q + 1]! - values[q]!);
    const d = values[r]! + u * (values[r + 1]! - values[r]!);
    const e = a + v * (b - a);
    return e + w * (c + v * (d - c) - e);
  }

  /** Steps to take until the ray leaves the block around a place. */
  private leap(view: View, x: number, y: number, z: number): number {
    const { ahead, step } = view;
    let mm = 1e9;
    for (let a = 0; a < 3; a++) {
      const d = ahead[a]!;
      const o = a === 0 ? x : a === 1 ? y : z;
      if (d > 1e-9) mm = Math.min(mm, (((o >> 3) + 1) * BLOCK - o) / d);
      else if (d < -1e-9) mm = Math.min(mm, ((o >> 3) * BLOCK - o) / d);
    }
    return Math.max(1, Math.ceil(mm / step + 1e-6));
  }

  private gather(
    view: View, x0: number, y0: number, z0: number, first: number, far: number,
    out: Uint8ClampedArray, at: number,
  ): void {
    const { ahead, step, light } = view;
    const { alpha, rgb, visible, blocks } = this;
    const { shape, spacing } = this.voxels;
    const [mx, my, mz] = [shape[0] - 1.001, shape[1] - 1.001, shape[2] - 1.001];
    let [red, green, blue, clear] = [0, 0, 0, 1];
    for (let n = first; n * step < far && clear > 1 - OPAQUE; ) {
      const t = n * step;
      const x = Math.min(mx, Math.max(0, x0 + t * ahead[0]));
      const y = Math.min(my, Math.max(0, y0 + t * ahead[1]));
      const z = Math.min(mz, Math.max(0, z0 + t * ahead[2]));
      if (!visible[((z >> 3) * blocks[1] + (y >> 3)) * blocks[0] + (x >> 3)]) {
        n += this.leap(view, x, y, z);
        continue;
      }
      n++;
      const e = this.sample(x, y, z) >> 4;
      const a = alpha[e]!;
      if (a < 1e-4) continue;
      let lit = 1;
      let shine = 0;
      if (a * clear > 0.01) {
        const gx = (this.sample(Math.min(mx, x + 1), y, z) - this.sample(Math.max(0, x - 1), y, z)) / spacing[0];
        const gy = (this.sample(x, Math.min(my, y + 1), z) - this.sample(x, Math.max(0, y - 1), z)) / spacing[1];
        const gz = (this.sample(x, y, Math.min(mz, z + 1)) - this.sample(x, y, Math.max(0, z - 1))) / spacing[2];
        const size = Math.sqrt(gx * gx + gy * gy + gz * gz);
        const cos = size > 0 ? Math.abs(gx * light[0] + gy * light[1] + gz * light[2]) / size : 0.6;
        lit = 0.28 + 0.72 * cos;
        shine = 0.16 * cos ** 12;
      }
      const w = a * clear;
      red += w * (rgb[3 * e]! * lit + shine);
      green += w * (rgb[3 * e + 1]! * lit + shine);
      blue += w * (rgb[3 * e + 2]! * lit + shine);
      clear -= w;
    }
    out[at] = 255 * red;
    out[at + 1] = 255 * green;
    out[at + 2] = 255 * blue;
  }

  private largest(
    view: View, x0: number, y0: number, z0: number, first: number, far: number,
    out: Uint8ClampedArray, at: number,
  ): void {
    const { ahead, step } = view;
    const { blocks, most } = this;
    const { shape } = this.voxels;
    const [mx, my, mz] = [shape[0] - 1.001, shape[1] - 1.001, shape[2] - 1.001];
    let top = 0;
    for (let n = first; n * step < far; ) {
      const t = n * step;
      const x = Math.min(mx, Math.max(0, x0 + t * ahead[0]));
      const y = Math.min(my, Math.max(0, y0 + t * ahead[1]));
      const z = Math.min(mz, Math.max(0, z0 + t * ahead[2]));
      if (most[((z >> 3) * blocks[1] + (y >> 3)) * blocks[0] + (x >> 3)]! <= top) {
        n += this.leap(view, x, y, z);
        continue;
      }
      n++;
      const v = this.sample(x, y, z);
      if (v > top) top = v;
    }
    const grey = 255 * this.alpha[top >> 4]!;
    out[at] = out[at + 1] = out[at + 2] = grey;
  }
}
