/** Colour maps as control points, used for the picture and for its legend alike. */

export interface Colormap {
  name: string;
  label: string;
  /** position in [0, 1], red, green, blue in [0, 1] */
  points: [number, number, number, number][];
}

const hex = (name: string, label: string, colours: string[]): Colormap => ({
  name,
  label,
  points: colours.map((c, i) => [
    i / (colours.length - 1),
    parseInt(c.slice(0, 2), 16) / 255,
    parseInt(c.slice(2, 4), 16) / 255,
    parseInt(c.slice(4, 6), 16) / 255,
  ]),
});

export const COLORMAPS: Colormap[] = [
  hex("soma-grey", "Grey", ["000000", "ffffff"]),
  hex("soma-hotiron", "Hot iron", ["000000", "800000", "ff0000", "ff8000", "ffff80", "ffffff"]),
  hex("soma-pet", "PET", ["000000", "1b1f6b", "0b6fa8", "17a96b", "d7d32b", "f27d16", "ffffff"]),
  hex("soma-viridis", "Viridis", [
    "440154", "482777", "3f4a8a", "31678e", "26838f", "1f9d8a", "6cce5a", "b6de2b", "fee825",
  ]),
  hex("soma-magma", "Magma", ["000004", "221150", "5f187f", "982d80", "d3436e", "f8765c", "febb81", "fcfdbf"]),
  hex("soma-coolwarm", "Cool to warm", ["3b4cc0", "8db0fe", "dddddd", "f49a7b", "b40426"]),
  hex("soma-rainbow", "Rainbow", ["00008f", "0000ff", "00ffff", "80ff80", "ffff00", "ff0000", "800000"]),
  hex("soma-bone", "Bone", ["000000", "2d2d3f", "535975", "798b95", "a5b9bc", "d6dede", "ffffff"]),
];

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
