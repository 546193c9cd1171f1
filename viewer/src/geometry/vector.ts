/** Three numbers, in LPS millimetres where they are a place. */

export type Vec3 = [number, number, number];

export const sub = (a: Vec3, b: Vec3): Vec3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const add = (a: Vec3, b: Vec3): Vec3 => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const times = (a: Vec3, k: number): Vec3 => [a[0] * k, a[1] * k, a[2] * k];
export const dot = (a: Vec3, b: Vec3): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const cross = (a: Vec3, b: Vec3): Vec3 => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];
export const norm = (a: Vec3): number => Math.sqrt(dot(a, a));
export const unit = (a: Vec3): Vec3 => times(a, 1 / (norm(a) || 1));

export function vec3(v: readonly number[] | undefined): Vec3 | undefined {
  const [x, y, z] = v ?? [];
  return x === undefined || y === undefined || z === undefined ? undefined : [x, y, z];
}

const LETTERS: [string, string][] = [
  ["L", "R"],
  ["P", "A"],
  ["H", "F"],
];

/** Anatomical letters of a direction in LPS, strongest first: `[1,0,0]` is `L`, oblique `LP`. */
export function letters(direction: Vec3): string {
  const d = unit(direction);
  return d
    .map((value, axis) => ({ size: Math.abs(value), letter: LETTERS[axis]?.[value > 0 ? 0 : 1] ?? "" }))
    .filter(({ size }) => size > 0.25)
    .sort((a, b) => b.size - a.size)
    .map(({ letter }) => letter)
    .join("");
}
