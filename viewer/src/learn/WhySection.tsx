/** Why a model answered as it did, and where it doubts: maps over the series it looked at. */

import { useCallback, useEffect, useState } from "react";

import type { ModelTold } from "../api/learning";
import { Running } from "../jobs/Running";
import { useJob } from "../jobs/useJob";
import type { PanelProps } from "../study/SidePanel";
import { seriesName } from "../study/series";
import { isStack } from "../study/state";
import { useSeries } from "../study/useSeries";
import { figure } from "../tools/lines";
import { gradient } from "../viewport/palettes";
import { type Answer, useAnswers } from "./answers";
import { METHOD_NAMES, PALETTE, isEmpty, isMap, methodName, rangeOf, sourceOf, toldOf } from "./maps";

const OPACITY = 0.6;

export function WhySection(props: PanelProps & { models: ModelTold[] | undefined }) {
  const { state, rows, models, dispatch, reload } = props;
  const answers = useAnswers(rows, models);
  const [method, setMethod] = useState("gradcam");
  const [lost, setLost] = useState("");
  const done = async (outputs: string[], source: string) => {
    const now = await reload();
    const row = now.find((r) => outputs.includes(r.uid));
    if (!row) return setLost(`The map ${outputs[0] ?? ""} is not in this study.`);
    if (!isStack(state.layout) && state.layout !== "mpr") dispatch({ do: "layout", layout: "one", rows: now });
    dispatch({ do: "source", series: source });
    dispatch({ do: "set", part: { map: { series: row.uid, opacity: OPACITY } } });
  };
  const job = useJob((outputs, source) => void done(outputs, source));

  const { start } = job;
  const why = useCallback(
    ({ model, inputs, anyway }: Answer) => {
      setLost("");
      start("learn.explain", inputs, { model: model.name, method, anyway }, inputs[0]?.split("#")[0]);
    },
    [start, method],
  );
  const doubt = ({ model, inputs, anyway }: Answer) => {
    setLost("");
    start("models.uncertainty", inputs, { models: model.name, anyway }, inputs[0]?.split("#")[0]);
  };

  // Asked for elsewhere, beside the finding: it is explained as soon as it is known here.
  const asked = answers.find((a) => a.row.uid === state.why);
  useEffect(() => {
    if (!asked) return;
    dispatch({ do: "set", part: { why: undefined } });
    if (!asked.model.why_not) why(asked);
  }, [asked, why, dispatch]);

  const maps = rows.filter(isMap);
  return (
    <>
      <section>
        <h3>Answers of models</h3>
        {answers.length === 0 && (
          <p className="dim">None in this study. Operations named “classify”, “segment” and “models” give them.</p>
        )}
        <ul className="answers">
          {answers.map((a) => (
            <li key={a.row.uid} data-answer={a.row.uid} data-model={a.model.name}>
              <b>{a.said}</b>
              <small className="dim">{a.model.name}</small>
              <div className="row-of">
                <button
                  className="small"
                  disabled={a.model.why_not !== "" || job.busy}
                  aria-label={`Why ${a.said}?`}
                  onClick={() => why(a)}
                >
                  Why?
                </button>
                {a.model.task === "segment" && (
                  <button className="small" disabled={job.busy} aria-label={`Doubt about ${a.said}`} onClick={() => doubt(a)}>
                    Doubt
                  </button>
                )}
              </div>
              {a.model.why_not && <p className="hint">Not to be explained: {a.model.why_not}.</p>}
            </li>
          ))}
        </ul>
        {answers.some((a) => !a.model.why_not) && (
          <label className="field">
            <span>Explained by</span>
            <select aria-label="Method of explanation" value={method} onChange={(e) => setMethod(e.target.value)}>
              {METHOD_NAMES.map((m) => (
                <option key={m} value={m}>
                  {methodName(m)}
                </option>
              ))}
            </select>
          </label>
        )}
        {job.busy && (
          <Running label="Explaining" progress={job.job?.progress ?? 0} {...(job.job ? { onCancel: job.cancel } : {})} />
        )}
        {(job.error || lost) && (
          <p className="bad" role="alert">
            {job.error || lost}
          </p>
        )}
      </section>
      {maps.length > 0 && (
        <section>
          <h3>Maps</h3>
          <div className="chips single">
            {maps.map((r) => (
              <button
                key={r.uid}
                data-map={r.uid}
                aria-pressed={state.map?.series === r.uid}
                onClick={() =>
                  dispatch({
                    do: "set",
                    part: { map: state.map?.series === r.uid ? undefined : { series: r.uid, opacity: OPACITY } },
                  })
                }
              >
                {seriesName(r)}
              </button>
            ))}
          </div>
        </section>
      )}
      {state.map && <Shown {...props} />}
    </>
  );
}

/** The map that is laid over the pictures: its colours, its opacity, how far to trust it. */
function Shown({ state, rows, dispatch }: PanelProps) {
  const { map } = state;
  const { series, error } = useSeries(rows.find((r) => r.uid === map?.series));
  const source = sourceOf(series?.metadata[0]);
  useEffect(() => {
    if (source) dispatch({ do: "source", series: source });
  }, [source, dispatch]);
  if (!map) return null;
  if (!series) return <section>{error ? <p className="bad" role="alert">{error}</p> : <p className="dim">Reading the map…</p>}</section>;
  const told = toldOf(series);
  const { lower, upper } = rangeOf(series);
  const on = rows.find((r) => r.uid === source);
  return (
    <section data-map-shown={series.row.uid}>
      <h3>{told?.title ?? seriesName(series.row)}</h3>
      {on && <p className="dim">over {seriesName(on)}</p>}
      <div className="map-legend" role="img" aria-label={`Colours from ${figure(lower)} to ${figure(upper)}`}>
        <span>{figure(lower)}</span>
        <i style={{ background: gradient(PALETTE, "to right") }} />
        <span>
          {figure(upper)} {told?.unit}
        </span>
      </div>
      <label className="slider">
        <span className="dim">Opacity</span>
        <input
          type="range"
          min={0}
          max={1}
          step={0.05}
          value={map.opacity}
          aria-label="Opacity of the map"
          onChange={(e) => dispatch({ do: "set", part: { map: { ...map, opacity: Number(e.target.value) } } })}
        />
        <output>{Math.round(map.opacity * 100)} %</output>
      </label>
      {told?.kind === "explanation" && isEmpty(series) && (
        <p className="warn">The map is empty: by this method no place speaks for the answer. Try another one.</p>
      )}
      {told?.kind === "explanation" && <Faithfulness told={told} />}
      {told?.kind === "doubt" && (
        <p className="hint">0 is certain, 1 is every class alike likely. A model can be certain and wrong.</p>
      )}
    </section>
  );
}

function Faithfulness({ told }: { told: NonNullable<ReturnType<typeof toldOf>> }) {
  const { faithful } = told;
  if (!faithful) {
    return <p className="hint">Not tested: an image of nothing scores as high as this one.</p>;
  }
  const { deletion, insertion, chance } = faithful;
  const better = deletion < chance[0] && insertion > chance[1];
  return (
    <>
      <table className="findings" aria-label="Faithfulness of the map">
        <tbody>
          <tr>
            <th scope="row">Deletion (low is good)</th>
            <td data-figure="deletion">{deletion.toFixed(2)}</td>
            <td className="dim">chance {chance[0].toFixed(2)}</td>
          </tr>
          <tr>
            <th scope="row">Insertion (high is good)</th>
            <td data-figure="insertion">{insertion.toFixed(2)}</td>
            <td className="dim">chance {chance[1].toFixed(2)}</td>
          </tr>
        </tbody>
      </table>
      <p className={better ? "good" : "warn"}>
        {better
          ? "The model does lean on these places more than on random ones."
          : "No better than a random map: do not lean on it."}
      </p>
    </>
  );
}
