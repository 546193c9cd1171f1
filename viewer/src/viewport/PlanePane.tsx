/** One plane of a volume (MPR), with slab, and an optional second series fused over it. */

import { Enums, type Types, setVolumesForViewports } from "@cornerstonejs/core";
import { useEffect, useRef, useState } from "react";

import { says } from "../api/http";
import type { Series } from "../study/series";
import { currentEngine } from "./engine";
import { Overlay } from "./Overlay";
import { PaneFrame } from "./PaneFrame";
import { useReadout } from "./readout";
import { useViewport } from "./useElement";
import { voiRange } from "./window";
import { defaultWindow, ensureVolume, volumeId } from "./volumes";

export type Plane = "axial" | "sagittal" | "coronal";
export type Slab = "none" | "mip" | "minip" | "mean";

export interface Fusion {
  series: Series;
  opacity: number;
  colormap: string;
  /** values whose size is below are clear; undefined: the lowest of the window */
  threshold: number | undefined;
  /** values at the ends of the colours; undefined: the window of the header */
  range?: Types.VOIRange | undefined;
  /** what the colours mean; undefined: the unit of the series */
  unit?: string | undefined;
}

const ORIENTATION: Record<Plane, Enums.OrientationAxis> = {
  axial: Enums.OrientationAxis.AXIAL,
  sagittal: Enums.OrientationAxis.SAGITTAL,
  coronal: Enums.OrientationAxis.CORONAL,
};
const BLEND: Record<Slab, Enums.BlendModes> = {
  none: Enums.BlendModes.COMPOSITE,
  mip: Enums.BlendModes.MAXIMUM_INTENSITY_BLEND,
  minip: Enums.BlendModes.MINIMUM_INTENSITY_BLEND,
  mean: Enums.BlendModes.AVERAGE_INTENSITY_BLEND,
};

/** Window of the header, given to a fresh volume. */
export function startWindow(series: Series): Types.VOIRange | undefined {
  const window = defaultWindow(series);
  return window ? voiRange(window.width, window.center) : undefined;
}

/** Parts of the second series' window that are clear, and seen in full, where no threshold was chosen. */
const CLEAR = 0.04;
const FULL = 0.25;

interface VolumeActor {
  getMapper: () => { getSampleDistance: () => number; setBlendMode: (mode: number) => void };
  getProperty: () => { setScalarOpacityUnitDistance: (component: number, mm: number) => void };
}

/**
 * Lay the second volume over the first with just the opacity asked for. Composited along a ray it
 * would depend on slab and step; the largest value along the ray, drawn once with an opacity that is
 * meant for one step, does not. Values nearer to zero than the threshold stay clear, on both sides of
 * zero where the window has both (z maps): there the second series has nothing to say.
 */
function overlay(viewport: Types.IVolumeViewport, fusion: Fusion): void {
  const id = volumeId(fusion.series);
  const range = viewport.getProperties(id)?.voiRange;
  const entry = viewport.getActors().find((a) => a.referencedId === id);
  if (!entry || !range) return;
  const actor = entry.actor as unknown as VolumeActor;
  const mapper = actor.getMapper();
  actor.getProperty().setScalarOpacityUnitDistance(0, mapper.getSampleDistance());
  viewport.setBlendMode(Enums.BlendModes.MAXIMUM_INTENSITY_BLEND, [entry.uid]);
  viewport.setProperties({ colormap: { name: fusion.colormap, opacity: opacities(range, fusion) } }, id);
}

/** Where the second series is clear and where it is seen: a hard edge where a threshold was chosen. */
export function opacities(
  range: Types.VOIRange,
  { opacity, threshold }: Pick<Fusion, "opacity" | "threshold">,
): { value: number; opacity: number }[] {
  const signed = range.lower < 0;
  const least = signed ? 0 : range.lower;
  const most = signed ? Math.max(range.upper, -range.lower) : range.upper;
  const span = most - least;
  const clear = threshold === undefined ? least + CLEAR * span : threshold - 1e-3 * span;
  const full = threshold ?? least + FULL * span;
  const above = [
    { value: clear, opacity: 0 },
    { value: full, opacity },
    { value: Math.max(most, full + 1e-3 * span), opacity },
  ];
  if (!signed) return above;
  return [...above.map((p) => ({ value: -p.value, opacity: p.opacity })).reverse(), ...above];
}

/** The first threshold that is offered, and how far the slider goes. */
export function thresholdsOf(series: Series): { least: number; most: number } {
  const range = startWindow(series) ?? { lower: 0, upper: 1 };
  return { least: 0, most: Math.max(Math.abs(range.lower), Math.abs(range.upper)) };
}

export function PlanePane(props: {
  id: string;
  plane: Plane;
  series: Series;
  /** which of the series' volumes */
  phase: number;
  active: boolean;
  overlay: boolean;
  slab: Slab;
  thickness: number;
  fusion?: Fusion | undefined;
  onActivate?: () => void;
  onReady?: (id: string) => void;
}) {
  const { id, plane, series, phase, fusion, slab, thickness, onReady } = props;
  const { attach, element, ready } = useViewport(id, Enums.ViewportType.ORTHOGRAPHIC, "mpr", {
    orientation: ORIENTATION[plane],
  });
  const readout = useReadout(id, ready ? element : null);
  const [error, setError] = useState("");
  const [shown, setShown] = useState(false);
  const over = fusion?.series;
  const lies = fusion?.range;
  const before = useRef<Series | undefined>(undefined);
  // How often the volumes were put in place: each time slab and overlay are to be set anew.
  const [placed, setPlaced] = useState(0);

  useEffect(() => {
    const engine = ready ? currentEngine() : undefined;
    if (!engine) return;
    let live = true;
    const stay = before.current === series;
    if (!stay) setShown(false);
    setError("");
    const begin = async () => {
      const base = await ensureVolume(series, phase);
      const second = over ? await ensureVolume(over) : undefined;
      if (!live) return;
      const viewport = engine.getViewport(id) as Types.IVolumeViewport;
      // Another phase of the same series is seen as the last one was.
      const kept = stay && viewport.getActors().length > 0;
      const camera = kept ? viewport.getCamera() : undefined;
      const look = kept ? viewport.getProperties() : undefined;
      await setVolumesForViewports(
        engine,
        [{ volumeId: base }, ...(second ? [{ volumeId: second }] : [])],
        [id],
      );
      if (!live) return;
      const range = look?.voiRange ?? startWindow(series);
      if (range) viewport.setProperties({ voiRange: range }, base);
      const overRange = lies ?? (over ? startWindow(over) : undefined);
      if (second && overRange) viewport.setProperties({ voiRange: overRange }, second);
      if (camera) viewport.setCamera(camera);
      if (look?.colormap?.name) viewport.setProperties({ colormap: { name: look.colormap.name } }, base);
      if (look?.invert) viewport.setProperties({ invert: true }, base);
      viewport.render();
      before.current = series;
      setShown(true);
      setPlaced((n) => n + 1);
      onReady?.(id);
    };
    begin().catch((e: unknown) => live && setError(says(e)));
    return () => {
      live = false;
    };
  }, [ready, series, phase, over, lies?.lower, lies?.upper, id, onReady]);

  useEffect(() => {
    const viewport = shown ? (currentEngine()?.getViewport(id) as Types.IVolumeViewport) : undefined;
    if (!viewport) return;
    viewport.setBlendMode(BLEND[slab]);
    if (slab === "none") viewport.resetSlabThickness();
    else viewport.setSlabThickness(thickness);
    if (fusion) overlay(viewport, fusion);
    viewport.render();
  }, [shown, placed, slab, thickness, id, fusion]);

  const overRange =
    shown && fusion
      ? (currentEngine()?.getViewport(id) as Types.IVolumeViewport | undefined)?.getProperties(
          volumeId(fusion.series),
        )?.voiRange
      : undefined;
  const legend =
    fusion && overRange
      ? { colormap: fusion.colormap, ...overRange, unit: fusion.unit ?? fusion.series.unit }
      : undefined;
  const slabText = slab === "none" ? "" : ` · ${slab.toUpperCase()} ${thickness} mm`;
  return (
    <PaneFrame
      {...props}
      attach={attach}
      loadingKey={volumeId(series, phase)}
      waiting={!shown && !error}
      error={error}
      kind={plane}
    >
      <Overlay
        series={series}
        readout={shown ? readout : undefined}
        shown={props.overlay}
        plane={`${plane[0]?.toUpperCase()}${plane.slice(1)}${slabText}`}
        patient={plane === "axial"}
        phase={plane === "axial" && series.phases.length > 1 ? series.phaseNames[phase] : undefined}
        legend={plane === "axial" ? legend : undefined}
      />
    </PaneFrame>
  );
}

