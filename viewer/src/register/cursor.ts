/** A cross in one pane where the pointer is in the other: the same place of the patient. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { normal } from "../geometry/frames";
import { type Vec3, dot, sub } from "../geometry/vector";
import { currentEngine } from "../viewport/engine";
import { frameOf } from "../viewport/provider";
import type { Way } from "./spatial";

export interface Mark {
  pane: string;
  /** CSS pixels in the pane */
  x: number;
  y: number;
  /** mm from the slice that is shown to the place itself */
  off: number;
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
        if (slice.index !== to.getTargetImageIdIndex() && slice.index !== wanted) {
          wanted = slice.index;
          void to.setImageIdIndex(slice.index).then(() => {
            wanted = -1;
            to.render();
          });
        }
        const [x, y] = to.worldToCanvas(place as unknown as Types.Point3);
        setMark({ pane: id, x, y, off: slice.distance });
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
