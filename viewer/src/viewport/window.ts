/** Width and level to the range Cornerstone wants, and back (PS3.3 C.11.2.1.2, LINEAR). */

import { type Types, utilities } from "@cornerstonejs/core";

export function voiRange(width: number, center: number): Types.VOIRange {
  // The standard's formula loses one step of integer values; below that it would turn over.
  if (width <= 2) return { lower: center - width / 2, upper: center + width / 2 };
  return utilities.windowLevel.toLowHighRange(width, center) as Types.VOIRange;
}

export function widthLevel(range: Types.VOIRange): { width: number; center: number } {
  const span = range.upper - range.lower;
  if (span <= 1) return { width: span, center: (range.upper + range.lower) / 2 };
  const { windowWidth, windowCenter } = utilities.windowLevel.toWindowLevel(range.lower, range.upper);
  return { width: windowWidth, center: windowCenter };
}
