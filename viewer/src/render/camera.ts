/** A camera with parallel rays, turned about the middle of the volume. */

import { type Vec3, add, cross, dot, times, unit } from "../geometry/vector";
import type { Placed } from "./reduce";
import type { View } from "./rays";

export interface Camera {
  /** unit vectors in LPS: to the right of the screen, up, and into it */
  right: Vec3;
  up: Vec3;
  ahead: Vec3;
  /** millimetres of a CSS pixel */
  scale: number;
  /** the middle of the screen, mm right and up of the volume's centre */
  pan: [number, number];
}

/** Room around the volume, which is wider when it is turned. */
const MARGIN = 1.2;

/** From the front: the patient's right is on the left of the screen. */
export function frontal(placed: Placed, width: number, height: number): Camera {
  const { shape, spacing } = placed.voxels;
  const seen = (along: Vec3) =>
    placed.axes.reduce((mm, axis, i) => mm + Math.abs(dot(axis, along)) * (shape[i] ?? 1) * (spacing[i] ?? 1), 0);
  const right: Vec3 = [1, 0, 0];
  const up: Vec3 = [0, 0, 1];
  const scale = MARGIN * Math.max(seen(right) / Math.max(1, width), seen(up) / Math.max(1, height));
  return { right, up, ahead: [0, 1, 0], scale, pan: [0, 0] };
}

function about(axis: Vec3, angle: number, v: Vec3): Vec3 {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return add(add(times(v, c), times(cross(axis, v), s)), times(axis, dot(axis, v) * (1 - c)));
}

/** Turned by a drag of so many pixels. */
export function turned(camera: Camera, dx: number, dy: number): Camera {
  const spin = (v: Vec3) => about(camera.right, -0.008 * dy, about(camera.up, -0.008 * dx, v));
  const ahead = unit(spin(camera.ahead));
  const right = unit(cross(ahead, spin(camera.up)));
  return { ...camera, ahead, right, up: unit(cross(right, ahead)) };
}

/** The rays of a picture of `width` by `height` pixels, `dense` of them a CSS pixel each way. */
export function viewOf(
  camera: Camera, placed: Placed, width: number, height: number, dense: number, step: number,
): View {
  const { axes, voxels } = placed;
  const index = (mm: Vec3): Vec3 =>
    axes.map((axis, a) => dot(mm, axis) / (voxels.spacing[a] ?? 1)) as Vec3;
  const pixel = camera.scale / dense;
  const across = index(times(camera.right, pixel));
  const down = index(times(camera.up, -pixel));
  const pan = index(add(times(camera.right, camera.pan[0]), times(camera.up, camera.pan[1])));
  const start = voxels.shape.map(
    (n, a) =>
      (n - 1) / 2 + (pan[a] ?? 0) - ((width - 1) / 2) * (across[a] ?? 0) - ((height - 1) / 2) * (down[a] ?? 0),
  ) as Vec3;
  const towards = unit(
    add(times(camera.ahead, -1), add(times(camera.up, 0.35), times(camera.right, -0.3))),
  );
  return {
    width, height, start, across, down, step,
    ahead: index(camera.ahead),
    light: axes.map((axis) => dot(towards, axis)) as Vec3,
  };
}
