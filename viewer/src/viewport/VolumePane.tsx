/** Volume rendering of a whole volume with a named preset, turned with the left button. */

import { Enums, type Types, setVolumesForViewports } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { says } from "../api/http";
import type { Series } from "../study/series";
import { currentEngine, software } from "./engine";
import { PaneFrame } from "./PaneFrame";
import { useViewport } from "./useElement";
import { ensureVolume, loadingNow, volumeId, watchLoading } from "./volumes";

export const PRESETS = [
  "CT-Bone", "CT-Soft-Tissue", "CT-Lung", "CT-Muscle", "CT-Cardiac", "CT-Chest-Vessels",
  "CT-Coronary-Arteries", "CT-Liver-Vasculature", "CT-AAA", "CT-Fat", "CT-Air", "CT-MIP",
  "MR-Default", "MR-T2-Brain", "MR-Angio", "MR-MIP", "DTI-FA-Brain",
];

/** Length of a ray's step in voxels: without a GPU coarse, or turning takes seconds a frame. */
function rayStep(): number {
  return software() ? 6 : 1;
}

export function defaultPreset(modality: string): string {
  return modality === "CT" ? "CT-Bone" : modality === "PT" || modality === "NM" ? "MR-MIP" : "MR-Default";
}

export function VolumePane(props: {
  id: string;
  series: Series;
  preset: string;
  active: boolean;
  onActivate?: () => void;
  onReady?: (id: string) => void;
}) {
  const { id, series, preset, onReady } = props;
  const { attach, ready } = useViewport(id, Enums.ViewportType.VOLUME_3D, "volume", {
    orientation: Enums.OrientationAxis.CORONAL,
  });
  const [error, setError] = useState("");
  const [shown, setShown] = useState(false);

  useEffect(() => {
    const engine = ready ? currentEngine() : undefined;
    if (!engine) return;
    let live = true;
    setShown(false);
    setError("");
    const begin = async () => {
      const base = await ensureVolume(series);
      if (!live) return;
      // The look is set as soon as the volume is there: a first ray cast with the defaults is dear.
      await setVolumesForViewports(engine, [{ volumeId: base }], [id]);
      if (!live) return;
      const viewport = engine.getViewport(id) as Types.IVolumeViewport;
      viewport.setProperties({ preset, sampleDistanceMultiplier: rayStep() });
      viewport.resetCamera();
      setShown(true);
      onReady?.(id);
    };
    begin().catch((e: unknown) => live && setError(says(e)));
    return () => {
      live = false;
    };
    // not on `preset`: a new one is drawn by the effect below
  }, [ready, series, id, onReady]);

  useEffect(() => {
    if (!shown) return;
    let pending = 0;
    const draw = () => {
      const viewport = currentEngine()?.getViewport(id) as Types.IVolumeViewport | undefined;
      viewport?.setProperties({ preset, sampleDistanceMultiplier: rayStep() });
      viewport?.render();
    };
    draw();
    // Ray casting is dear: while the volume streams it is drawn again once a second, not per slice,
    // and without a GPU not before it is whole.
    const stop = watchLoading(() => {
      const state = loadingNow().get(volumeId(series));
      const done = state && state.loaded >= state.total;
      if (done || (!pending && !software())) {
        window.clearTimeout(pending);
        pending = window.setTimeout(() => {
          pending = 0;
          draw();
        }, done ? 0 : 1000);
      }
    });
    return () => {
      stop();
      window.clearTimeout(pending);
    };
  }, [shown, preset, id, series]);

  return (
    <PaneFrame
      {...props}
      attach={attach}
      loadingKey={volumeId(series)}
      waiting={!shown && !error}
      error={error}
      kind="volume"
      coarse={software()}
    >
      <div className="overlay">
        <div className="corner tr">
          <strong>Volume rendering</strong>
          <span>{preset}</span>
        </div>
      </div>
    </PaneFrame>
  );
}
