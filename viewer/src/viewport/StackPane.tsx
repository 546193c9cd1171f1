/** One stack of images: shown from its first decoded image, the rest fetched behind it. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useCallback, useEffect, useRef, useState } from "react";

import { DrawLayer } from "../draw/DrawLayer";
import { PALETTE, rangeOf, toldOf } from "../learn/maps";
import { PreviewLayer } from "../process/PreviewLayer";
import type { Series } from "../study/series";
import { text } from "../dicom/json";
import { currentEngine } from "./engine";
import { MapLayer, type Mapped } from "./MapLayer";
import { reasonOf } from "./guard";
import { Overlay } from "./Overlay";
import { PaneFrame } from "./PaneFrame";
import { type Prefetch, prefetch } from "./prefetch";
import { frameOf } from "./provider";
import { useReadout } from "./readout";
import { useViewport } from "./useElement";
import { voiRange } from "./window";

export interface StackPaneProps {
  id: string;
  series: Series;
  active: boolean;
  overlay: boolean;
  /** show only this time point, echo or b-value of the series */
  phase?: number | undefined;
  note?: string;
  /** colours that lie over the pictures */
  map?: Mapped | undefined;
  /** the left button draws here */
  draws?: boolean;
  onActivate?: () => void;
  onReady?: (id: string) => void;
}

function nameOf(imageId: string): string {
  const frame = frameOf(imageId);
  if (!frame) return imageId;
  const number = text(frame.instance, "00200013");
  const which = number ? `instance ${number}` : frame.sop;
  return frame.frames > 1 ? `${which}, frame ${frame.number}` : which;
}

/** Which phase an image belongs to, where there are several. */
function phaseName(series: Series, imageId: string | undefined): string | undefined {
  if (series.phases.length < 2 || !imageId) return undefined;
  return series.phaseNames[series.phases.findIndex((p) => p.some((f) => f.imageId === imageId))];
}

export function StackPane(props: StackPaneProps) {
  const { id, series, onReady } = props;
  const { attach, element, ready } = useViewport(id, Enums.ViewportType.STACK, "stack");
  const readout = useReadout(id, ready ? element : null);
  const [error, setError] = useState("");
  const [failures, setFailures] = useState<string[]>([]);
  const [shown, setShown] = useState(false);
  const [unmapped, setUnmapped] = useState("");
  const fetching = useRef<Prefetch | undefined>(undefined);
  const only = props.phase === undefined ? undefined : series.phases[props.phase];

  const map = props.map?.series;
  useEffect(() => setUnmapped(""), [map]);
  const legend = map && { colormap: PALETTE, ...rangeOf(map), unit: toldOf(map)?.unit ?? map.unit };

  const failed = useCallback((imageId: string, reason: string) => {
    setFailures((list) => [...list.filter((l) => !l.startsWith(nameOf(imageId))), `${nameOf(imageId)}: ${reason}`]);
  }, []);

  useEffect(() => {
    const viewport = ready ? (currentEngine()?.getViewport(id) as Types.IStackViewport) : undefined;
    if (!viewport) return;
    let live = true;
    setError("");
    setFailures([]);
    setShown(false);
    const imageIds = (only ?? series.frames).map((f) => f.imageId);
    if (imageIds.length === 0) {
      setError("This series has no images to show.");
      return;
    }
    const middle = Math.floor((only ?? series.phases[0] ?? imageIds).length / 2);
    const start = series.volume.ok ? middle : 0;
    performance.mark(`stack-start:${series.row.uid}`);
    const begin = async () => {
      await viewport.setStack(imageIds, start);
      if (!live) return;
      const image = viewport.getCornerstoneImage();
      if (!series.colour && image) {
        // Set outright: a stack keeps one window through all its slices, and can say which.
        const [width, center] = [image.windowWidth, image.windowCenter].map((v) => [v].flat()[0]);
        if (width && center !== undefined) viewport.setProperties({ voiRange: voiRange(width, center) });
      }
      viewport.render();
      setShown(true);
      performance.mark(`stack-shown:${series.row.uid}`);
      onReady?.(id);
    };
    begin()
      .catch((e: unknown) => live && setError(`${nameOf(imageIds[start] ?? "")}: ${reasonOf(imageIds[start] ?? "", e)}`))
      .finally(() => {
        if (live) fetching.current = prefetch(id, imageIds, start, failed);
      });
    const moved = () => fetching.current?.centre(viewport.getTargetImageIdIndex());
    const broken = (event: Event) => {
      const detail = (event as CustomEvent<{ imageId: string; error: unknown }>).detail;
      failed(detail.imageId, reasonOf(detail.imageId, detail.error));
    };
    element?.addEventListener(Enums.Events.STACK_NEW_IMAGE, moved);
    element?.addEventListener(Enums.Events.IMAGE_LOAD_ERROR, broken);
    return () => {
      live = false;
      fetching.current?.stop();
      fetching.current = undefined;
      element?.removeEventListener(Enums.Events.STACK_NEW_IMAGE, moved);
      element?.removeEventListener(Enums.Events.IMAGE_LOAD_ERROR, broken);
    };
  }, [ready, series, id, only, element, failed, onReady]);

  return (
    <PaneFrame
      {...props}
      attach={attach}
      loadingKey={id}
      waiting={!shown && !error}
      error={error}
      failures={failures}
      kind="stack"
    >
      <PreviewLayer id={id} element={ready ? element : null} />
      <MapLayer id={id} element={shown ? element : null} series={series} map={props.map} onProblem={setUnmapped} />
      <DrawLayer id={id} element={shown ? element : null} series={series} active={props.draws === true} />
      {unmapped && <span className="preview-note bad">The map could not be shown: {unmapped}</span>}
      <Overlay
        series={series}
        readout={shown ? readout : undefined}
        shown={props.overlay}
        phase={phaseName(series, readout?.imageId)}
        {...(props.note ? { note: props.note } : {})}
        legend={legend}
      />
    </PaneFrame>
  );
}

