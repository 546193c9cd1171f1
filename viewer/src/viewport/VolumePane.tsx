/** Volume rendering of a whole volume with a named look, turned with the left button. */

import { Enums, type Types, setVolumesForViewports } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { says } from "../api/http";
import { RayPane } from "../render/RayPane";
import { LOOKS, type Look, UNIT, looksFor, pointsIn } from "../render/presets";
import type { Series } from "../study/series";
import { currentEngine, software } from "./engine";
import { PaneFrame } from "./PaneFrame";
import { useReadout } from "./readout";
import { useViewport } from "./useElement";
import { ensureVolume, loadingNow, volumeId, watchLoading } from "./volumes";

export interface VolumePaneProps {
  id: string;
  series: Series;
  phase: number;
  /** a look's id, or empty for the usual one */
  preset: string;
  tool: string;
  active: boolean;
  onActivate?: () => void;
  onReady?: (id: string) => void;
}

export function lookOf(series: Series, preset: string): Look {
  const looks = looksFor(series.row.modality, series.unit);
  return looks.find((l) => l.id === preset) ?? looks[0] ?? (LOOKS[0] as Look);
}

export function VolumePane(props: VolumePaneProps) {
  const look = lookOf(props.series, props.preset);
  return software() ? (
    <RayPane {...props} look={look.id} label={look.label} />
  ) : (
    <GpuPane {...props} look={look} />
  );
}

interface Property {
  getRGBTransferFunction: (component: number) => {
    removeAllPoints: () => void;
    addRGBPoint: (x: number, r: number, g: number, b: number) => void;
  };
  getScalarOpacity: (component: number) => {
    removeAllPoints: () => void;
    addPoint: (x: number, y: number) => void;
  };
  setScalarOpacityUnitDistance: (component: number, mm: number) => void;
  setUseGradientOpacity: (component: number, on: boolean) => void;
  setShade: (on: boolean) => void;
  setAmbient: (part: number) => void;
  setDiffuse: (part: number) => void;
  setSpecular: (part: number) => void;
  setSpecularPower: (power: number) => void;
}

interface Actor {
  getProperty: () => Property;
  getMapper: () => { setBlendMode: (mode: number) => void };
}

/** Give the actor of a viewport the colours, opacity and light of a look. */
function apply(viewport: Types.IVolumeViewport, look: Look, range: [number, number]): void {
  const actor = viewport.getDefaultActor()?.actor as unknown as Actor | undefined;
  if (!actor) return;
  const property = actor.getProperty();
  const colours = property.getRGBTransferFunction(0);
  const opacity = property.getScalarOpacity(0);
  colours.removeAllPoints();
  opacity.removeAllPoints();
  const mip = look.mode === "mip";
  for (const [value, alpha, r, g, b] of pointsIn(look, range)) {
    colours.addRGBPoint(value, r, g, b);
    opacity.addPoint(value, mip ? 1 : alpha);
  }
  const { COMPOSITE, MAXIMUM_INTENSITY_BLEND } = Enums.BlendModes;
  actor.getMapper().setBlendMode(mip ? MAXIMUM_INTENSITY_BLEND : COMPOSITE);
  property.setScalarOpacityUnitDistance(0, UNIT);
  property.setUseGradientOpacity(0, false);
  property.setShade(!mip);
  property.setAmbient(0.28);
  property.setDiffuse(0.72);
  property.setSpecular(0.16);
  property.setSpecularPower(12);
  viewport.render();
}

function GpuPane(props: VolumePaneProps & { look: Look }) {
  const { id, series, phase, look, onReady } = props;
  const { attach, element, ready } = useViewport(id, Enums.ViewportType.VOLUME_3D, "volume", {
    orientation: Enums.OrientationAxis.CORONAL,
  });
  const [error, setError] = useState("");
  const [shown, setShown] = useState(false);
  const readout = useReadout(id, shown ? element : null);

  useEffect(() => {
    const engine = ready ? currentEngine() : undefined;
    if (!engine) return;
    let live = true;
    setShown(false);
    setError("");
    const begin = async () => {
      const base = await ensureVolume(series, phase);
      if (!live) return;
      await setVolumesForViewports(engine, [{ volumeId: base }], [id]);
      if (!live) return;
      (engine.getViewport(id) as Types.IVolumeViewport).resetCamera();
      setShown(true);
      onReady?.(id);
    };
    begin().catch((e: unknown) => live && setError(says(e)));
    return () => {
      live = false;
    };
  }, [ready, series, phase, id, onReady]);

  useEffect(() => {
    if (!shown) return;
    let pending = 0;
    const draw = () => {
      const viewport = currentEngine()?.getViewport(id) as Types.IVolumeViewport | undefined;
      if (viewport) apply(viewport, look, usualRange(viewport));
    };
    draw();
    // While the volume streams it is drawn again once a second, not for every slice.
    const stop = watchLoading(() => {
      const state = loadingNow().get(volumeId(series, phase));
      const done = state && state.loaded >= state.total;
      if (!done && pending) return;
      window.clearTimeout(pending);
      pending = window.setTimeout(() => {
        pending = 0;
        draw();
      }, done ? 0 : 1000);
    });
    return () => {
      stop();
      window.clearTimeout(pending);
    };
  }, [shown, look, id, series, phase]);

  return (
    <PaneFrame
      {...props}
      attach={attach}
      loadingKey={volumeId(series, phase)}
      waiting={!shown && !error}
      error={error}
      kind="volume"
    >
      <div className="overlay">
        <div className="frame">
          <span className="letter t">{readout?.top}</span>
          <span className="letter l">{readout?.left}</span>
          <span className="letter r">{readout?.right}</span>
          <div className="foot">
            <span className="letter b">{readout?.bottom}</span>
          </div>
          <div className="corner tr">
            <strong>Volume rendering</strong>
            <span>{look.label}</span>
            {series.phases.length > 1 && <span className="phase">{series.phaseNames[phase]}</span>}
          </div>
        </div>
      </div>
    </PaneFrame>
  );
}

/** Range of the volume's values as far as they have come, measured on every 97th voxel. */
function usualRange(viewport: Types.IVolumeViewport): [number, number] {
  const data = viewport.getImageData()?.voxelManager;
  const length = data?.getScalarDataLength() ?? 0;
  const values: number[] = [];
  for (let i = 0; i < length; i += Math.max(97, Math.floor(length / 50_000))) {
    values.push(Number(data?.getAtIndex(i) ?? 0));
  }
  values.sort((a, b) => a - b);
  return [values[0] ?? 0, values[Math.floor(values.length * 0.9995)] ?? 1];
}
