/** A push by hand: a shift and a turn in the patient, and what it is on the screen. */

import { type Vec3, add, cross, dot, times, unit } from "../geometry/vector";

export interface Push {
  /** L, P, S in mm */
  shift: Vec3;
  /** degrees about the normal of the picture, clockwise on the screen */
  turn: number;
}

export const STILL: Push = { shift: [0, 0, 0], turn: 0 };

/** Directions of the picture in the patient: to its right, down, and away from the viewer. */
export interface Axes {
  right: Vec3;
  down: Vec3;
  into: Vec3;
}

export function axesOf(right: Vec3, down: Vec3): Axes {
  return { right: unit(right), down: unit(down), into: unit(cross(right, down)) };
}

/** A push further by mm to the right, down and into the picture, and by degrees. */
export function further(push: Push, axes: Axes, by: { right?: number; down?: number; into?: number; turn?: number }): Push {
  const steps: [Vec3, number][] = [
    [axes.right, by.right ?? 0], [axes.down, by.down ?? 0], [axes.into, by.into ?? 0],
  ];
  return {
    shift: steps.reduce((sum, [axis, mm]) => add(sum, times(axis, mm)), push.shift),
    turn: push.turn + (by.turn ?? 0),
  };
}

/** How far along the normal. */
export const depth = (push: Push, axes: Axes): number => dot(push.shift, axes.into);

/**
 * Degrees about L, P and S, in that order, of a turn of `degrees` about a unit axis: the angles that
 * `analyze.nudge` is given.
 */
export function angles(axis: Vec3, degrees: number): Vec3 {
  const a = (degrees * Math.PI) / 180;
  const [c, s] = [Math.cos(a), Math.sin(a)];
  const [x, y, z] = axis;
  const r = [
    [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
    [y * x * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
    [z * x * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
  ];
  const at = (i: number, j: number) => r[i]?.[j] ?? 0;
  const about = [
    Math.atan2(at(2, 1), at(2, 2)),
    Math.asin(Math.min(1, Math.max(-1, -at(2, 0)))),
    Math.atan2(at(1, 0), at(0, 0)),
  ];
  return about.map((v) => (v * 180) / Math.PI) as Vec3;
}
