/** One plane of a volume (MPR), with slab, and an optional second series fused over it. */

import { Enums, type Types, setVolumesForViewports } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

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

const THIN_STEP = 4;

interface Mapper {
  getInputData: () => { getSpacing: () => number[] };
  setSampleDistance: (mm: number) => void;
}

/** How far apart a ray samples, in half mean voxels. The opacity of a fused thin slice depends on it. */
function step(viewport: Types.IVolumeViewport, halves: number): void {
  for (const { actor } of viewport.getActors()) {
    const mapper = (actor as unknown as { getMapper: () => Mapper | null }).getMapper();
    const spacing = mapper?.getInputData().getSpacing() ?? [];
    mapper?.setSampleDistance((halves * spacing.reduce((sum, s) => sum + s, 0)) / 6);
  }
}

export function PlanePane(props: {
  id: string;
  plane: Plane;
  series: Series;
  active: boolean;
  overlay: boolean;
  slab: Slab;
  thickness: number;
  fusion?: Fusion | undefined;
  onActivate?: () => void;
  onReady?: (id: string) => void;
}) {
  const { id, plane, series, fusion, slab, thickness, onReady } = props;
  const { attach, element, ready } = useViewport(id, Enums.ViewportType.ORTHOGRAPHIC, "mpr", {
    orientation: ORIENTATION[plane],
  });
  const readout = useReadout(id, ready ? element : null);
  const [error, setError] = useState("");
  const [shown, setShown] = useState(false);
  const over = fusion?.series;

  useEffect(() => {
    const engine = ready ? currentEngine() : undefined;
    if (!engine) return;
    let live = true;
    setShown(false);
    setError("");
    const begin = async () => {
      const base = await ensureVolume(series);
      const second = over ? await ensureVolume(over) : undefined;
      if (!live) return;
      await setVolumesForViewports(
        engine,
        [{ volumeId: base }, ...(second ? [{ volumeId: second }] : [])],
        [id],
      );
      if (!live) return;
      const viewport = engine.getViewport(id) as Types.IVolumeViewport;
      const range = startWindow(series);
      if (range) viewport.setProperties({ voiRange: range }, base);
      const overRange = over ? startWindow(over) : undefined;
      if (second && overRange) viewport.setProperties({ voiRange: overRange }, second);
      viewport.render();
      setShown(true);
      onReady?.(id);
    };
    begin().catch((e: unknown) => live && setError(says(e)));
    return () => {
      live = false;
    };
  }, [ready, series, over, id, onReady]);

  useEffect(() => {
    const viewport = shown ? (currentEngine()?.getViewport(id) as Types.IVolumeViewport) : undefined;
    if (!viewport) return;
    viewport.setBlendMode(BLEND[slab]);
    step(viewport, slab === "none" ? THIN_STEP : 1);
    if (slab === "none") viewport.resetSlabThickness();
    else viewport.setSlabThickness(thickness);
    viewport.render();
  }, [shown, slab, thickness, id]);

  useEffect(() => {
    const viewport = shown ? (currentEngine()?.getViewport(id) as Types.IVolumeViewport) : undefined;
    if (!viewport || !fusion) return;
    viewport.setProperties(
      { colormap: { name: fusion.colormap, opacity: fusion.opacity } },
      volumeId(fusion.series),
    );
    viewport.render();
  }, [shown, fusion, id]);

  const overRange =
    shown && fusion
      ? (currentEngine()?.getViewport(id) as Types.IVolumeViewport | undefined)?.getProperties(
          volumeId(fusion.series),
        )?.voiRange
      : undefined;
  const legend =
    fusion && overRange
      ? { colormap: fusion.colormap, ...overRange, unit: fusion.series.unit }
      : undefined;
  const slabText = slab === "none" ? "" : ` · ${slab.toUpperCase()} ${thickness} mm`;
  return (
    <PaneFrame
      {...props}
      attach={attach}
      loadingKey={volumeId(series)}
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
        legend={plane === "axial" ? legend : undefined}
      />
    </PaneFrame>
  );
}

