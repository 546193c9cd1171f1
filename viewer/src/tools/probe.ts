/**
 * The value under a probe. Cornerstone's own look-up takes the number of an image in its stack for a
 * third index into that one image, and finds nothing but in the first: values are read here.
 */

import { type Types, cache } from "@cornerstonejs/core";

import { type Vec3, dot, sub } from "../geometry/vector";
import { frameOf } from "../viewport/provider";
import { figure, prettyUnit } from "./lines";

interface Stats {
  value?: number | number[];
  modalityUnit?: string | string[];
}

export interface ProbeData {
  handles?: { points?: Types.Point3[] };
  cachedStats?: Record<string, Stats>;
}

/** The stored values at a place in one image: one number, or one for each colour. */
function valuesIn(imageId: string, place: Vec3): number[] {
  const image = cache.getImage(imageId);
  const frame = frameOf(imageId);
  const pixels = image?.voxelManager?.getScalarData();
  if (!image || !frame || !pixels) return [];
  const [dy, dx] = frame.spacing ?? [1, 1];
  const offset = sub(place, frame.position ?? [0, 0, frame.number - 1]);
  const column = Math.round(dot(offset, frame.row ?? [1, 0, 0]) / dx);
  const row = Math.round(dot(offset, frame.column ?? [0, 1, 0]) / dy);
  if (column < 0 || row < 0 || column >= frame.columns || row >= frame.rows) return [];
  const parts = Math.round(pixels.length / (frame.rows * frame.columns));
  const at = parts * (row * frame.columns + column);
  const [slope, intercept] = image.preScale?.scaled ? [1, 0] : [image.slope || 1, image.intercept || 0];
  return Array.from(pixels.slice(at, at + Math.min(parts, 3)), (v) => v * slope + intercept);
}

export function probeLines(data: ProbeData, targetId: string): string[] {
  const stats = data.cachedStats?.[targetId];
  const place = data.handles?.points?.[0];
  if (!stats || !place) return [];
  const unit = prettyUnit([stats.modalityUnit].flat()[0] ?? "");
  const known = [stats.value].flat().filter((v): v is number => typeof v === "number");
  const imageId = /^imageId:(.*)$/.exec(targetId)?.[1];
  const values = imageId ? valuesIn(imageId, [place[0], place[1], place[2]]) : known;
  if (values.length === 0) return [];
  return values.length > 1
    ? [`R ${values[0]} G ${values[1]} B ${values[2]}`]
    : [`${figure(values[0] ?? 0)} ${unit}`.trim()];
}
