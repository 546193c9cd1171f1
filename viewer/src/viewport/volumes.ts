/** Volumes stream slice by slice; several panes share one, and every pane may watch its progress. */

import { type Types, cache, eventTarget, Enums, volumeLoader } from "@cornerstonejs/core";

import type { Series } from "../study/series";

export interface Loading {
  loaded: number;
  total: number;
  failed: number;
}

const progress = new Map<string, Loading>();
const watchers = new Set<() => void>();
let snapshot: ReadonlyMap<string, Loading> = new Map();

function tell(): void {
  snapshot = new Map(progress);
  for (const watcher of watchers) watcher();
}

export function watchLoading(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export const loadingNow = (): ReadonlyMap<string, Loading> => snapshot;

export function report(key: string, state: Loading): void {
  progress.set(key, state);
  tell();
}

export function forgetLoading(): void {
  progress.clear();
  tell();
}

/** Every volume of a series, whatever its phase. */
export function isVolumeOf(series: Series, id: string | undefined): boolean {
  return id?.startsWith(`cornerstoneStreamingImageVolume:${series.row.uid}:`) ?? false;
}

export function volumeId(series: Series, phase = 0): string {
  return `cornerstoneStreamingImageVolume:${series.row.uid}:${phase}`;
}

/** Create the volume and start its stream if it is not there yet. */
export async function ensureVolume(series: Series, phase = 0): Promise<string> {
  const id = volumeId(series, phase);
  const wanted = series.volumes[phase] ?? series.volume;
  if (!wanted.ok) throw new Error(wanted.reason);
  if (cache.getVolume(id)) return id;
  const imageIds = wanted.frames.map((f) => f.imageId);
  const volume = (await volumeLoader.createAndCacheVolume(id, {
    imageIds,
  })) as Types.IStreamingImageVolume & { load: (heard: (event: unknown) => void) => void };
  const total = imageIds.length;
  const state = { loaded: 0, total, failed: 0 };
  report(id, { ...state });
  const failed = (event: Event) => {
    const detail = (event as CustomEvent<{ imageId?: string }>).detail;
    if (detail.imageId && imageIds.includes(detail.imageId)) {
      state.failed += 1;
      report(id, { ...state });
    }
  };
  eventTarget.addEventListener(Enums.Events.IMAGE_LOAD_FAILED, failed);
  volume.load((event: unknown) => {
    const e = event as { framesProcessed?: number; totalNumFrames?: number; complete?: boolean };
    state.loaded = e.complete ? total : Math.max(state.loaded, e.framesProcessed ?? 0);
    report(id, { ...state });
    if (state.loaded >= total) {
      eventTarget.removeEventListener(Enums.Events.IMAGE_LOAD_FAILED, failed);
    }
  });
  return id;
}

/** The value a fresh volume should be seen with: the header's window, else the middle slice's range. */
export function defaultWindow(series: Series): { center: number; width: number } | undefined {
  const window = series.frames[Math.floor(series.frames.length / 2)]?.window;
  const center = window?.center[0];
  const width = window?.width[0];
  return center === undefined || !width ? undefined : { center, width };
}
