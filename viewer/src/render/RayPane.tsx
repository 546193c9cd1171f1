/** Volume rendering without a GPU: a worker casts the rays, a coarse picture first, then a fine one. */

import { useCallback, useEffect, useRef, useState } from "react";

import { letters, times } from "../geometry/vector";
import type { Series } from "../study/series";
import { PaneFrame } from "../viewport/PaneFrame";
import { volumeId } from "../viewport/volumes";
import { type Camera, frontal, turned, viewOf } from "./camera";
import { type Placed, reduce } from "./reduce";
import { register } from "./views";
import type { Picture, Wish } from "./worker";

const QUICK = { dense: 0.34, step: 1.7 };
const FINE = { pixels: 720_000, step: 0.7 };

interface Drag {
  button: number;
  x: number;
  y: number;
}

export function RayPane(props: {
  id: string;
  series: Series;
  phase: number;
  look: string;
  label: string;
  tool: string;
  active: boolean;
  onReady?: (id: string) => void;
}) {
  const { id, series, phase, look, tool, onReady } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const worker = useRef<Worker | undefined>(undefined);
  const placed = useRef<Placed | undefined>(undefined);
  const camera = useRef<Camera | undefined>(undefined);
  const drag = useRef<Drag | undefined>(undefined);
  const flight = useRef({ next: 1, quick: 0, again: false });
  const wanted = useRef(look);
  wanted.current = look;
  const [error, setError] = useState("");
  const [part, setPart] = useState(0);
  const [quality, setQuality] = useState<"" | "quick" | "fine">("");
  const [, turn] = useState(0);

  const send = useCallback((fine: boolean) => {
    const [view, place, box] = [camera.current, placed.current, canvas.current];
    if (!view || !place || !box || !worker.current) return;
    const [w, h] = [Math.max(1, box.clientWidth), Math.max(1, box.clientHeight)];
    const dense = fine ? Math.min(1, Math.sqrt(FINE.pixels / (w * h))) : QUICK.dense;
    const step = (fine ? FINE.step : QUICK.step) * Math.min(...place.voxels.spacing);
    const f = flight.current;
    const draw = f.next++;
    f.quick = fine ? 0 : draw;
    const [width, height] = [Math.ceil(w * dense), Math.ceil(h * dense)];
    const wish: Wish = { draw, look: wanted.current, view: viewOf(view, place, width, height, dense, step) };
    worker.current.postMessage(wish);
  }, []);

  /** Draw what the camera sees now; while a coarse picture is on its way, after it. */
  const redraw = useCallback(() => {
    if (flight.current.quick) flight.current.again = true;
    else send(false);
  }, [send]);

  const show = useCallback(
    (picture: Picture) => {
      const context = canvas.current?.getContext("2d");
      const f = flight.current;
      if (!context || !canvas.current) return;
      const source = new OffscreenCanvas(picture.width, picture.height);
      source.getContext("2d")?.putImageData(new ImageData(picture.pixels, picture.width, picture.height), 0, 0);
      const ratio = window.devicePixelRatio || 1;
      canvas.current.width = Math.round(canvas.current.clientWidth * ratio);
      canvas.current.height = Math.round(canvas.current.clientHeight * ratio);
      context.imageSmoothingQuality = "high";
      context.drawImage(source, 0, 0, canvas.current.width, canvas.current.height);
      if (picture.draw !== f.quick) {
        setQuality("fine");
        return;
      }
      f.quick = 0;
      setQuality("quick");
      const moving = f.again;
      f.again = false;
      send(!moving && !drag.current);
    },
    [send],
  );

  useEffect(() => {
    let live = true;
    setError("");
    setQuality("");
    const made = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.current = made;
    flight.current = { next: 1, quick: 0, again: false };
    made.onmessage = (event: MessageEvent<Picture>) => live && show(event.data);
    made.onerror = () => live && setError("The volume could not be drawn: its worker stopped.");
    const begin = async () => {
      const volume = series.volumes[phase] ?? series.volume;
      if (!volume.ok) throw new Error(volume.reason);
      const result = await reduce(volume.frames, volume.spacing, (p) => {
        if (live) setPart(p);
        return live;
      });
      if (!live || !result) return;
      const box = canvas.current;
      // Another phase of the same series is seen from the same side.
      camera.current ??= frontal(result, box?.clientWidth ?? 600, box?.clientHeight ?? 600);
      placed.current = result;
      made.postMessage({ voxels: result.voxels } satisfies Wish, [result.voxels.values.buffer]);
      send(false);
      onReady?.(id);
    };
    begin().catch((e: unknown) => live && setError(e instanceof Error ? e.message : String(e)));
    return () => {
      live = false;
      made.terminate();
      worker.current = undefined;
      placed.current = undefined;
    };
  }, [series, phase, id, send, show, onReady]);

  useEffect(() => () => void (camera.current = undefined), [series]);
  useEffect(() => redraw(), [look, redraw]);

  useEffect(() => {
    const change = (next: (now: Camera) => Camera) => {
      if (!camera.current) return;
      camera.current = next(camera.current);
      turn((n) => n + 1);
      redraw();
    };
    const box = canvas.current;
    const zoom = (by: number) => change((c) => ({ ...c, scale: c.scale / by }));
    const stop = register(id, {
      reset: () =>
        change((c) => (placed.current && box ? frontal(placed.current, box.clientWidth, box.clientHeight) : c)),
      zoom,
    });
    const observer = new ResizeObserver(() => redraw());
    if (box) observer.observe(box);
    const down = (e: PointerEvent) => {
      box?.setPointerCapture(e.pointerId);
      const left = e.ctrlKey || tool === "pan" ? 1 : tool === "zoom" ? 2 : 0;
      drag.current = { button: e.button === 0 ? left : e.button, x: e.clientX, y: e.clientY };
    };
    const move = (e: PointerEvent) => {
      const d = drag.current;
      if (!d) return;
      const [dx, dy] = [e.clientX - d.x, e.clientY - d.y];
      drag.current = { ...d, x: e.clientX, y: e.clientY };
      if (d.button === 0) change((c) => turned(c, dx, dy));
      else if (d.button === 2) zoom(Math.exp(-0.006 * dy));
      else change((c) => ({ ...c, pan: [c.pan[0] - dx * c.scale, c.pan[1] + dy * c.scale] }));
    };
    const up = () => {
      if (!drag.current) return;
      drag.current = undefined;
      redraw();
    };
    const wheel = (e: WheelEvent) => {
      e.preventDefault();
      zoom(Math.exp(-0.0012 * e.deltaY));
    };
    box?.addEventListener("pointerdown", down);
    box?.addEventListener("pointermove", move);
    box?.addEventListener("pointerup", up);
    box?.addEventListener("pointercancel", up);
    box?.addEventListener("wheel", wheel, { passive: false });
    return () => {
      stop();
      observer.disconnect();
      box?.removeEventListener("pointerdown", down);
      box?.removeEventListener("pointermove", move);
      box?.removeEventListener("pointerup", up);
      box?.removeEventListener("pointercancel", up);
      box?.removeEventListener("wheel", wheel);
    };
  }, [id, redraw, tool]);

  const c = camera.current;
  return (
    <PaneFrame
      {...props}
      attach={nothing}
      loadingKey={volumeId(series, phase)}
      waiting={!quality && !error}
      error={error}
      kind="volume"
      progress={part}
    >
      <canvas
        ref={canvas}
        className="rays"
        data-quality={quality}
        onContextMenu={(e) => e.preventDefault()}
      />
      <div className="overlay">
        <div className="frame">
          <span className="letter t">{c && quality ? letters(c.up) : ""}</span>
          <div className="corner tr">
            <strong>Volume rendering</strong>
            <span>{props.label}</span>
            {series.phases.length > 1 && <span className="phase">{series.phaseNames[phase]}</span>}
          </div>
          <span className="letter l">{c && quality ? letters(times(c.right, -1)) : ""}</span>
          <span className="letter r">{c && quality ? letters(c.right) : ""}</span>
          <div className="foot">
            <span className="letter b">{c && quality ? letters(times(c.up, -1)) : ""}</span>
          </div>
        </div>
      </div>
    </PaneFrame>
  );
}

const nothing = () => undefined;
