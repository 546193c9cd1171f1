/**
 * How often which value occurs. Drag a range and its voxels are marked in the picture; drag a handle
 * and the window follows.
 */

import { useEffect, useRef, useState } from "react";

import { figure } from "../tools/lines";
import type { Counted } from "./connection";

const WIDTH = 284;
const HEIGHT = 84;
/** Pixels around a handle that take hold of it. */
const GRIP = 6;

type Held = { what: "lower" | "upper" | "range"; from: number } | undefined;

export function HistogramPlot(props: {
  counted: Counted;
  limits: [number, number];
  marked: [number, number] | undefined;
  onLimits: (limits: [number, number]) => void;
  onMarked: (range: [number, number] | undefined) => void;
}) {
  const { counted, limits, marked, onLimits, onMarked } = props;
  const [log, setLog] = useState(false);
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useRef<Held>(undefined);
  const { lower, upper, counts } = counted;
  const span = upper - lower || 1;
  const place = (value: number) => ((value - lower) / span) * WIDTH;
  const value = (x: number) => lower + (Math.min(Math.max(x, 0), WIDTH) / WIDTH) * span;

  useEffect(() => {
    const pen = canvas.current?.getContext("2d");
    if (!pen || !canvas.current) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.current.width = WIDTH * ratio;
    canvas.current.height = HEIGHT * ratio;
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, WIDTH, HEIGHT);
    const tall = counts.map((n) => (log ? Math.log1p(n) : n));
    // One full bin (air, padding) must not flatten all the others.
    const sorted = [...tall].sort((a, b) => b - a);
    const top = Math.max(log ? (sorted[0] ?? 1) : Math.min(sorted[0] ?? 1, 1.5 * (sorted[2] ?? 1) || 1), 1e-9);
    const bar = WIDTH / counts.length;
    const chosen = (i: number) => {
      const v = lower + ((i + 0.5) / counts.length) * span;
      return marked !== undefined && v >= marked[0] && v <= marked[1];
    };
    tall.forEach((n, i) => {
      const h = Math.min(1, n / top) * (HEIGHT - 4);
      pen.fillStyle = chosen(i) ? "#ff6cc8" : "#7f93a8";
      pen.fillRect(i * bar, HEIGHT - h, Math.max(bar, 0.8), h);
    });
  }, [counts, log, marked, lower, span]);

  const at = (event: React.PointerEvent) => event.clientX - event.currentTarget.getBoundingClientRect().left;
  const down = (event: React.PointerEvent) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const x = at(event);
    const [a, b] = limits.map((l) => Math.abs(Math.min(Math.max(place(l), 0), WIDTH) - x)) as [number, number];
    const what = Math.min(a, b) > GRIP ? "range" : a <= b ? "lower" : "upper";
    held.current = { what, from: x };
  };
  const move = (event: React.PointerEvent) => {
    const grip = held.current;
    if (!grip || event.buttons !== 1) return;
    const x = at(event);
    if (grip.what === "range") {
      const [a, b] = [Math.min(grip.from, x), Math.max(grip.from, x)];
      if (b - a >= 2) onMarked([value(a), value(b)]);
      return;
    }
    const least = span / 1000;
    const v = value(x);
    if (grip.what === "lower") onLimits([Math.min(v, limits[1] - least), limits[1]]);
    else onLimits([limits[0], Math.max(v, limits[0] + least)]);
  };
  const up = (event: React.PointerEvent) => {
    const grip = held.current;
    held.current = undefined;
    if (grip?.what === "range" && Math.abs(at(event) - grip.from) < 2) onMarked(undefined);
  };
  const edge = (v: number) => `${Math.min(Math.max(place(v), 0), WIDTH)}px`;
  return (
    <div className="histogram">
      <div
        className="histogram-plot"
        style={{ width: WIDTH, height: HEIGHT }}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        role="img"
        aria-label="Histogram; drag to mark values, drag the handles to set the window"
        data-lower={lower}
        data-upper={upper}
      >
        <canvas ref={canvas} />
        <i className="handle" data-handle="lower" style={{ left: edge(limits[0]) }} />
        <i className="handle" data-handle="upper" style={{ left: edge(limits[1]) }} />
      </div>
      <div className="histogram-scale">
        <span>{figure(lower)}</span>
        <button className="small quiet" aria-pressed={log} onClick={() => setLog(!log)}>
          log
        </button>
        <span>{figure(upper)}</span>
      </div>
    </div>
  );
}
