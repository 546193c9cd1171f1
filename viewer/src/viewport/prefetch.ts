/** Fetch the rest of a stack around the slice being looked at, a few at a time. */

import { Enums, cache, imageLoader } from "@cornerstonejs/core";

import { reasonOf } from "./guard";
import { report } from "./volumes";

const AT_ONCE = 3;

export interface Prefetch {
  stop: () => void;
  centre: (index: number) => void;
}

/** Nearest first, looking ahead and behind alternately. */
export function nearestFirst(count: number, centre: number): number[] {
  return [...Array(count).keys()].sort(
    (a, b) => Math.abs(a - centre) - Math.abs(b - centre) || b - a,
  );
}

export function prefetch(
  key: string,
  imageIds: string[],
  start: number,
  failed: (imageId: string, reason: string) => void,
): Prefetch {
  let live = true;
  let left = new Set(nearestFirst(imageIds.length, start));
  const state = { loaded: 0, total: imageIds.length, failed: 0 };
  const step = async (): Promise<void> => {
    while (live) {
      const next = left.values().next();
      if (next.done) return;
      left.delete(next.value);
      const imageId = imageIds[next.value];
      if (!imageId) continue;
      try {
        if (!cache.getImage(imageId)) {
          await imageLoader.loadAndCacheImage(imageId, {
            requestType: Enums.RequestType.Prefetch,
            priority: 5,
          });
        }
      } catch (error) {
        state.failed += 1;
        failed(imageId, reasonOf(imageId, error));
      }
      state.loaded += 1;
      if (live) report(key, { ...state });
    }
  };
  for (let i = 0; i < AT_ONCE; i++) void step();
  return {
    stop: () => {
      live = false;
    },
    centre: (index) => {
      left = new Set(nearestFirst(imageIds.length, index).filter((i) => left.has(i)));
    },
  };
}
