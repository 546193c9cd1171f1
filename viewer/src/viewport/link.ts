/** Two stack panes that move together: slice by place, camera, window. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect } from "react";

import { dot } from "../geometry/vector";
import { normal } from "../geometry/frames";
import { currentEngine } from "./engine";
import { frameOf } from "./provider";

/**
 * The image of `target` at the place of the one `source` shows, `away` mm further along its normal; by
 * index where places are unknown.
 */
function matching(source: Types.IStackViewport, target: Types.IStackViewport, away: number): number {
  const here = frameOf(source.getCurrentImageId());
  const n = here && normal(here);
  const ids = target.getImageIds();
  if (!here?.position || !n) return Math.min(source.getCurrentImageIdIndex(), ids.length - 1);
  const place = dot(here.position, n) + away;
  let best = { index: Math.min(source.getCurrentImageIdIndex(), ids.length - 1), distance: Infinity };
  ids.forEach((id, index) => {
    const position = frameOf(id)?.position;
    if (!position) return;
    const distance = Math.abs(dot(position, n) - place);
    if (distance < best.distance - 1e-3) best = { index, distance };
  });
  return best.index;
}

/**
 * Link while `key` is not empty; windows only where both series mean the same by their values,
 * slices only where they lie in one frame of reference. `pushed`: mm by which the second is shown
 * further along the normal than it lies.
 */
export function useLinked(
  first: string, second: string, key: string, windows: boolean, slices = true, pushed = 0,
): void {
  useEffect(() => {
    const engine = currentEngine();
    const a = engine?.getViewport(first) as Types.IStackViewport | undefined;
    const b = engine?.getViewport(second) as Types.IStackViewport | undefined;
    if (!key || !a || !b) return;
    let busy = false;
    const follow = (from: Types.IStackViewport, to: Types.IStackViewport, away: number) => {
      const guarded = (act: () => void) => () => {
        if (busy) return;
        busy = true;
        try {
          act();
        } finally {
          busy = false;
        }
      };
      const camera = guarded(() => {
        to.setViewPresentation(from.getViewPresentation());
        to.render();
      });
      const image = guarded(() => {
        const index = matching(from, to, away);
        if (index !== to.getTargetImageIdIndex()) void to.setImageIdIndex(index).then(() => to.render());
      });
      const voi = guarded(() => {
        const range = from.getProperties().voiRange;
        if (range) to.setProperties({ voiRange: range });
        to.render();
      });
      const { CAMERA_MODIFIED, STACK_NEW_IMAGE, VOI_MODIFIED } = Enums.Events;
      from.element.addEventListener(CAMERA_MODIFIED, camera);
      if (slices) from.element.addEventListener(STACK_NEW_IMAGE, image);
      if (windows) from.element.addEventListener(VOI_MODIFIED, voi);
      return () => {
        from.element.removeEventListener(CAMERA_MODIFIED, camera);
        from.element.removeEventListener(STACK_NEW_IMAGE, image);
        from.element.removeEventListener(VOI_MODIFIED, voi);
      };
    };
    const index = slices ? matching(a, b, -pushed) : b.getTargetImageIdIndex();
    void b.setImageIdIndex(index).then(() => {
      const range = a.getProperties().voiRange;
      if (range && windows) b.setProperties({ voiRange: range });
      b.render();
    });
    const stops = [follow(a, b, -pushed), follow(b, a, pushed)];
    return () => stops.forEach((stop) => stop());
  }, [first, second, key, windows, slices, pushed]);
}
