/** Keys on the study screen; `keys.ts` is the map people read. */

import { annotation } from "@cornerstonejs/tools";
import { type Dispatch, useEffect, useRef } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { canUndo, drawn, undo } from "../draw/store";
import { go } from "../router";
import { TOOLS } from "../tools/names";
import { flip, invert, reset, rotate, scrollBy, setWindow, zoomBy } from "../viewport/commands";
import { currentEngine } from "../viewport/engine";
import { defaultWindow } from "../viewport/volumes";
import { presetsFor } from "./presets";
import { valueRange } from "./range";
import type { Series } from "./series";
import type { Action, State } from "./state";

export interface KeyContext {
  state: State;
  pane: string;
  rows: SeriesRow[];
  series: Series | undefined;
  reason: string;
  cine: { toggle: () => void };
  dispatch: Dispatch<Action>;
}

function removeSelected(): void {
  for (const uid of annotation.selection.getAnnotationsSelected()) {
    annotation.state.removeAnnotation(uid);
  }
  currentEngine()?.render();
}

function press(key: string, c: KeyContext): boolean {
  const { state, pane, dispatch, series } = c;
  const digit = /^[0-9]$/.test(key) ? Number(key) : undefined;
  if (digit !== undefined && series) {
    const preset =
      digit === 0
        ? defaultWindow(series)
        : presetsFor(series.row.modality, series.unit, valueRange(pane))[digit - 1];
    if (preset) setWindow(pane, preset.width, preset.center);
    return true;
  }
  const tool = TOOLS.find((t) => t.key === key);
  if (tool) {
    if (tool.only === "mpr" && state.layout !== "mpr") return false;
    if (tool.only === "drawing" && !drawn().drawing) return false;
    dispatch({ do: "set", part: { tool: tool.id } });
    return true;
  }
  const layout = { s: "one", m: "mpr", d: "volume", c: "compare", f: "followup" }[key] as State["layout"] | undefined;
  if (layout) {
    if ((layout === "mpr" || layout === "volume") && c.reason) return false;
    dispatch({ do: "layout", layout, rows: c.rows });
    return true;
  }
  switch (key) {
    case "i":
      invert(pane);
      return true;
    case "h":
      flip(pane, "horizontal");
      return true;
    case "v":
      flip(pane, "vertical");
      return true;
    case "r":
      rotate(pane, 90);
      return true;
    case "+":
    case "=":
      zoomBy(pane, 1.2);
      return true;
    case "-":
      zoomBy(pane, 1 / 1.2);
      return true;
    case "Home":
      reset(pane);
      return true;
    case "u":
      if (!canUndo()) return false;
      undo();
      return true;
    case "o":
      dispatch({ do: "set", part: { overlay: !state.overlay } });
      return true;
    case "ArrowUp":
      scrollBy(pane, -1);
      return true;
    case "ArrowDown":
      scrollBy(pane, 1);
      return true;
    case "PageUp":
      scrollBy(pane, -10);
      return true;
    case "PageDown":
      scrollBy(pane, 10);
      return true;
    case " ":
      c.cine.toggle();
      return true;
    case "[":
    case "]": {
      const index = c.rows.findIndex((r) => r.uid === series?.row.uid);
      const next = c.rows[index + (key === "]" ? 1 : -1)];
      if (next) dispatch({ do: "open", series: next.uid });
      return true;
    }
    case ",":
    case ".": {
      const count = series?.phases.length ?? 1;
      if (count < 2) return false;
      const step = key === "." ? 1 : count - 1;
      dispatch({ do: "set", part: { phase: ((state.phase ?? (key === "." ? -1 : 0)) + step + count) % count } });
      return true;
    }
    case "Delete":
    case "Backspace":
      removeSelected();
      return true;
    default:
      return false;
  }
}

export function useKeys(context: KeyContext): void {
  const latest = useRef(context);
  latest.current = context;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const target = event.target instanceof Element ? event.target : undefined;
      if (target?.closest("input,textarea,select,[role=slider]")) return;
      const overlay = document.querySelector("[role=dialog], .drawer");
      if (event.key === "Escape" && !overlay) {
        go("/");
        return;
      }
      if (overlay?.matches("[role=dialog]")) return;
      if (event.key === " " && target?.closest("button")) return;
      if (press(event.key, latest.current)) event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
