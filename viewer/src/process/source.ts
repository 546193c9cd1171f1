/** The image a pane shows: its values, its place, the part of it that is seen, regions drawn on it. */

import { type Types, cache } from "@cornerstonejs/core";
import { EllipticalROITool, RectangleROITool, annotation } from "@cornerstonejs/tools";

import type { Frame } from "../geometry/frames";
import { type Vec3, add, dot, sub, times } from "../geometry/vector";
import { shownPlane } from "../viewport/provider";
import type { Corners, Picture } from "./layer";

/** Pixels of a slice above which only what is seen is asked for. */
const LARGE = 1.6e6;
const KINDS: Record<string, "ellipse" | "rectangle"> = {
  [EllipticalROITool.toolName]: "ellipse",
  [RectangleROITool.toolName]: "rectangle",
};

export interface Region {
  kind: "ellipse" | "rectangle";
  /** x0, y0, x1, y1 in pixels, centres whole */
  box: [number, number, number, number];
}

/** The values of a loaded image in its own unit. */
export function pictureOf(imageId: string): Picture | undefined {
  const image = cache.getImage(imageId);
  const data = image?.voxelManager?.getScalarData() as ArrayLike<number> | undefined;
  if (!image || !data || image.color) return undefined;
  const [slope, intercept] = image.preScale?.scaled ? [1, 0] : [image.slope || 1, image.intercept || 0];
  const values = Float32Array.from(data as ArrayLike<number>);
  if (slope !== 1 || intercept !== 0) for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * slope + intercept;
  return { values, rows: image.rows, columns: image.columns, channels: 1 };
}

/** World place of a pixel of a frame, as the pane has it. */
function worldOf(frame: Frame, x: number, y: number): Vec3 {
  const { origin, row, column, spacing } = shownPlane(frame);
  return add(origin, add(times(row, x * spacing[1]), times(column, y * spacing[0])));
}

/** Pixel of a world place in a frame. */
export function pixelOf(frame: Frame, world: Vec3): [number, number] {
  const { origin, row, column, spacing } = shownPlane(frame);
  const offset = sub(world, origin);
  return [dot(offset, row) / spacing[1], dot(offset, column) / spacing[0]];
}

/** Where the corners of a result lie on the pane, in CSS pixels. */
export function cornersOf(viewport: Types.IStackViewport, frame: Frame, place: number[]): Corners {
  return [0, 2, 4].map((i) => {
    const world = worldOf(frame, place[i] ?? 0, place[i + 1] ?? 0);
    return viewport.worldToCanvas(world as Types.Point3) as [number, number];
  });
}

/** The visible part of a large image; nothing for a small one, which is computed whole. */
export function windowOf(viewport: Types.IStackViewport, frame: Frame): number[] | undefined {
  if (frame.rows * frame.columns <= LARGE) return undefined;
  const { clientWidth: w, clientHeight: h } = viewport.element;
  const corners = [[0, 0], [w, 0], [0, h], [w, h]].map(([x = 0, y = 0]) =>
    pixelOf(frame, viewport.canvasToWorld([x, y]) as unknown as Vec3),
  );
  const xs = corners.map(([x]) => x);
  const ys = corners.map(([, y]) => y);
  const left = Math.max(0, Math.floor(Math.min(...xs)));
  const right = Math.min(frame.columns, Math.ceil(Math.max(...xs)) + 1);
  const top = Math.max(0, Math.floor(Math.min(...ys)));
  const bottom = Math.min(frame.rows, Math.ceil(Math.max(...ys)) + 1);
  if (right <= left || bottom <= top) return undefined;
  const step = Math.max(1, Math.ceil(Math.sqrt(((right - left) * (bottom - top)) / LARGE)));
  return [top, left, bottom, right, step];
}

/** The ellipse or rectangle drawn on this image: the selected one, else the last. */
export function regionOf(imageId: string, frame: Frame): Region | undefined {
  const drawn = annotation.state
    .getAllAnnotations()
    .filter((a) => KINDS[a.metadata?.toolName ?? ""] && a.metadata?.referencedImageId === imageId);
  const selected = new Set(annotation.selection.getAnnotationsSelected());
  const found = drawn.find((a) => selected.has(a.annotationUID ?? "")) ?? drawn.at(-1);
  const points = (found?.data as { handles?: { points?: Types.Point3[] } } | undefined)?.handles?.points;
  const kind = KINDS[found?.metadata?.toolName ?? ""];
  if (!kind || !points || points.length < 4) return undefined;
  const pixels = points.map((p) => pixelOf(frame, [p[0], p[1], p[2]]));
  const xs = pixels.map(([x]) => x);
  const ys = pixels.map(([, y]) => y);
  return { kind, box: [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)] };
}
