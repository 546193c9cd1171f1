/** The series after, pushed by hand over the series before: drag, arrow keys, then keep it. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useRef } from "react";

import { type Vec3, add, sub, times } from "../geometry/vector";
import { scrollBy } from "../viewport/commands";
import { currentEngine } from "../viewport/engine";
import { frameOf } from "../viewport/provider";
import { type Axes, type Push, STILL, angles, axesOf, further } from "./push";

type Stack = Types.IStackViewport;

const stackOf = (id: string) => currentEngine()?.getViewport(id) as Stack | undefined;
const placeOf = (v: Stack, x: number, y: number) => v.canvasToWorld([x, y]) as unknown as Vec3;

/** The picture's directions, and mm from one of its pixels on the screen to the next. */
export function lookOf(id: string): { axes: Axes; mm: number } | undefined {
  const viewport = stackOf(id);
  if (!viewport) return undefined;
  const origin = placeOf(viewport, 0, 0);
  const right = sub(placeOf(viewport, 100, 0), origin);
  const down = sub(placeOf(viewport, 0, 100), origin);
  const mm = Math.hypot(...right) / 100;
  return mm > 0 ? { axes: axesOf(right, down), mm } : undefined;
}

/** The middle of the volume that a stack shows: about which `analyze.nudge` turns. */
function middleOf(viewport: Stack): Vec3 | undefined {
  const ids = viewport.getImageIds();
  const ends = [ids[0], ids.at(-1)].map((id) => frameOf(id ?? ""));
  const middles = ends.flatMap((f) => {
    if (!f?.position || !f.row || !f.column) return [];
    const [down, across] = f.spacing ?? [1, 1];
    const along = times(f.row, ((f.columns - 1) / 2) * across);
    return [add(f.position, add(along, times(f.column, ((f.rows - 1) / 2) * down)))];
  });
  const [a, b] = middles;
  return a && b ? times(add(a, b), 0.5) : undefined;
}

/** Draws pane `second` where `push` puts it, as pane `first` is looked at; not at all without one. */
function usePushed(first: string, second: string, push: Push | undefined): void {
  useEffect(() => {
    const [fixed, moving] = [stackOf(first), stackOf(second)];
    if (!push || !fixed || !moving) return;
    const { canvas } = moving;
    const draw = () => {
      const middle = middleOf(fixed);
      if (!middle) return;
      const [x, y] = moving.worldToCanvas(middle as unknown as Types.Point3);
      const [u, v] = moving.worldToCanvas(add(middle, push.shift) as unknown as Types.Point3);
      canvas.style.transformOrigin = `${x}px ${y}px`;
      canvas.style.transform = `translate(${u - x}px, ${v - y}px) rotate(${push.turn}deg)`;
    };
    draw();
    moving.element.addEventListener(Enums.Events.CAMERA_MODIFIED, draw);
    return () => {
      moving.element.removeEventListener(Enums.Events.CAMERA_MODIFIED, draw);
      canvas.style.transform = "";
    };
  }, [first, second, push]);
}

const KEYS: Record<string, { right?: number; down?: number; into?: number; turn?: number }> = {
  ArrowLeft: { right: -1 }, ArrowRight: { right: 1 }, ArrowUp: { down: -1 }, ArrowDown: { down: 1 },
  PageUp: { into: -1 }, PageDown: { into: 1 }, ",": { turn: -1 }, ".": { turn: 1 },
  "<": { turn: -1 }, ">": { turn: 1 },
};
/** mm or degrees of a key with Shift */
const FINE = 0.2;

/** Lies over the panes and takes pointer and keys. */
export function NudgeLayer(props: { first: string; second: string; push: Push; onPush: (push: Push) => void }) {
  const { first, second, push, onPush } = props;
  const layer = useRef<HTMLDivElement>(null);
  const from = useRef<[number, number]>(undefined);
  usePushed(first, second, push);
  useEffect(() => layer.current?.focus(), []);
  const move = (event: React.PointerEvent) => {
    const look = lookOf(first);
    if (!from.current || !look) return;
    const [x, y] = from.current;
    from.current = [event.clientX, event.clientY];
    onPush(further(push, look.axes, { right: (event.clientX - x) * look.mm, down: (event.clientY - y) * look.mm }));
  };
  const press = (event: React.KeyboardEvent) => {
    const step = KEYS[event.key];
    const look = lookOf(first);
    if (!step || !look || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const size = event.shiftKey ? FINE : 1;
    const scaled = Object.fromEntries(Object.entries(step).map(([k, v]) => [k, v * size]));
    onPush(further(push, look.axes, scaled));
  };
  return (
    <div
      className="hand-layer nudge-layer"
      ref={layer}
      role="application"
      tabIndex={0}
      aria-label="Push the series after: arrow keys 1 mm, with Shift 0.2 mm; Page up and down through the picture; comma and point turn"
      onKeyDown={press}
      onPointerDown={(e) => {
        if (e.button !== 0) return;
        from.current = [e.clientX, e.clientY];
        e.currentTarget.setPointerCapture(e.pointerId);
      }}
      onPointerMove={move}
      onPointerUp={() => (from.current = undefined)}
      onPointerCancel={() => (from.current = undefined)}
      onWheel={(e) => scrollBy(first, Math.sign(e.deltaY))}
    />
  );
}

const said = (v: number) => `${v >= 0 ? "+" : "−"}${Math.abs(v).toFixed(1)}`;

/** What was pushed so far, and what to do with it. */
export function NudgeBar(props: { first: string; push: Push; busy: boolean; onPush: (push: Push) => void; onKeep: (params: Record<string, unknown>) => void }) {
  const { push } = props;
  const still = push.turn === 0 && push.shift.every((v) => v === 0);
  const keep = () => {
    const look = lookOf(props.first);
    if (look) props.onKeep({ shift: push.shift, turn: angles(look.axes.into, push.turn) });
  };
  return (
    <div className="compare-bar hand-bar" data-hand="nudge">
      <span>
        Pushed by <b className="nudge-shift">{push.shift.map(said).join("  ")}</b> mm (L P S), turned by{" "}
        <b className="nudge-turn">{said(push.turn)}</b>°
      </span>
      <span className="dim" title="Arrows 1 mm, with Shift 0.2 mm; Page up and down through the picture; comma and point turn by 1°">
        Drag, arrows, PgUp PgDn, comma and point
      </span>
      <span className="grow" />
      <button disabled={still} onClick={() => props.onPush(STILL)}>
        Back to start
      </button>
      <button className="primary" disabled={still || props.busy} onClick={keep}>
        Keep as registration
      </button>
    </div>
  );
}
