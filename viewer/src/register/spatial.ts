/**
 * Where a point of one frame of reference lies in another, from a stored registration: Spatial
 * Registration (PS3.3 C.20.2) or Deformable Spatial Registration (C.20.3).
 */

import { type Dataset, type Element, inlineBytes, item, items, numbers, text } from "../dicom/json";
import { request } from "../api/http";
import { stepsOf } from "../study/History";
import { type Vec3, cross, dot, sub, unit, vec3 } from "../geometry/vector";
import { defined } from "./offsets";

export type Way = (point: Vec3) => Vec3;

export interface Spatial {
  /** the series of the registration itself */
  series: string;
  /** frames of reference */
  fixed: string;
  moving: string;
  /** series it was made from, where the registration says so */
  inputs: string[];
  /** what the registration is worth, in words */
  words: string;
  /** the numbers behind the words, a line each */
  evidence: string[];
  /** nothing where the registration says no verdict of its own, as another system's */
  trusted: boolean | undefined;
  forward: Way;
  backward: Way;
}

const LINEAR = "1.2.840.10008.5.1.4.1.1.66.1";
const DEFORMABLE = "1.2.840.10008.5.1.4.1.1.66.3";
const FRAME = "00200052";

/** Four by four, row by row. */
type Matrix = readonly number[];

const IDENTITY: Matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

export function times(a: Matrix, b: Matrix): Matrix {
  return IDENTITY.map((_, k) => {
    const [row, column] = [Math.floor(k / 4), k % 4];
    let sum = 0;
    for (let i = 0; i < 4; i++) sum += (a[4 * row + i] ?? 0) * (b[4 * i + column] ?? 0);
    return sum;
  });
}

export function moved(m: Matrix, p: Vec3): Vec3 {
  return [0, 1, 2].map(
    (r) => (m[4 * r] ?? 0) * p[0] + (m[4 * r + 1] ?? 0) * p[1] + (m[4 * r + 2] ?? 0) * p[2] + (m[4 * r + 3] ?? 0),
  ) as Vec3;
}

/** The inverse of an affine matrix; nothing where it has none. */
export function inverse(m: Matrix): Matrix | undefined {
  const [a, b, c] = [0, 1, 2].map((k) => [m[k] ?? 0, m[4 + k] ?? 0, m[8 + k] ?? 0] as Vec3);
  if (!a || !b || !c) return undefined;
  const volume = dot(a, cross(b, c));
  if (!Number.isFinite(volume) || Math.abs(volume) < 1e-12) return undefined;
  const rows = [cross(b, c), cross(c, a), cross(a, b)].map((v) => v.map((x) => x / volume) as Vec3);
  const shift: Vec3 = [m[3] ?? 0, m[7] ?? 0, m[11] ?? 0];
  return [...rows.flatMap((r) => [...r, -dot(r, shift)]), 0, 0, 0, 1];
}

function matrixOf(ds: Dataset | undefined): Matrix {
  const found = numbers(ds, "300600C6");
  return found.length === 16 ? found : IDENTITY;
}

async function bytesOf(element: Element | undefined): Promise<Uint8Array> {
  const inline = inlineBytes(element);
  if (inline || !element?.BulkDataURI) return inline ?? new Uint8Array();
  const answer = await request(element.BulkDataURI, { headers: { Accept: "application/octet-stream" } });
  return new Uint8Array(await answer.arrayBuffer());
}

/** Offsets on a grid, linear between its points and constant outside. */
async function field(ds: Dataset): Promise<Way> {
  const [nx = 0, ny = 0, nz = 0] = numbers(ds, "00640007");
  const spacing = numbers(ds, "00640008");
  const told = numbers(ds, "00200037");
  const [row, column, origin] = [vec3(told.slice(0, 3)), vec3(told.slice(3)), vec3(numbers(ds, "00200032"))];
  const bytes = await bytesOf(ds["00640009"]);
  const given = new Float32Array(bytes.slice().buffer, 0, Math.floor(bytes.length / 4));
  if (!row || !column || !origin || spacing.length !== 3 || given.length !== 3 * nx * ny * nz) {
    throw new Error("The registration's grid of offsets is damaged.");
  }
  const vectors = defined(given, [nx, ny, nz]);
  const axes: Vec3[] = [unit(row), unit(column), unit(cross(row, column))];
  const counts = [nx, ny, nz];
  return (p) => {
    const from = sub(p, origin);
    const low: number[] = [];
    const part: number[] = [];
    axes.forEach((axis, k) => {
      const last = (counts[k] ?? 1) - 1;
      const at = Math.min(Math.max(dot(from, axis) / (spacing[k] ?? 1), 0), last);
      low.push(Math.min(Math.floor(at), Math.max(last - 1, 0)));
      part.push(at - (low[k] ?? 0));
    });
    const out: Vec3 = [0, 0, 0];
    for (let corner = 0; corner < 8; corner++) {
      let weight = 1;
      const index = [0, 1, 2].map((k) => {
        const bit = (corner >> k) & 1;
        const w = part[k] ?? 0;
        weight *= bit ? w : 1 - w;
        return Math.min((low[k] ?? 0) + bit, (counts[k] ?? 1) - 1);
      });
      if (weight === 0) continue;
      const place = 3 * (((index[2] ?? 0) * ny + (index[1] ?? 0)) * nx + (index[0] ?? 0));
      for (let c = 0; c < 3; c++) out[c] = (out[c] ?? 0) + weight * (vectors[place + c] ?? 0);
    }
    return out;
  };
}

/** The way back of a map that is nearly `matrix`: fixed-point steps. */
function returning(forward: Way, matrix: Matrix): Way | undefined {
  const back = inverse(matrix);
  if (!back) return undefined;
  return (y) => {
    let x = moved(back, y);
    for (let step = 0; step < 20; step++) {
      const wrong = sub(y, forward(x));
      if (Math.hypot(...wrong) < 0.01) break;
      const [a, b] = [moved(back, wrong), moved(back, [0, 0, 0])];
      x = [x[0] + a[0] - b[0], x[1] + a[1] - b[1], x[2] + a[2] - b[2]];
    }
    return x;
  };
}

/** UIDs of the series that the last operation on `ds` was given. */
export function inputsOf(ds: Dataset | undefined): string[] {
  return (stepsOf(ds).at(-1)?.inputs ?? []).map((uid) => uid.split("#")[0] ?? "");
}

/** What a series was made of, where a registration carried it to another grid. */
export function carriedOf(ds: Dataset | undefined): { moving: string; registration: string } | undefined {
  if (stepsOf(ds).at(-1)?.operation !== "analyze.transform") return undefined;
  const [moving, registration] = inputsOf(ds);
  return moving && registration ? { moving, registration } : undefined;
}

/** The map that a registration holds. */
export async function spatialOf(ds: Dataset): Promise<Spatial> {
  const fixed = text(ds, FRAME);
  const kind = text(ds, "00080016");
  const evidence = text(ds, "00204000").split("\n").filter(Boolean);
  const words = evidence.shift() ?? text(ds, "00700081");
  const common = {
    series: text(ds, "0020000E"), fixed, inputs: inputsOf(ds), words, evidence,
    trusted: words.startsWith("trusted") || (words.startsWith("do not trust") ? false : undefined),
  };
  if (kind === LINEAR) {
    const every = items(ds, "00700308");
    const other = every.find((i) => text(i, FRAME) !== fixed) ?? every.at(-1);
    const matrices = items(item(other, "00700309"), "0070030A").map(matrixOf);
    // Of several the first comes first (equation C.20.2-2).
    const home = matrices.reduce<Matrix>((made, m) => times(m, made), IDENTITY);
    const away = inverse(home);
    if (!other || !away) throw new Error("The registration holds no map that can be turned round.");
    return {
      ...common, moving: text(other, FRAME),
      forward: (p) => moved(away, p), backward: (p) => moved(home, p),
    };
  }
  if (kind !== DEFORMABLE) throw new Error("This series holds no spatial registration.");
  const every = items(ds, "00640002");
  const bent = every.find((i) => item(i, "00640005")) ?? every.at(-1);
  const grid = item(bent, "00640005");
  const pre = matrixOf(item(bent, "0064000F"));
  const post = matrixOf(item(bent, "00640010"));
  const offset = grid ? await field(grid) : (): Vec3 => [0, 0, 0];
  // C.20.3.1.1: source = post (pre registered + offset(registered))
  const forward: Way = (p) => {
    const [a, d] = [moved(pre, p), offset(p)];
    return moved(post, [a[0] + d[0], a[1] + d[1], a[2] + d[2]]);
  };
  const backward = returning(forward, times(post, pre));
  if (!bent || !backward) throw new Error("The registration holds no map that can be turned round.");
  return { ...common, moving: text(bent, "00640003"), forward, backward };
}

/** How places of series `a` (in frame `frameA`) lead to those of `b`, of the newest that fits. */
export function wayBetween(
  found: Spatial[], a: { series: string; frame: string }, b: { series: string; frame: string },
): { there: Way; back: Way; by: Spatial | undefined } | undefined {
  const newest = [...found].reverse();
  const exact = (s: Spatial, x: string, y: string) => s.inputs[0] === x && s.inputs[1] === y;
  const framed = (s: Spatial, x: string, y: string) => s.fixed !== s.moving && s.fixed === x && s.moving === y;
  const same: Way = (p) => p;
  for (const s of newest) {
    if (exact(s, a.series, b.series)) return { there: s.forward, back: s.backward, by: s };
    if (exact(s, b.series, a.series)) return { there: s.backward, back: s.forward, by: s };
  }
  if (a.frame && a.frame === b.frame) return { there: same, back: same, by: undefined };
  for (const s of newest) {
    if (framed(s, a.frame, b.frame)) return { there: s.forward, back: s.backward, by: s };
    if (framed(s, b.frame, a.frame)) return { there: s.backward, back: s.forward, by: s };
  }
  return undefined;
}
