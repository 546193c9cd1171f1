/** Points that are clicked in both pictures, numbered, and the registration by them. */

import { Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useReducer, useState } from "react";

import { normal } from "../geometry/frames";
import { type Vec3, dot, sub } from "../geometry/vector";
import { currentEngine } from "../viewport/engine";
import { frameOf } from "../viewport/provider";

/** The same place in the series before and after; one of them may still be missing. */
export interface Pair {
  before?: Vec3;
  after?: Vec3;
}
type Side = keyof Pair;

/** Pixels by which a click may move. */
const SHAKE = 4;
/** mm from the picture within which a point is drawn. */
const NEAR = 3;
export const FEWEST = 3;

const stackOf = (id: string) => currentEngine()?.getViewport(id) as Types.IStackViewport | undefined;

/** The first pair that lacks a point on this side gets it, or a new one does. */
export function added(pairs: Pair[], side: Side, place: Vec3): Pair[] {
  const open = pairs.findIndex((p) => !p[side]);
  if (open < 0) return [...pairs, { [side]: place }];
  return pairs.map((p, i) => (i === open ? { ...p, [side]: place } : p));
}

/** Numbers in a row as the operation takes them, of the pairs that are complete. */
export function rows(pairs: Pair[], side: Side): number[] {
  return pairs.filter((p) => p.before && p.after).flatMap((p) => p[side] ?? []);
}

/** Clicks in the two panes, while `key` is not empty. */
export function useClicks(panes: Record<Side, string>, key: string, onPlace: (side: Side, place: Vec3) => void): void {
  const { before, after } = panes;
  useEffect(() => {
    if (!key) return;
    const stops = (["before", "after"] as const).map((side) => {
      const viewport = stackOf(side === "before" ? before : after);
      if (!viewport) return () => undefined;
      const { element } = viewport;
      let from: [number, number] | undefined;
      const down = (e: PointerEvent) => (from = e.button === 0 ? [e.clientX, e.clientY] : undefined);
      const up = (e: PointerEvent) => {
        if (!from || Math.hypot(e.clientX - from[0], e.clientY - from[1]) > SHAKE) return;
        const rect = element.getBoundingClientRect();
        const at = viewport.canvasToWorld([e.clientX - rect.left, e.clientY - rect.top]);
        onPlace(side, [...at] as unknown as Vec3);
      };
      element.addEventListener("pointerdown", down);
      element.addEventListener("pointerup", up);
      return () => {
        element.removeEventListener("pointerdown", down);
        element.removeEventListener("pointerup", up);
      };
    });
    return () => stops.forEach((stop) => stop());
  }, [before, after, key, onPlace]);
}

/** The points of one pane, where its picture is near enough. */
export function Dots({ pane, side, pairs }: { pane: string; side: Side; pairs: Pair[] }) {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const element = stackOf(pane)?.element;
    const names = [Enums.Events.CAMERA_MODIFIED, Enums.Events.STACK_NEW_IMAGE];
    names.forEach((name) => element?.addEventListener(name, redraw));
    return () => names.forEach((name) => element?.removeEventListener(name, redraw));
  }, [pane, pairs.length]);
  const viewport = stackOf(pane);
  const frame = viewport && frameOf(viewport.getCurrentImageId());
  const n = frame && normal(frame);
  if (!viewport || !frame?.position || !n) return null;
  const here = frame.position;
  return (
    <>
      {pairs.map((pair, i) => {
        const place = pair[side];
        if (!place || Math.abs(dot(sub(place, here), n)) > NEAR) return null;
        const [x, y] = viewport.worldToCanvas(place as unknown as Types.Point3);
        return (
          <i key={i} className="landmark" data-landmark={`${side}-${i + 1}`} style={{ left: x, top: y }}>
            {i + 1}
          </i>
        );
      })}
    </>
  );
}

export function LandmarkBar(props: {
  pairs: Pair[];
  busy: boolean;
  onPairs: (pairs: Pair[]) => void;
  onRegister: (params: Record<string, unknown>) => void;
}) {
  const { pairs, busy } = props;
  const [refine, setRefine] = useState("");
  const complete = pairs.filter((p) => p.before && p.after).length;
  return (
    <div className="compare-bar hand-bar" data-hand="landmarks">
      <span>
        <b className="landmark-count">{complete}</b> {complete === 1 ? "pair" : "pairs"}
      </span>
      {pairs.map((pair, i) => (
        <button
          key={i}
          className={`quiet small ${pair.before && pair.after ? "" : "dim"}`}
          title="Remove this pair"
          onClick={() => props.onPairs(pairs.filter((_, k) => k !== i))}
        >
          {i + 1} {pair.before ? (pair.after ? "" : "· click it on the right") : "· click it on the left"} ✕
        </button>
      ))}
      {complete < FEWEST && <span className="dim">Click the same place in both pictures; three pairs or more.</span>}
      <span className="grow" />
      <label>
        <span className="dim">Then</span>
        <select aria-label="After the landmarks" value={refine} onChange={(e) => setRefine(e.target.value)}>
          <option value="">leave it at that</option>
          <option value="rigid">refine by content, rigid</option>
          <option value="followup">refine by content, bending</option>
        </select>
      </label>
      <button
        className="primary"
        disabled={busy || complete < FEWEST}
        onClick={() =>
          props.onRegister({
            fixed_points: rows(pairs, "before"), moving_points: rows(pairs, "after"),
            ...(refine ? { refine } : {}),
          })
        }
      >
        Register by {complete} pairs
      </button>
    </div>
  );
}
