/** The processed picture over the pane's own, under its measurements; and the curtain between. */

import { Enums, StackViewport } from "@cornerstonejs/core";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";

import { table } from "../viewport/palettes";
import { frameOf } from "../viewport/provider";
import { viewportOf } from "../viewport/readout";
import { Layer } from "./layer";
import { preview } from "./preview";
import { cornersOf } from "./source";
import { type State, isPlain } from "./state";

/** Whether there is anything to lay over the pane's picture. */
function covers(state: State): boolean {
  return state.chain.some((l) => l.on) || !isPlain(state.tone) || state.marked !== undefined;
}

/** The limits between which the layer's values are seen. */
export function limitsOf(state: State, pane: string): [number, number] {
  const { shown, limits } = state;
  if (limits) return limits;
  const range = viewportOf(pane)?.getProperties()?.voiRange;
  if (shown?.alike && range) return [range.lower, range.upper];
  return [shown?.lower ?? 0, shown?.upper ?? 1];
}

export function PreviewLayer({ id, element }: { id: string; element: HTMLDivElement | null }) {
  const mine = useSyncExternalStore(preview.watch, () => preview.pane === id && covers(preview.state));
  const side = useSyncExternalStore(preview.watch, () => preview.state.side);
  const [problem, setProblem] = useState("");

  useEffect(() => {
    const holder = element?.querySelector(".viewport-element");
    if (!mine || !element || !holder) return;
    const canvas = document.createElement("canvas");
    canvas.className = "preview-canvas";
    holder.querySelector("canvas")?.after(canvas);
    let layer: Layer;
    try {
      layer = new Layer(canvas);
    } catch (e) {
      setProblem(String(e));
      canvas.remove();
      return;
    }
    let [filled, coloured, pending]: [unknown, string, number] = [undefined, "", 0];
    let drawn: readonly unknown[] = [];
    const draw = () => {
      const { state } = preview;
      const viewport = viewportOf(id);
      const { shown, tone } = state;
      const frame = shown ? frameOf(shown.imageId) : undefined;
      const there =
        viewport instanceof StackViewport && frame && shown && shown.imageId === viewport.getCurrentImageId();
      canvas.dataset["stage"] = there && state.side !== "before" ? shown.stage : "";
      if (!there || state.side === "before") {
        layer.clear();
        return;
      }
      if (filled !== shown.picture) {
        layer.fill(shown.picture);
        filled = shown.picture;
      }
      const properties = viewport.getProperties();
      const palette = tone.palette || properties.colormap?.name || "soma-grey";
      if (coloured !== palette) {
        layer.colour(table(palette));
        coloured = palette;
      }
      const [lower, upper] = limitsOf(state, id);
      const invert = Boolean(properties.invert) && shown.alike && !tone.palette;
      layer.draw(cornersOf(viewport, frame, shown.place), {
        lower, upper, invert,
        gamma: tone.gamma, below: tone.below ?? -Infinity, opacity: tone.opacity, marked: state.marked,
      });
      canvas.style.clipPath = state.side === "swipe" ? `inset(0 0 0 ${state.curtain * 100}%)` : "";
      layer.finish();
      if (shown.head) preview.onScreen(shown.head.id);
    };
    const soon = () => {
      pending ||= requestAnimationFrame(() => {
        pending = 0;
        draw();
      });
    };
    // A new picture, ours or the pane's own, at once; what else changes with the display.
    element.addEventListener(Enums.Events.IMAGE_RENDERED, draw);
    const stop = preview.watch(() => {
      const { shown, tone, limits, marked, side, curtain } = preview.state;
      const seen = [shown, tone, limits, marked, side, curtain];
      if (seen.every((part, k) => part === drawn[k])) return; // what else is known of it is not in the picture
      drawn = seen;
      if (shown?.picture === filled) soon();
      else draw();
    });
    draw();
    return () => {
      stop();
      cancelAnimationFrame(pending);
      element.removeEventListener(Enums.Events.IMAGE_RENDERED, draw);
      layer.free();
    };
  }, [mine, element, id]);

  if (!mine) return null;
  return (
    <>
      {problem && <span className="preview-note bad">{problem}</span>}
      {side === "swipe" && <Curtain />}
      <Note />
    </>
  );
}

function Curtain() {
  const curtain = useSyncExternalStore(preview.watch, () => preview.state.curtain);
  const box = useRef<HTMLDivElement>(null);
  const to = (part: number) => preview.set({ curtain: Math.min(1, Math.max(0, part)) });
  const move = (event: React.PointerEvent) => {
    const rect = box.current?.parentElement?.getBoundingClientRect();
    if (event.buttons === 1 && rect) to((event.clientX - rect.left) / rect.width);
  };
  return (
    <div
      ref={box}
      className="curtain"
      style={{ left: `${curtain * 100}%` }}
      role="slider"
      tabIndex={0}
      aria-label="Curtain between before and after"
      aria-valuenow={Math.round(curtain * 100)}
      onPointerDown={(e) => e.currentTarget.setPointerCapture(e.pointerId)}
      onPointerMove={move}
      onKeyDown={(e) => {
        if (e.key === "ArrowLeft") to(curtain - 0.02);
        if (e.key === "ArrowRight") to(curtain + 0.02);
        if (e.key.startsWith("Arrow")) e.stopPropagation();
      }}
    >
      <i />
      <span className="tag before">before</span>
      <span className="tag after">after</span>
    </div>
  );
}

const STAGE: Record<string, string> = {
  draft: "preview: this slice alone",
  slice: "preview",
  volume: "processed",
  source: "",
};

function Note() {
  const stage = useSyncExternalStore(preview.watch, () => preview.state.shown?.stage ?? "source");
  const text = STAGE[stage];
  return text ? <span className="preview-note">{text}</span> : null;
}
