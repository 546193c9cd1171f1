/** What a pane says about itself: slice, window, zoom, letters, scale. Read after every render. */

import { Enums, StackViewport, type Types, VolumeViewport3D } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { inPatient } from "../geometry/frames";
import { type Vec3, letters, norm, sub, times } from "../geometry/vector";
import { currentEngine } from "./engine";
import { frameOf } from "./provider";
import { widthLevel } from "./window";

export interface Readout {
  slice: number;
  slices: number;
  width: number | undefined;
  center: number | undefined;
  lower: number;
  upper: number;
  zoom: number;
  left: string;
  right: string;
  top: string;
  bottom: string;
  /** CSS pixels per millimetre, or undefined where the image has no spacing */
  scale: number | undefined;
  colormap: string | undefined;
  inverted: boolean;
  imageId: string | undefined;
  position: string;
  /** CSS pixels across the pane */
  room: number;
}

type Pane = Types.IStackViewport | Types.IVolumeViewport;

const EVENTS = [
  Enums.Events.IMAGE_RENDERED,
  Enums.Events.VOI_MODIFIED,
  Enums.Events.CAMERA_MODIFIED,
  Enums.Events.STACK_NEW_IMAGE,
  Enums.Events.VOLUME_NEW_IMAGE,
  Enums.Events.COLORMAP_MODIFIED,
];

export function viewportOf(id: string): Pane | undefined {
  return currentEngine()?.getViewport(id) as Pane | undefined;
}

function directions(viewport: Pane) {
  const { clientWidth: w, clientHeight: h } = viewport.element;
  const at = (x: number, y: number) => viewport.canvasToWorld([x, y]) as unknown as Vec3;
  const middle = at(w / 2, h / 2);
  const right = sub(at(w / 2 + 100, h / 2), middle);
  const down = sub(at(w / 2, h / 2 + 100), middle);
  return { right, down, mm: norm(right) / 100 };
}

export function read(id: string): Readout | undefined {
  const viewport = viewportOf(id);
  if (!viewport || viewport.element.clientWidth === 0) return undefined;
  const stack = viewport instanceof StackViewport;
  if (viewport.getActors().length === 0) return undefined;
  const { right, down, mm } = directions(viewport);
  const properties = viewport.getProperties();
  const range = properties?.voiRange;
  const level = range ? widthLevel(range) : undefined;
  const imageId = viewport instanceof VolumeViewport3D ? undefined : viewport.getCurrentImageId();
  const frame = imageId ? frameOf(imageId) : undefined;
  const placed = !stack || Boolean(frame?.row);
  const scaled = !stack || Boolean(frame?.spacing);
  const [across, along] = [inPatient(frame, right), inPatient(frame, down)];
  const flip = times(across, -1);
  const up = times(along, -1);
  const place = frame?.position;
  return {
    slice: viewport.getSliceIndex() + 1,
    slices: viewport.getNumberOfSlices?.() ?? 0,
    width: level?.width,
    center: level?.center,
    lower: range?.lower ?? 0,
    upper: range?.upper ?? 0,
    zoom: viewport.getZoom(),
    left: placed ? letters(flip) : "",
    right: placed ? letters(across) : "",
    top: placed ? letters(up) : "",
    bottom: placed ? letters(along) : "",
    scale: scaled && mm > 0 ? 1 / mm : undefined,
    colormap: properties?.colormap?.name,
    inverted: Boolean(properties?.invert),
    imageId,
    room: viewport.element.clientWidth,
    position: stack && place ? place.map((v) => v.toFixed(1)).join(", ") : "",
  };
}

/** The readout of a pane, at most once per animation frame. */
export function useReadout(id: string, element: HTMLElement | null): Readout | undefined {
  const [value, setValue] = useState<Readout>();
  useEffect(() => {
    if (!element) return;
    let pending = 0;
    const update = () => {
      pending ||= requestAnimationFrame(() => {
        pending = 0;
        setValue(read(id));
      });
    };
    for (const name of EVENTS) element.addEventListener(name, update);
    update();
    return () => {
      cancelAnimationFrame(pending);
      for (const name of EVENTS) element.removeEventListener(name, update);
    };
  }, [id, element]);
  return value;
}
