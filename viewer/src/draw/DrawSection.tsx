/** Drawing by hand: an outline to be kept, or scribbles from which an operation outlines. */

import { useEffect, useState } from "react";

import { saveOutline } from "../api/learning";
import { says } from "../api/http";
import { Running } from "../jobs/Running";
import { markCorrected } from "../learn/intent";
import { useJob } from "../jobs/useJob";
import type { Laid } from "../segments/lay";
import type { PanelProps } from "../study/SidePanel";
import { seriesName } from "../study/series";
import { figure } from "../tools/lines";
import { editOneOf, toStack } from "./begin";
import { niftiOf } from "./nifti";
import { knotsOf, pointsOf } from "./points";
import {
  type Drawing, addLabel, canUndo, counts, discard, edit, newOutline, rename, scribble, setPen, undo, useDrawing,
} from "./store";

const INSIDE = 1;
const OUTSIDE = 2;

interface Way {
  operation: string;
  label: string;
  help: string;
  /** marks it takes: inside and outside, inside alone, or the last stroke along the border */
  takes: "both" | "inside" | "stroke";
}

const WAYS: Way[] = [
  {
    operation: "segment.random_walker", label: "Random walker", takes: "both",
    help: "Each voxel goes to the mark that a random walk meets first; weak edges are closed.",
  },
  {
    operation: "segment.graph_cut", label: "Graph cut", takes: "both",
    help: "The cheapest border between both sides, whose values are learned from the marks.",
  },
  {
    operation: "segment.grow", label: "Region growing", takes: "inside",
    help: "Spreads from the marks over what is like them, and stops where it would leak.",
  },
  {
    operation: "segment.live_wire", label: "Live wire", takes: "stroke",
    help: "Closes your last stroke along the border into a contour that follows the edges of its slice.",
  },
];

const css = (c: readonly number[] | undefined) => `rgb(${(c ?? [255, 255, 255]).join(" ")})`;

export function DrawSection(props: PanelProps & { shown: Laid | undefined }) {
  const { state, rows, series, shown, dispatch, reload } = props;
  const { drawing, pen } = useDrawing();
  const [error, setError] = useState("");
  const [saving, setSaving] = useState(false);
  const [kept, setKept] = useState("");
  const [name, setName] = useState("Object");
  const [way, setWay] = useState(WAYS[0]?.operation ?? "");
  const uid = drawing?.series.row.uid;
  useEffect(() => setError(""), [uid, drawing?.purpose]);
  useEffect(() => discard, []); // what is drawn belongs to this study

  const outlined = async (outputs: string[]) => {
    const now = await reload();
    const row = await editOneOf(outputs, state, now, dispatch);
    if (!row) setError("The operation outlined nothing.");
  };
  const job = useJob((outputs) => void outlined(outputs).catch((e: unknown) => setError(says(e))));

  const start = (begin: () => void, on: string) => {
    setKept("");
    begin();
    toStack(state, on, rows, dispatch);
  };
  const save = async (made: Drawing) => {
    setSaving(true);
    setError("");
    try {
      const label = await saveOutline(made.series.row.uid, await niftiOf(made), made.names);
      markCorrected(made.series.row.uid);
      await reload();
      setKept(label);
      discard();
      dispatch({ do: "set", part: { tool: "window", segmentation: label } });
    } catch (e) {
      setError(says(e));
    } finally {
      setSaving(false);
    }
  };
  const run = (made: Drawing) => {
    setError("");
    try {
      const takes = WAYS.find((w) => w.operation === way)?.takes;
      const points = takes === "stroke" ? knotsOf(made) : pointsOf(made, INSIDE);
      const outside = takes === "both" ? { outside: pointsOf(made, OUTSIDE) } : {};
      job.start(way, [made.series.row.uid], { points, ...outside, label: name || "Object" });
    } catch (e) {
      setError(says(e));
    }
  };

  const pictures = series?.kind === "image" && !series.colour;
  if (!drawing) {
    return (
      <section data-draw="none">
        <h3>Draw</h3>
        <div className="chips single">
          {shown && (
            <button data-draw-on="edit" onClick={() => start(() => edit(shown), shown.source.row.uid)}>
              Edit a copy of this segmentation
            </button>
          )}
          <button
            data-draw-on="scribbles"
            disabled={!pictures}
            onClick={() => series && start(() => scribble(series), series.row.uid)}
          >
            Outline from scribbles
          </button>
          <button
            data-draw-on="outline"
            disabled={series?.kind !== "image"}
            onClick={() => series && start(() => newOutline(series), series.row.uid)}
          >
            Outline by hand
          </button>
        </div>
        {kept && (
          <p className="good" role="status" data-kept={kept}>
            Kept: this series counts as a corrected case.{" "}
            <button className="small" onClick={() => dispatch({ do: "set", part: { panel: "learn" } })}>
              Next case
            </button>
          </p>
        )}
        {job.error && <p className="bad" role="alert">{job.error}</p>}
      </section>
    );
  }

  const found = counts(drawing);
  const scribbles = drawing.purpose === "scribbles";
  const chosen = WAYS.find((w) => w.operation === way);
  const lacking =
    (found[INSIDE - 1] ?? 0) === 0
      ? "Draw on what is to be outlined."
      : scribbles && chosen?.takes === "both" && (found[OUTSIDE - 1] ?? 0) === 0
        ? "Draw on what lies outside, too."
        : "";
  return (
    <section data-draw={drawing.purpose}>
      <h3>
        {scribbles ? "Scribbles on" : "Outline on"} {seriesName(drawing.series.row)}
      </h3>
      <ul className="pens" role="radiogroup" aria-label="The pen draws">
        {drawing.names.map((label, i) => (
          <li key={i}>
            <label className="check">
              <input
                type="radio"
                name="pen"
                data-pen={i + 1}
                checked={pen.label === i + 1}
                onChange={() => setPen({ label: i + 1 })}
              />
              <i className="swatch" style={{ background: css(drawing.colours[i]) }} />
              {scribbles ? (
                <span>{label}</span>
              ) : (
                <input value={label} aria-label={`Name of segment ${i + 1}`} onChange={(e) => rename(i + 1, e.target.value)} />
              )}
              <small className="dim">{found[i] ?? 0} pixels</small>
            </label>
          </li>
        ))}
        <li>
          <label className="check">
            <input type="radio" name="pen" data-pen="0" checked={pen.label === 0} onChange={() => setPen({ label: 0 })} />
            <span>Rubber</span>
          </label>
        </li>
      </ul>
      <label className="slider">
        <span className="dim">Pen</span>
        <input
          type="range"
          min={0.1}
          max={Math.max(20, pen.radius)}
          step={0.1}
          value={pen.radius}
          aria-label="Radius of the pen in millimetres"
          onChange={(e) => setPen({ radius: Number(e.target.value) })}
        />
        <output>{figure(pen.radius)} mm</output>
      </label>
      <div className="row-of">
        <button
          aria-pressed={state.tool === "draw"}
          onClick={() => dispatch({ do: "set", part: { tool: "draw" } })}
          title="Draw with the left button (t)"
        >
          Draw <kbd>t</kbd>
        </button>
        <button disabled={!canUndo()} onClick={undo} title="Take the last stroke back (u)">
          Undo <kbd>u</kbd>
        </button>
        {!scribbles && <button onClick={addLabel}>Add segment</button>}
      </div>
      {scribbles && (
        <>
          <label className="field">
            <span>Method</span>
            <select aria-label="Method of outlining" value={way} onChange={(e) => setWay(e.target.value)}>
              {WAYS.map((w) => (
                <option key={w.operation} value={w.operation}>
                  {w.label}
                </option>
              ))}
            </select>
            <small className="dim">{chosen?.help}</small>
          </label>
          <label className="field">
            <span>Name</span>
            <input value={name} aria-label="Name of the segment" maxLength={64} onChange={(e) => setName(e.target.value)} />
          </label>
        </>
      )}
      {job.busy && (
        <Running label="Outlining" progress={job.job?.progress ?? 0} {...(job.job ? { onCancel: job.cancel } : {})} />
      )}
      <div className="row-of">
        {scribbles ? (
          <button className="primary" data-act="outline" disabled={lacking !== "" || job.busy} onClick={() => run(drawing)}>
            Outline
          </button>
        ) : (
          <button
            className="primary"
            data-act="save"
            disabled={found.every((n) => n === 0) || saving}
            onClick={() => void save(drawing)}
          >
            {saving ? "Saving…" : "Save as correction"}
          </button>
        )}
        <button
          onClick={() => {
            job.cancel();
            discard();
            dispatch({ do: "set", part: { tool: "window" } });
          }}
        >
          Discard
        </button>
      </div>
      {scribbles && lacking && <p className="hint">{lacking}</p>}
      {!scribbles && drawing.from && !drawing.changed && (
        <p className="hint">Nothing is changed yet. Saved as it is, it counts as confirmed by you.</p>
      )}
      {(error || job.error) && (
        <p className="bad" role="alert">
          {error || job.error}
        </p>
      )}
    </section>
  );
}
