/** Frames that share a place, told apart by time, echo, b-value or kind: one volume for each. */

import type { Frame } from "./frames";

/** Parts of `Frame.phase` in their order, and how a reader says one. */
const PARTS: ((value: string) => string)[] = [
  (v) => `time ${v}`,
  (v) => `TE ${figure(v)} ms`,
  (v) => `b ${figure(v)} s/mm²`,
  (v) => `trigger ${figure(v)} ms`,
  (v) => v.toLowerCase(),
];

const figure = (value: string) => String(Number(Number(value).toPrecision(4)));

function inOrder(a: string, b: string): number {
  const [x, y] = [a.split("|"), b.split("|")];
  for (let i = 0; i < PARTS.length; i++) {
    const [p = "", q = ""] = [x[i], y[i]];
    if (p === q) continue;
    const [m, n] = [Number(p), Number(q)];
    return Number.isNaN(m) || Number.isNaN(n) ? p.localeCompare(q) : m - n;
  }
  return 0;
}

/** Groups of frames of one phase each, in phase order; all in one group where that is not so. */
export function phases(frames: Frame[]): Frame[][] {
  const named = new Map<string, Frame[]>();
  for (const frame of frames) {
    named.set(frame.phase, [...(named.get(frame.phase) ?? []), frame]);
  }
  const groups = [...named].sort(([a], [b]) => inOrder(a, b)).map(([, group]) => group);
  const alike = groups.every((g) => g.length > 1 && g.length === groups[0]?.length);
  return groups.length > 1 && alike ? groups : [frames];
}

/** What tells each group from the others, in words: `b 500 s/mm²`. */
export function phaseNames(groups: Frame[][]): string[] {
  const keys = groups.map((g) => (g[0]?.phase ?? "").split("|"));
  const varying = PARTS.map((_, i) => new Set(keys.map((k) => k[i] ?? "")).size > 1);
  return keys.map((key, n) => {
    const words = PARTS.flatMap((say, i) => (varying[i] && key[i] ? [say(key[i])] : []));
    return words.join(", ") || `phase ${n + 1}`;
  });
}
