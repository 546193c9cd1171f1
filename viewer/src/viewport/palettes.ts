/** Colour maps as control points, used for the picture and for its legend alike. */

import { PALETTES, type Palette } from "./palettes.generated";

export interface Colormap {
  name: string;
  label: string;
  /** what a reader should know before trusting it */
  warning: string;
  /** position in [0, 1], red, green, blue in [0, 1] */
  points: [number, number, number, number][];
}

/** Shown before the others. */
const FIRST = ["grey", "hot_iron", "pet", "viridis", "magma", "tide", "bone", "rainbow"];

/** A colour that holds until the next is two points. */
function joined({ points, stepped }: Palette): Colormap["points"] {
  return points.flatMap(([x, r, g, b], i) => {
    const colour: [number, number, number] = [r / 255, g / 255, b / 255];
    const next = points[i + 1];
    return stepped && next
      ? [[x, ...colour], [Math.max(x, next[0] - 1e-5), ...colour]]
      : [[x, ...colour]];
  });
}

const rank = (name: string) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

/** Those of the house, those that are looked for first in front. */
export const COLORMAPS: Colormap[] = [...PALETTES]
  .filter((p) => p.name !== "grey_inverted") // inverting is a tool of its own
  .sort((p, q) => rank(p.name) - rank(q.name))
  .map((p) => ({ name: `soma-${p.name}`, label: p.label, warning: p.warning, points: joined(p) }));

/** How many are shown before one asks for more. */
export const USUAL = FIRST.length;

export function colormap(name: string): Colormap {
  return COLORMAPS.find((c) => c.name === name) ?? (COLORMAPS[0] as Colormap);
}

export function gradient(name: string, direction = "to top"): string {
  const stops = colormap(name).points.map(
    ([x, r, g, b]) => `rgb(${r * 255} ${g * 255} ${b * 255}) ${x * 100}%`,
  );
  return `linear-gradient(${direction}, ${stops.join(", ")})`;
}

/** 256 colours as little-endian RGBA words, for pictures drawn without Cornerstone3D. */
export function table(name: string): Uint32Array {
  const { points } = colormap(name);
  const words = new Uint32Array(256);
  let k = 0;
  for (let i = 0; i < 256; i++) {
    const x = i / 255;
    while (k < points.length - 2 && x > (points[k + 1]?.[0] ?? 1)) k += 1;
    const a = points[k] ?? [0, 0, 0, 0];
    const b = points[k + 1] ?? a;
    const f = b[0] > a[0] ? (x - a[0]) / (b[0] - a[0]) : 0;
    const [red, green, blue] = [1, 2, 3].map((c) => {
      const from = a[c] ?? 0;
      return Math.round(255 * (from + f * ((b[c] ?? 0) - from)));
    }) as [number, number, number];
    words[i] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  }
  return words;
}
