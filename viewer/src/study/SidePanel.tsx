/** The right-hand panel: display, processing, measurements, operations and results, segments, learning. */

import type { Dispatch } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { LearnPanel } from "../learn/LearnPanel";
import { OperationsPanel } from "../operations/OperationsPanel";
import { ProcessPanel } from "../process/ProcessPanel";
import { SegmentsPanel } from "../segments/SegmentsPanel";
import { DisplayPanel } from "./DisplayPanel";
import { MeasurePanel } from "./MeasurePanel";
import type { Series } from "./series";
import type { Action, Panel, State } from "./state";

const PANELS: { id: Panel; label: string }[] = [
  { id: "display", label: "Display" },
  { id: "process", label: "Process" },
  { id: "measure", label: "Measure" },
  { id: "operations", label: "Operations" },
  { id: "segments", label: "Segments" },
  { id: "learn", label: "Learn" },
];

export interface PanelProps {
  state: State;
  pane: string;
  rows: SeriesRow[];
  /** the active series: its row in the list, and itself once it is read */
  row: SeriesRow | undefined;
  series: Series | undefined;
  dispatch: Dispatch<Action>;
  reload: () => Promise<SeriesRow[]>;
}

export function SidePanel(props: PanelProps & { error: string; panes: number }) {
  const { state, dispatch } = props;
  return (
    <aside className="side" aria-label="Panel">
      <div className="tabs" role="tablist">
        {PANELS.map((p) => (
          <button
            key={p.id}
            role="tab"
            aria-selected={state.panel === p.id}
            data-panel={p.id}
            onClick={() => dispatch({ do: "set", part: { panel: p.id } })}
          >
            {p.label}
          </button>
        ))}
      </div>
      <div className="tab-body" role="tabpanel">
        {props.error && (
          <p className="bad pad" role="alert">
            {props.error}
          </p>
        )}
        {state.panel === "display" && <DisplayPanel {...props} />}
        <div hidden={state.panel !== "process"}>
          <ProcessPanel {...props} />
        </div>
        {state.panel === "measure" && <MeasurePanel {...props} />}
        {state.panel === "operations" && <OperationsPanel {...props} />}
        <div hidden={state.panel !== "segments"}>
          <SegmentsPanel {...props} />
        </div>
        <div hidden={state.panel !== "learn"}>
          <LearnPanel {...props} />
        </div>
      </div>
    </aside>
  );
}
