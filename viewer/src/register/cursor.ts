/** A cross in one pane where the pointer is in the other: the same place of the patient. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { type Frame, normal } from "../geometry/frames";
import { type Vec3, dot, sub } from "../geometry/vector";
import { currentEngine } from "../viewport/engine";
import { frameOf } from "../viewport/provider";
import type { Way } from "./spatial";

export interface Mark {
  pane: string;
  /** CSS pixels in the pane */
  x: number;
  y: number;
  /** none of the pane's pictures shows the place: no cross may stand for it */
  outside: boolean;
}

type Stack = Types.IStackViewport;

function stackOf(id: string): Stack | undefined {
  return currentEngine()?.getViewport(id) as Stack | undefined;
}

/** The slice of a stack nearest to a place, and how far it is. */
export function nearest(viewport: Stack, place: Vec3): { index: number; distance: number } | undefined {
  let best: { index: number; distance: number } | undefined;
  viewport.getImageIds().forEach((id, index) => {
    const frame = frameOf(id);
    const n = frame && normal(frame);
    if (!frame?.position || !n) return;
    const distance = Math.abs(dot(sub(place, frame.position), n));
    if (!best || distance < best.distance - 1e-3) best = { index, distance };
  });
  return best;
}

/** mm from one slice of a stack to the next, by the median; the thickness of a single one. */
function stepOf(viewport: Stack, frame: Frame, n: Vec3): number {
  const along = viewport
    .getImageIds()
    .flatMap((id) => {
      const position = frameOf(id)?.position;
      return position ? [dot(position, n)] : [];
    })
    .sort((a, b) => a - b);
  const steps = along
    .map((value, k) => value - (along[k - 1] ?? value))
    .filter((step) => step > 1e-3)
    .sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? frame.thickness ?? frame.spacing?.[0] ?? 1;
}

/** Whether a place is further from its nearest slice than slices are apart, or beside its picture. */
function isOutside(viewport: Stack, place: Vec3, slice: { index: number; distance: number }): boolean {
  const frame = frameOf(viewport.getImageIds()[slice.index] ?? "");
  const n = frame && normal(frame);
  if (!frame?.position || !frame.row || !frame.column || !n) return true;
  if (slice.distance > stepOf(viewport, frame, n)) return true;
  const [down, across] = frame.spacing ?? [1, 1];
  const from = sub(place, frame.position);
  const [x, y] = [dot(from, frame.row) / across, dot(from, frame.column) / down];
  return !(x >= -0.5 && x <= frame.columns - 0.5 && y >= -0.5 && y <= frame.rows - 0.5);
}

/** While `key` is not empty; `there` leads from places of the first pane to the second. */
export function useCursors(first: string, second: string, key: string, there: Way, back: Way): Mark | undefined {
  const [mark, setMark] = useState<Mark>();
  useEffect(() => {
    setMark(undefined);
    const [a, b] = [stackOf(first), stackOf(second)];
    if (!key || !a || !b) return;
    let pending = 0;
    let wanted = -1;
    const follow = (from: Stack, to: Stack, id: string, way: Way) => {
      let last: [number, number] | undefined;
      const draw = () => {
        pending = 0;
        if (!last) return;
        const place = way(from.canvasToWorld(last) as unknown as Vec3);
        const slice = nearest(to, place);
        if (!slice) return;
        const outside = isOutside(to, place, slice);
        if (!outside && slice.index !== to.getTargetImageIdIndex() && slice.index !== wanted) {
          wanted = slice.index;
          void to.setImageIdIndex(slice.index).then(() => {
            wanted = -1;
            to.render();
          });
        }
        const [x, y] = to.worldToCanvas(place as unknown as Types.Point3);
        setMark({ pane: id, x, y, outside });
      };
      const move = (event: PointerEvent) => {
        const rect = from.element.getBoundingClientRect();
        last = event.buttons ? undefined : [event.clientX - rect.left, event.clientY - rect.top];
        if (last) pending ||= requestAnimationFrame(draw);
        else setMark(undefined);
      };
      const leave = () => {
        last = undefined;
        setMark(undefined);
      };
      const again = () => last && (pending ||= requestAnimationFrame(draw));
      from.element.addEventListener("pointermove", move);
      from.element.addEventListener("pointerleave", leave);
      from.element.addEventListener(Enums.Events.STACK_NEW_IMAGE, again);
      return () => {
        from.element.removeEventListener("pointermove", move);
        from.element.removeEventListener("pointerleave", leave);
        from.element.removeEventListener(Enums.Events.STACK_NEW_IMAGE, again);
      };
    };
    const stops = [follow(a, b, second, there), follow(b, a, first, back)];
    return () => {
      cancelAnimationFrame(pending);
      stops.forEach((stop) => stop());
    };
  }, [first, second, key, there, back]);
  return mark;
}
