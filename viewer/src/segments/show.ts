/** Put label images over the panes that show their source: stacks by images, planes by volume. */

import { StackViewport, type Types, VolumeViewport, cache, imageLoader, volumeLoader } from "@cornerstonejs/core";
import { Enums, segmentation } from "@cornerstonejs/tools";

import type { Series } from "../study/series";
import { currentEngine } from "../viewport/engine";
import { isVolumeOf } from "../viewport/volumes";

const { Labelmap } = Enums.SegmentationRepresentations;

export interface Look {
  opacity: number;
  outline: boolean;
  colours: ReadonlyMap<number, [number, number, number]>;
  hidden: ReadonlySet<number>;
}

function known(id: string): boolean {
  return segmentation.state.getSegmentation(id) !== undefined;
}

type Labels = ReadonlyMap<string, Uint8Array>;

/** Segments must be declared, or their visibility cannot be set. */
function declared(indices: Iterable<number>) {
  const entry = (i: number) => ({
    segmentIndex: i, label: `Segment ${i}`, active: false, locked: false, cachedStats: {},
  });
  return { segments: Object.fromEntries([...indices].map((i) => [i, entry(i)])) };
}

function addStack(id: string, series: Series, labels: Labels, indices: Iterable<number>): void {
  if (known(id)) return;
  const images = imageLoader.createAndCacheDerivedLabelmapImages(series.frames.map((f) => f.imageId));
  images.forEach((image, i) => {
    const frame = series.frames[i];
    const values = frame && labels.get(frame.imageId);
    if (values) image.voxelManager?.getScalarData().set(values);
  });
  segmentation.addSegmentations([
    {
      segmentationId: id,
      representation: { type: Labelmap, data: { imageIds: images.map((i) => i.imageId) } },
      config: declared(indices),
    },
  ]);
}

function addVolume(id: string, volume: string, labels: Labels, indices: Iterable<number>): void {
  if (known(id)) return;
  const source = cache.getVolume(volume);
  if (!source) return;
  const made = volumeLoader.createAndCacheDerivedLabelmapVolume(source.volumeId, { volumeId: id });
  source.imageIds.forEach((imageId, i) => {
    const values = labels.get(imageId);
    const derived = made.imageIds[i];
    const image = derived ? cache.getImage(derived) : undefined;
    if (values) image?.voxelManager?.getScalarData().set(values);
  });
  segmentation.addSegmentations([
    {
      segmentationId: id,
      representation: { type: Labelmap, data: { volumeId: id } },
      config: declared(indices),
    },
  ]);
}

type Pane = Types.IStackViewport | Types.IVolumeViewport;

function panes(series: Series): Pane[] {
  const ids = new Set(series.frames.map((f) => f.imageId));
  const all: unknown[] = currentEngine()?.getViewports() ?? [];
  return all.filter((v): v is Pane => {
    if (v instanceof StackViewport) return ids.has(v.getImageIds()[0] ?? "");
    return v instanceof VolumeViewport && v.getActors().length > 0 && isVolumeOf(series, v.getVolumeId());
  });
}

/** Show `labels` of `series` under the name `id`; panes it is already on are only restyled. */
export function show(id: string, series: Series, labels: Labels, look: Look): number {
  segmentation.segmentationStyle.setStyle(
    { type: Labelmap },
    {
      renderFill: true,
      renderOutline: look.outline,
      outlineWidth: 1.5,
      fillAlpha: look.opacity,
      fillAlphaInactive: look.opacity,
      renderOutlineInactive: look.outline,
      outlineWidthInactive: 1.5,
    },
  );
  const list = panes(series);
  for (const viewport of list) {
    const stack = viewport instanceof StackViewport;
    const volume = stack ? "" : (viewport.getVolumeId() ?? "");
    const name = `${id}:${stack ? "stack" : volume.split(":").at(-1)}`;
    if (stack) addStack(name, series, labels, look.colours.keys());
    else addVolume(name, volume, labels, look.colours.keys());
    if (!known(name)) continue;
    const there = segmentation.state.getSegmentationRepresentations(viewport.id, { segmentationId: name });
    if (!there || there.length === 0) {
      segmentation.addLabelmapRepresentationToViewport(viewport.id, [{ segmentationId: name }]);
    }
    for (const [index, [r, g, b]] of look.colours) {
      segmentation.config.color.setSegmentIndexColor(viewport.id, name, index, [r, g, b, 255]);
      segmentation.config.visibility.setSegmentIndexVisibility(
        viewport.id,
        { segmentationId: name, type: Labelmap },
        index,
        !look.hidden.has(index),
      );
    }
    viewport.render();
  }
  return list.length;
}

/** Take a segmentation off every pane and out of memory. */
export function hide(id: string): void {
  for (const { segmentationId: name } of [...segmentation.state.getSegmentations()]) {
    if (!name.startsWith(`${id}:`)) continue;
    segmentation.removeSegmentation(name);
    if (cache.getVolume(name)) cache.removeVolumeLoadObject(name);
  }
  currentEngine()?.render();
}
