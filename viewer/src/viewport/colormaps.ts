/** The colour maps as Cornerstone3D knows them. */

import { utilities } from "@cornerstonejs/core";

import { COLORMAPS } from "./palettes";

export { COLORMAPS, colormap, gradient } from "./palettes";
export type { Colormap } from "./palettes";

export function registerColormaps(): void {
  for (const { name, points } of COLORMAPS) {
    utilities.colormap.registerColormap({ ColorSpace: "RGB", Name: name, RGBPoints: points.flat() });
  }
}
