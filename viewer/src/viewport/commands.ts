/** What buttons and keys do to the active pane. */

import { StackViewport, type Types, VolumeViewport, VolumeViewport3D, cache } from "@cornerstonejs/core";

import { text } from "../dicom/json";
import { ownView } from "../render/views";
import { frameOf } from "./provider";
import { viewportOf } from "./readout";
import { currentEngine } from "./engine";
import { voiRange } from "./window";

type Pane = Types.IStackViewport | Types.IVolumeViewport;

/** Panes that share the volume of this one, itself included: a window belongs to the volume. */
function together(viewport: Pane): Pane[] {
  if (viewport instanceof StackViewport) return [viewport];
  const id = (viewport as Types.IVolumeViewport).getVolumeId();
  const all: unknown[] = currentEngine()?.getViewports() ?? [];
  return all.filter((v) => v instanceof VolumeViewport).filter((v) => v.getVolumeId() === id);
}

function each(id: string, act: (viewport: Pane) => void): void {
  const viewport = viewportOf(id);
  if (!viewport) return;
  for (const pane of together(viewport)) {
    act(pane);
    pane.render();
  }
}

function one(id: string, act: (viewport: Pane) => void): void {
  const viewport = viewportOf(id);
  if (!viewport) return;
  act(viewport);
  viewport.render();
}

export function setWindow(id: string, width: number, center: number): void {
  const range = voiRange(width, center);
  each(id, (v) => v.setProperties({ voiRange: range }));
}

export function setColormap(id: string, name: string): void {
  each(id, (v) => v.setProperties({ colormap: { name } }));
}

export function invert(id: string): void {
  each(id, (v) => v.setProperties({ invert: !v.getProperties()?.invert }));
}

export function flip(id: string, axis: "horizontal" | "vertical"): void {
  one(id, (v) => {
    const camera = v.getCamera();
    if (axis === "horizontal") v.setCamera({ flipHorizontal: !camera.flipHorizontal });
    else v.setCamera({ flipVertical: !camera.flipVertical });
  });
}

export function rotate(id: string, degrees: number): void {
  one(id, (v) => {
    const now = v.getViewPresentation().rotation ?? 0;
    v.setViewPresentation({ rotation: (now + degrees + 360) % 360 });
  });
}

export function zoomBy(id: string, factor: number): void {
  ownView(id)?.zoom(factor);
  one(id, (v) => v.setZoom(v.getZoom() * factor));
}

export function scrollBy(id: string, delta: number): void {
  const viewport = viewportOf(id);
  if (viewport && !(viewport instanceof VolumeViewport3D)) viewport.scroll(delta);
}

export function scrollTo(id: string, index: number): void {
  const viewport = viewportOf(id);
  if (!viewport || viewport instanceof VolumeViewport3D) return;
  if (viewport instanceof StackViewport) void viewport.setImageIdIndex(index);
  else viewport.scroll(index - viewport.getSliceIndex());
}

/** Whether a pane is drawn at the size its element has now. */
export function isSized(id: string): boolean {
  const viewport = viewportOf(id);
  if (!viewport) return false;
  const ratio = window.devicePixelRatio || 1;
  const { element, canvas } = viewport;
  return (
    Math.abs(canvas.width - element.clientWidth * ratio) < 2 &&
    Math.abs(canvas.height - element.clientHeight * ratio) < 2
  );
}

/** Fit the picture to its pane. */
export function fit(id: string): void {
  one(id, (v) => v.resetCamera());
}

/** Camera, window, colours as when the series was opened. */
export function reset(id: string): void {
  ownView(id)?.reset();
  one(id, (v) => {
    v.setViewPresentation({ rotation: 0, flipHorizontal: false, flipVertical: false });
    v.resetCamera();
  });
  const imageId = viewportOf(id)?.getCurrentImageId();
  const frame = imageId ? frameOf(imageId) : undefined;
  const image = imageId ? cache.getImage(imageId) : undefined;
  const given = [image?.windowWidth, image?.windowCenter].map((x) => [x].flat()[0]);
  const width = frame?.window?.width[0] ?? given[0];
  const center = frame?.window?.center[0] ?? given[1];
  if (!frame || image?.color || !width || center === undefined) return;
  const dark = text(frame.instance, "00280004") === "MONOCHROME1";
  each(id, (v) =>
    v.setProperties({
      voiRange: voiRange(width, center),
      invert: dark,
      colormap: { name: "soma-grey" },
    }),
  );
}
