/** What the study screen shows: pure data, changed in one place. */

import type { SeriesRow } from "../api/dicomweb";
import type { Plane, Slab } from "../viewport/PlanePane";

export type Layout = "one" | "two" | "four" | "mpr" | "volume" | "compare" | "followup";
export type CompareMode = "swipe" | "side" | "checker" | "flicker";
export type Panel = "display" | "process" | "measure" | "operations" | "segments" | "learn";

export interface State {
  layout: Layout;
  /** series UID in each stack cell */
  cells: (string | undefined)[];
  /** index into the panes of the layout */
  active: number;
  tool: string;
  overlay: boolean;
  panel: Panel;
  slab: Slab;
  thickness: number;
  crosshair: boolean;
  fusion: { series: string; opacity: number; colormap: string; threshold?: number | undefined } | undefined;
  preset: string;
  /** which time point, echo or b-value; all of them (stack) or the first (planes) if undefined */
  phase: number | undefined;
  /** SEG series shown over its source */
  segmentation: string | undefined;
  /** a map of what a model looked at or doubts, over the series it was made of */
  map: { series: string; opacity: number } | undefined;
  /** report or segmentation of a model whose answer is to be explained */
  why: string | undefined;
  compare: { before: string; after: string; mode: CompareMode } | undefined;
  /** a second study whose series may be compared with this one's, or nothing */
  other: string;
}

export const INITIAL: State = {
  layout: "one",
  cells: [undefined, undefined, undefined, undefined],
  active: 0,
  tool: "window",
  overlay: true,
  panel: "display",
  slab: "none",
  thickness: 10,
  crosshair: true,
  fusion: undefined,
  preset: "",
  phase: undefined,
  segmentation: undefined,
  map: undefined,
  why: undefined,
  compare: undefined,
  other: "",
};

export const PLANES: Plane[] = ["axial", "sagittal", "coronal"];

export type Action =
  | { do: "set"; part: Partial<State> }
  | { do: "open"; series: string }
  /** a series without pictures: its facts, in a cell of the stacks */
  | { do: "read"; series: string }
  | { do: "source"; series: string }
  | { do: "layout"; layout: Layout; rows: SeriesRow[] }
  | { do: "compare"; before: string; after: string; mode?: CompareMode };

/** Whether the panes of a layout are stacks of images. */
export const isStack = (layout: Layout): boolean => layout === "one" || layout === "two" || layout === "four";

export function cellCount(layout: Layout): number {
  return layout === "two" ? 2 : layout === "four" ? 4 : 1;
}

/** The series the active pane shows. */
export function activeSeries(state: State): string | undefined {
  if (state.layout === "compare") {
    return state.active === 0 ? state.compare?.before : state.compare?.after;
  }
  return state.layout === "mpr" || state.layout === "volume"
    ? state.cells[0]
    : state.cells[state.active];
}

export function paneId(state: State): string {
  switch (state.layout) {
    case "mpr":
      return state.active === 3 ? "mpr-volume" : `mpr-${PLANES[state.active] ?? "axial"}`;
    case "volume":
      return "volume-main";
    case "compare":
      return state.active === 0 ? "compare-before" : "compare-after";
    case "followup":
      return state.active === 0 ? "follow-prior" : "follow-current";
    default:
      return `stack-${state.active}`;
  }
}

export function reduce(state: State, action: Action): State {
  switch (action.do) {
    case "set":
      return { ...state, ...action.part };
    case "open": {
      const stack = cellCount(state.layout) > 1 || state.layout === "one";
      const index = stack ? state.active : 0;
      const cells = state.cells.map((c, i) => (i === index ? action.series : c));
      const fusion = state.fusion?.series === action.series ? undefined : state.fusion;
      if (state.layout === "compare" || state.layout === "followup") return { ...state, layout: "one", active: 0, cells: [action.series, ...state.cells.slice(1)], fusion, phase: undefined };
      const same = state.cells[index] === action.series;
      return { ...state, cells, fusion, preset: same ? state.preset : "", phase: same ? state.phase : undefined };
    }
    case "read": {
      const stack = cellCount(state.layout) > 1 || state.layout === "one";
      const start: State = stack ? state : { ...state, layout: "one", active: 0 };
      return reduce(start, { do: "open", series: action.series });
    }
    case "source": {
      const visible =
        state.layout === "compare"
          ? [state.compare?.before, state.compare?.after]
          : state.cells.slice(0, cellCount(state.layout));
      return visible.includes(action.series)
        ? state
        : reduce(state, { do: "open", series: action.series });
    }
    case "layout": {
      const current = activeSeries(state) ?? state.cells[0];
      const n = cellCount(action.layout);
      const others = action.rows.map((r) => r.uid).filter((uid) => uid !== current);
      const cells = [current, ...others.slice(0, 3)];
      while (cells.length < 4) cells.push(undefined);
      const compare =
        action.layout === "compare" && current
          ? (state.compare ?? { before: current, after: others[0] ?? current, mode: "swipe" as const })
          : state.compare;
      return {
        ...state,
        layout: action.layout,
        cells: n > 1 ? cells : [current, ...cells.slice(1)],
        active: 0,
        compare,
      };
    }
    case "compare":
      return {
        ...state,
        layout: "compare",
        active: 1,
        compare: { before: action.before, after: action.after, mode: action.mode ?? state.compare?.mode ?? "swipe" },
      };
  }
}
