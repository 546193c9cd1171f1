/** Two volumes looked at in the same place of the patient, through a registration. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { type Vec3, add, sub } from "../geometry/vector";
import type { Way } from "../register/spatial";
import { currentEngine } from "../viewport/engine";

type Pane = Types.IVolumeViewport;

export const paneOf = (id: string) => currentEngine()?.getViewport(id) as Pane | undefined;

/** Bring a place into the middle of a pane. */
export function lookAt(pane: Pane, place: Vec3, scale?: number): void {
  const camera = pane.getCamera();
  const away = sub(place, camera.focalPoint as unknown as Vec3);
  const position = add(camera.position as unknown as Vec3, away);
  pane.setCamera({
    focalPoint: place as unknown as Types.Point3, position: position as unknown as Types.Point3,
    ...(scale === undefined ? {} : { parallelScale: scale }),
  });
  pane.render();
}

export interface Cross {
  pane: string;
  x: number;
  y: number;
}

/** While `key` is not empty, each pane follows the other's place, size and window; and the pointer. */
export function useTogether(first: string, second: string, key: string, there: Way, back: Way): Cross | undefined {
  const [cross, setCross] = useState<Cross>();
  useEffect(() => {
    setCross(undefined);
    const [a, b] = [paneOf(first), paneOf(second)];
    if (!key || !a || !b) return;
    let busy = false;
    const follow = (from: Pane, to: Pane, id: string, way: Way) => {
      const camera = () => {
        if (busy) return;
        busy = true;
        const { focalPoint, parallelScale } = from.getCamera();
        if (focalPoint) lookAt(to, way(focalPoint as unknown as Vec3), parallelScale);
        busy = false;
      };
      const voi = () => {
        if (busy) return;
        busy = true;
        const range = from.getProperties()?.voiRange;
        if (range) to.setProperties({ voiRange: range });
        to.render();
        busy = false;
      };
      const move = (event: PointerEvent) => {
        if (event.buttons) return setCross(undefined);
        const rect = from.element.getBoundingClientRect();
        const place = from.canvasToWorld([event.clientX - rect.left, event.clientY - rect.top]);
        const [x, y] = to.worldToCanvas(way([...place] as unknown as Vec3) as unknown as Types.Point3);
        setCross({ pane: id, x, y });
      };
      const leave = () => setCross(undefined);
      from.element.addEventListener(Enums.Events.CAMERA_MODIFIED, camera);
      from.element.addEventListener(Enums.Events.VOI_MODIFIED, voi);
      from.element.addEventListener("pointermove", move);
      from.element.addEventListener("pointerleave", leave);
      return () => {
        from.element.removeEventListener(Enums.Events.CAMERA_MODIFIED, camera);
        from.element.removeEventListener(Enums.Events.VOI_MODIFIED, voi);
        from.element.removeEventListener("pointermove", move);
        from.element.removeEventListener("pointerleave", leave);
      };
    };
    const stops = [follow(a, b, second, there), follow(b, a, first, back)];
    const middle = b.getCamera().focalPoint;
    if (middle) lookAt(a, back(middle as unknown as Vec3), b.getCamera().parallelScale);
    return () => stops.forEach((stop) => stop());
  }, [first, second, key, there, back]);
  return cross;
}
