/** Vectors of a deformation grid where it defines none: not-a-numbers (PS3.3 C.20.3.1.3). */

/**
 * Three numbers for each point, x fastest; points without a vector get the nearest point's, near
 * by the count of grid steps.
 */
export function defined(vectors: Float32Array, counts: readonly number[]): Float32Array {
  const [nx = 0, ny = 0, nz = 0] = counts;
  const total = nx * ny * nz;
  let from = new Int32Array(total);
  let away = new Float64Array(total);
  let missing = 0;
  for (let k = 0; k < total; k++) {
    const has = [0, 1, 2].every((c) => Number.isFinite(vectors[3 * k + c]));
    from[k] = has ? k : -1;
    away[k] = has ? 0 : Infinity;
    if (!has) missing++;
  }
  if (!missing) return vectors;
  if (missing === total) throw new Error("The registration's grid of offsets defines none.");
  // Squares of distances add up over the axes: nearest in a line, then in a plane, then of all.
  let stride = 1;
  for (const length of [nx, ny, nz]) {
    const [origin, distance] = [from.slice(), away.slice()];
    for (let k = 0; k < total; k++) {
      const i = Math.floor(k / stride) % length;
      for (let d = 1; d < length && d * d < (distance[k] ?? 0); d++) {
        for (const j of [i - d, i + d]) {
          if (j < 0 || j >= length) continue;
          const other = k + (j - i) * stride;
          const found = (away[other] ?? Infinity) + d * d;
          if (found >= (distance[k] ?? 0)) continue;
          distance[k] = found;
          origin[k] = from[other] ?? -1;
        }
      }
    }
    [from, away] = [origin, distance];
    stride *= length;
  }
  const out = new Float32Array(3 * total);
  from.forEach((at, k) => out.set(vectors.subarray(3 * at, 3 * at + 3), 3 * k));
  return out;
}
