/** Colour maps as control points, used for the picture and for its legend alike. */

import { utilities } from "@cornerstonejs/core";

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

export function registerColormaps(): void {
  for (const { name, points } of COLORMAPS) {
    utilities.colormap.registerColormap({ ColorSpace: "RGB", Name: name, RGBPoints: points.flat() });
  }
}
