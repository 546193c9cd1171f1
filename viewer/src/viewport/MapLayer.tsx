/** A map's colours over the slice of a stack, where the map lies in space. */

import { Enums, StackViewport, imageLoader } from "@cornerstonejs/core";
import { useEffect, useRef } from "react";

import { says } from "../api/http";
import { type Frame, normal } from "../geometry/frames";
import { type Vec3, add, dot, sub, times } from "../geometry/vector";
import { PALETTE, rangeOf } from "../learn/maps";
import { Layer, type Picture } from "../process/layer";
import { cornersOf, pictureOf, pixelOf } from "../process/source";
import type { Series } from "../study/series";
import { table } from "./palettes";
import { frameOf } from "./provider";
import { viewportOf } from "./readout";

/** Values below this part of the range are clear: there the map has nothing to say. */
const CLEAR = 0.1;

export interface Mapped {
  series: Series;
  opacity: number;
}

/** The map's frame at the place of a frame of the series; by its number where there is no place. */
function lyingOn(frame: Frame, series: Series, map: Series): Frame | undefined {
  const n = normal(frame);
  if (!frame.position || !n) return map.frames[series.frames.findIndex((f) => f.imageId === frame.imageId)];
  const gap = series.volume.ok ? series.volume.spacing : (frame.thickness ?? 1);
  let [best, least]: [Frame | undefined, number] = [undefined, gap / 2 + 1e-3];
  for (const other of map.frames) {
    const m = normal(other);
    if (!other.position || !m || Math.abs(dot(n, m)) < 0.999) continue;
    const away = Math.abs(dot(sub(other.position, frame.position), n));
    if (away <= least) [best, least] = [other, away - 1e-6];
  }
  return best;
}

/** Corners of the map in pixels of the frame it lies on: first, end of the first row, of the first column. */
function placeOn(frame: Frame, map: Frame): number[] {
  const { position, row, column, spacing } = map;
  if (!frame.position || !position || !row || !column || !spacing) {
    return [-0.5, -0.5, frame.columns - 0.5, -0.5, -0.5, frame.rows - 0.5];
  }
  const at = (x: number, y: number): Vec3 =>
    add(position, add(times(row, x * spacing[1]), times(column, y * spacing[0])));
  const [x, y] = [map.columns - 0.5, map.rows - 0.5];
  return [at(-0.5, -0.5), at(x, -0.5), at(-0.5, y)].flatMap((world) => pixelOf(frame, world));
}

export function MapLayer(props: {
  id: string;
  element: HTMLDivElement | null;
  series: Series;
  map: Mapped | undefined;
  onProblem: (reason: string) => void;
}) {
  const { id, element, series, onProblem } = props;
  const map = props.map?.series;
  const opacity = useRef(0);
  const redraw = useRef<() => void>(undefined);

  useEffect(() => {
    const holder = element?.querySelector(".viewport-element");
    if (!map || !element || !holder) return;
    const canvas = document.createElement("canvas");
    canvas.className = "preview-canvas map-canvas";
    holder.querySelector("canvas")?.after(canvas);
    let layer: Layer;
    try {
      layer = new Layer(canvas);
    } catch (e) {
      onProblem(says(e));
      canvas.remove();
      return;
    }
    layer.colour(table(PALETTE));
    const { lower, upper } = rangeOf(map);
    const asked = new Set<string>();
    let [live, filled]: [boolean, Picture | undefined] = [true, undefined];
    const fetched = (imageId: string) => {
      const picture = pictureOf(imageId);
      if (picture || asked.has(imageId)) return picture;
      asked.add(imageId);
      imageLoader.loadAndCacheImage(imageId).then(
        () => live && draw(),
        (e: unknown) => live && onProblem(says(e)),
      );
      return undefined;
    };
    let [seen, picture]: [string, Picture | undefined] = ["", undefined];
    const draw = () => {
      const viewport = viewportOf(id);
      const frame = viewport instanceof StackViewport ? frameOf(viewport.getCurrentImageId() ?? "") : undefined;
      const over = frame && lyingOn(frame, series, map);
      if (over && seen !== over.imageId) {
        picture = fetched(over.imageId);
        seen = picture ? over.imageId : "";
      }
      const there = over && picture && seen === over.imageId ? picture : undefined;
      canvas.dataset["map"] = there ? seen : "";
      if (!there || !over || !frame || !(viewport instanceof StackViewport)) {
        layer.clear();
        return;
      }
      if (filled !== there) layer.fill(there);
      filled = there;
      layer.draw(cornersOf(viewport, frame, placeOn(frame, over)), {
        lower, upper, gamma: 1, below: lower + CLEAR * (upper - lower), opacity: opacity.current,
        invert: false, marked: undefined,
      });
    };
    redraw.current = draw;
    element.addEventListener(Enums.Events.IMAGE_RENDERED, draw);
    draw();
    return () => {
      live = false;
      redraw.current = undefined;
      element.removeEventListener(Enums.Events.IMAGE_RENDERED, draw);
      layer.free();
    };
  }, [map, element, id, series, onProblem]);

  const wanted = props.map?.opacity ?? 0;
  useEffect(() => {
    opacity.current = wanted;
    redraw.current?.();
  }, [wanted, map, element, id, series]);
  return null;
}
