/** Histogram and figures of the slice, of a region drawn on it, or of the volume. */

import type { Dispatch } from "react";

import type { Action } from "../study/state";
import { figure, prettyUnit } from "../tools/lines";
import { HistogramPlot } from "./HistogramPlot";
import type { Counted } from "./connection";
import { preview } from "./preview";
import type { Scope, State } from "./state";

const SCOPES: [Scope, string][] = [
  ["slice", "Slice"],
  ["region", "Region"],
  ["volume", "Volume"],
];

export function HistogramSection(props: {
  state: State;
  limits: [number, number];
  onLimits: (limits: [number, number]) => void;
  dispatch: Dispatch<Action>;
}) {
  const { state, limits, onLimits, dispatch } = props;
  const { counted, scope, marked } = state;
  const choose = (next: Scope) => {
    preview.set({ scope: next, counted: undefined, marked: undefined });
    preview.count();
  };
  const tool = (id: string) => dispatch({ do: "set", part: { tool: id } });
  return (
    <section>
      <h3>Histogram</h3>
      <div className="segmented" role="group" aria-label="Histogram of">
        {SCOPES.map(([id, label]) => (
          <button key={id} data-scope={id} aria-pressed={scope === id} onClick={() => choose(id)}>
            {label}
          </button>
        ))}
      </div>
      {counted ? (
        <>
          <HistogramPlot
            counted={counted}
            limits={limits}
            marked={marked}
            onLimits={onLimits}
            onMarked={(range) => preview.set({ marked: range })}
          />
          {marked ? (
            <div className="result-line">
              <span className="marked" data-marked={marked.join(" ")}>
                {figure(marked[0])} to {figure(marked[1])} {prettyUnit(unitOf(counted))}: {share(counted, marked)}
              </span>
              <button className="small quiet" onClick={() => preview.set({ marked: undefined })}>
                Clear
              </button>
            </div>
          ) : (
            <p className="hint">Drag a range to mark its voxels, a handle to set the window.</p>
          )}
          <Figures counted={counted} />
        </>
      ) : scope === "region" ? (
        <>
          <p className="hint">Draw an ellipse or a rectangle on the image.</p>
          <div className="chips">
            <button onClick={() => tool("ellipse")}>
              Ellipse <kbd>e</kbd>
            </button>
            <button onClick={() => tool("rectangle")}>
              Rectangle <kbd>b</kbd>
            </button>
          </div>
        </>
      ) : (
        <p className="dim">{scope === "volume" && state.volume?.state === "running" ? "The volume is computed …" : "Counting …"}</p>
      )}
    </section>
  );
}

const unitOf = (counted: Counted) => (counted.unit === "1" ? "" : counted.unit);

/** How many of the values lie in the range, from whole bins. */
function share(counted: Counted, [a, b]: [number, number]): string {
  const bin = (counted.upper - counted.lower) / counted.counts.length;
  let inside = 0;
  counted.counts.forEach((n, i) => {
    const middle = counted.lower + (i + 0.5) * bin;
    if (middle >= a && middle <= b) inside += n;
  });
  return `${((100 * inside) / Math.max(counted.count, 1)).toFixed(1)} %`;
}

function Figures({ counted }: { counted: Counted }) {
  const unit = prettyUnit(unitOf(counted));
  const rows: [string, string][] = [
    ["Mean", figure(counted.mean)],
    ["SD", figure(counted.sd)],
    ["Median", figure(counted.median)],
    ["Mode", figure(counted.mode)],
    ["Least", figure(counted.minimum)],
    ["Greatest", figure(counted.maximum)],
    ["5 %", figure(counted.percentiles["5"] ?? NaN)],
    ["95 %", figure(counted.percentiles["95"] ?? NaN)],
    ["FWHM", figure(counted.fwhm)],
    ["Entropy", `${counted.entropy.toFixed(2)} bit`],
    ["Skewness", counted.skewness.toFixed(2)],
    ["Kurtosis", counted.kurtosis.toFixed(2)],
    ["Pixels", String(counted.count)],
    counted.area !== undefined
      ? ["Area", `${figure(counted.area)} mm²`]
      : ["Volume", `${figure(counted.volume ?? 0)} ml`],
  ];
  return (
    <>
      <dl className="facts two" aria-label="Statistics">
        {rows.map(([name, value]) => (
          <div key={name} data-figure={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {unit && <p className="hint">Values in {unit}</p>}
    </>
  );
}
