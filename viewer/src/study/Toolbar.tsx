/** Tools of the left button, acts on the active pane, layouts, cine. */

import type { Dispatch } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { Icon } from "../parts/Icon";
import { useDrawing } from "../draw/store";
import { TOOLS } from "../tools/names";
import { flip, invert, reset, rotate } from "../viewport/commands";
import type { Action, Layout, State } from "./state";

const LAYOUTS: { id: Layout; label: string; key: string }[] = [
  { id: "one", label: "One stack", key: "s" },
  { id: "two", label: "Two stacks", key: "" },
  { id: "four", label: "Four stacks", key: "" },
  { id: "mpr", label: "Three planes", key: "m" },
  { id: "volume", label: "Volume rendering", key: "d" },
  { id: "compare", label: "Compare", key: "c" },
  { id: "followup", label: "Follow-up", key: "f" },
];

export function Toolbar(props: {
  state: State;
  pane: string;
  rows: SeriesRow[];
  reason: string;
  cine: { playing: boolean; fps: number; toggle: () => void; setFps: (fps: number) => void };
  dispatch: Dispatch<Action>;
}) {
  const { state, pane, dispatch, cine } = props;
  const set = (part: Partial<State>) => dispatch({ do: "set", part });
  const flat = state.layout !== "volume";
  const drawing = useDrawing().drawing !== undefined;
  return (
    <div className="toolbar" role="toolbar" aria-label="Viewing tools">
      <div className="group">
        {TOOLS.filter((t) => t.only === undefined || (t.only === "mpr" ? state.layout === "mpr" : drawing)).map((t) => (
          <button
            key={t.id}
            className="tool"
            aria-pressed={state.tool === t.id}
            data-tool={t.id}
            title={`${t.label} (${t.key})`}
            aria-label={t.label}
            disabled={!flat && t.measures === true}
            onClick={() => set({ tool: t.id })}
          >
            <Icon name={t.id} />
            <span>{t.label}</span>
          </button>
        ))}
      </div>
      <div className="group">
        <button className="tool" title="Invert (i)" aria-label="Invert" disabled={!flat} onClick={() => invert(pane)}>
          <Icon name="invert" />
        </button>
        <button className="tool" title="Flip left-right (h)" aria-label="Flip left-right" disabled={!flat} onClick={() => flip(pane, "horizontal")}>
          <Icon name="fliph" />
        </button>
        <button className="tool" title="Flip top-bottom (v)" aria-label="Flip top-bottom" disabled={!flat} onClick={() => flip(pane, "vertical")}>
          <Icon name="flipv" />
        </button>
        <button className="tool" title="Rotate by 90° (r)" aria-label="Rotate by 90 degrees" disabled={!flat} onClick={() => rotate(pane, 90)}>
          <Icon name="rotate" />
        </button>
        <button className="tool" title="Reset the view (Home)" aria-label="Reset the view" onClick={() => reset(pane)}>
          <Icon name="reset" />
        </button>
        <button
          className="tool"
          title="Corner text (o)"
          aria-label="Corner text"
          aria-pressed={state.overlay}
          onClick={() => set({ overlay: !state.overlay })}
        >
          <Icon name="text" />
        </button>
      </div>
      <div className="group cine">
        <button
          className="tool"
          title="Cine (Space)"
          aria-label={cine.playing ? "Pause cine" : "Play cine"}
          aria-pressed={cine.playing}
          disabled={!flat}
          onClick={cine.toggle}
        >
          <Icon name={cine.playing ? "pause" : "play"} />
        </button>
        <label>
          <input
            type="number"
            min={1}
            max={60}
            value={cine.fps}
            aria-label="Frames per second"
            onKeyDown={(e) => e.key === "Enter" && e.currentTarget.blur()}
            onChange={(e) => cine.setFps(Math.min(60, Math.max(1, Number(e.target.value) || 1)))}
          />
          <span className="dim">fps</span>
        </label>
      </div>
      <span className="grow" />
      <div className="group layouts" role="group" aria-label="Layout">
        {LAYOUTS.map((l) => {
          const volumetric = l.id === "mpr" || l.id === "volume";
          const blocked = volumetric && props.reason !== "";
          return (
            <button
              key={l.id}
              className="tool"
              data-layout={l.id}
              aria-pressed={state.layout === l.id}
              aria-label={l.label}
              aria-disabled={blocked}
              title={blocked ? `${l.label}: ${props.reason}` : `${l.label}${l.key ? ` (${l.key})` : ""}`}
              onClick={() => !blocked && dispatch({ do: "layout", layout: l.id, rows: props.rows })}
            >
              <Icon name={l.id} />
            </button>
          );
        })}
      </div>
    </div>
  );
}
