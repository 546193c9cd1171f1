/** How the active picture is shown: window, colours, slab, fusion, rendering preset. */

import { useEffect, useReducer } from "react";

import { setColormap, setWindow } from "../viewport/commands";
import { Palettes } from "../parts/Palettes";
import { looksFor } from "../render/presets";
import { thresholdsOf } from "../viewport/PlanePane";
import { lookOf } from "../viewport/VolumePane";
import { useReadout, viewportOf } from "../viewport/readout";
import { level, prettyUnit } from "../tools/lines";
import { defaultWindow } from "../viewport/volumes";
import type { PanelProps } from "./SidePanel";
import { History } from "./History";
import { presetsFor } from "./presets";
import { valueRange } from "./range";
import { type Series, seriesName } from "./series";
import { useSeries } from "./useSeries";

export function DisplayPanel(props: PanelProps) {
  const { state, pane, series } = props;
  // The pane's element appears after this panel: look again shortly after every change of pane.
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    const timer = window.setInterval(again, 700);
    return () => window.clearInterval(timer);
  }, []);
  const readout = useReadout(pane, viewportOf(pane)?.element ?? null);
  if (!series) return <p className="dim pad">Choose a series.</p>;
  const volume = series.volume;
  const pictures = series.kind === "image";
  const header = defaultWindow(series);
  const presets = presetsFor(series.row.modality, series.unit, valueRange(pane));
  return (
    <div className="panel">
      {state.layout === "volume" ? (
        <Rendering {...props} />
      ) : (
        pictures && !series.colour && (
          <section>
            <h3>Window</h3>
            <div className="chips">
              {header && (
                <button onClick={() => setWindow(pane, header.width, header.center)} title="0">
                  Header <kbd>0</kbd>
                </button>
              )}
              {presets.map((p, i) => (
                <button key={p.label} data-preset={p.label} onClick={() => setWindow(pane, p.width, p.center)}>
                  {p.label} <kbd>{i + 1}</kbd>
                </button>
              ))}
            </div>
            {readout?.width !== undefined && (
              <div className="pair">
                <Figure
                  label="Width"
                  value={readout.width}
                  onSet={(w) => setWindow(pane, Math.max(w, 1e-6), readout.center ?? 0)}
                />
                <Figure
                  label="Level"
                  value={readout.center ?? 0}
                  onSet={(c) => setWindow(pane, readout.width ?? 1, c)}
                />
                <span className="dim unit">{prettyUnit(series.unit) || "raw"}</span>
              </div>
            )}
          </section>
        )
      )}
      {pictures && series.phases.length > 1 && state.layout !== "compare" && <Phase {...props} series={series} />}
      {pictures && !series.colour && state.layout !== "volume" && (
        <section>
          <h3>Colours</h3>
          <Palettes value={readout?.colormap ?? "soma-grey"} onChange={(name) => setColormap(pane, name)} />
        </section>
      )}
      {state.layout === "mpr" && <PlanesSection {...props} />}
      <section>
        <h3>Series</h3>
        <dl className="facts">
          <Fact label={pictures ? "Images" : "Instances"} value={String(pictures ? series.frames.length : series.metadata.length)} />
          {pictures && <PictureFacts series={series} />}
          {volume.ok && <Fact label="Slice distance" value={`${volume.spacing.toFixed(3)} mm`} />}
          {series.phases.length > 1 && <Fact label="Phases" value={String(series.phases.length)} />}
        </dl>
        <History dataset={series.metadata[0]} />
        {!volume.ok && series.kind === "image" && series.frames.length > 1 && (
          <p className="hint" data-reason="volume">
            Stack only. {volume.reason}
          </p>
        )}
      </section>
    </div>
  );
}

function Fact({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function PictureFacts({ series }: { series: Series }) {
  const frame = series.frames[0];
  const spacing = frame?.spacing?.map((v) => v.toFixed(3)).join(" × ");
  return (
    <>
      <Fact label="Matrix" value={`${frame?.columns ?? 0} × ${frame?.rows ?? 0}`} />
      <Fact label="Pixel" value={spacing ? `${spacing} mm` : "size unknown"} />
      {frame?.atDetector && <Fact label="Millimetres" value="at the detector" />}
      <Fact label="Unit" value={prettyUnit(series.unit) || "none"} />
    </>
  );
}

function Figure(props: { label: string; value: number; onSet: (v: number) => void }) {
  return (
    <label>
      <span className="dim">{props.label}</span>
      <input
        key={level(props.value)}
        defaultValue={level(props.value)}
        aria-label={props.label}
        inputMode="decimal"
        onBlur={(e) => {
          const v = Number(e.target.value);
          if (Number.isFinite(v) && e.target.value !== level(props.value)) props.onSet(v);
        }}
        onKeyDown={(e) => e.key === "Enter" && e.currentTarget.blur()}
      />
    </label>
  );
}

/** One of several volumes of a series: a time point, an echo, a b-value. */
function Phase({ state, series, dispatch }: PanelProps & { series: Series }) {
  const flat = state.layout !== "mpr" && state.layout !== "volume";
  const phase = state.phase ?? (flat ? undefined : 0);
  const set = (next: number | undefined) => dispatch({ do: "set", part: { phase: next } });
  return (
    <section>
      <h3>Phase</h3>
      <select
        aria-label="Phase"
        value={phase ?? ""}
        onChange={(e) => set(e.target.value === "" ? undefined : Number(e.target.value))}
      >
        {flat && <option value="">All {series.phases.length}, one after the other</option>}
        {series.phaseNames.map((name, i) => (
          <option key={i} value={i}>
            {i + 1}: {name}
          </option>
        ))}
      </select>
      <label className="slider">
        <span className="dim">Move</span>
        <input
          type="range"
          min={0}
          max={series.phases.length - 1}
          value={phase ?? 0}
          aria-label="Phase slider"
          onChange={(e) => set(Number(e.target.value))}
        />
        <output>
          {phase === undefined ? "all" : `${phase + 1} / ${series.phases.length}`}
        </output>
      </label>
    </section>
  );
}

function Rendering({ state, series, dispatch }: PanelProps) {
  if (!series) return null;
  const chosen = lookOf(series, state.preset).id;
  return (
    <section>
      <h3>Volume rendering</h3>
      <div className="chips">
        {looksFor(series.row.modality, series.unit).map((look) => (
          <button
            key={look.id}
            data-preset={look.id}
            aria-pressed={look.id === chosen}
            onClick={() => dispatch({ do: "set", part: { preset: look.id } })}
          >
            {look.label}
          </button>
        ))}
      </div>
      <p className="hint">Left turns, right and wheel zoom, middle moves.</p>
    </section>
  );
}

function PlanesSection({ state, rows, series, dispatch }: PanelProps) {
  const fusion = state.fusion;
  const others = rows.filter(
    (r) => r.uid !== series?.row.uid && r.content === "image",
  );
  const over = useSeries(rows.find((r) => r.uid === fusion?.series)).series;
  return (
    <>
      <section>
        <h3>Slab</h3>
        <div className="segmented" role="group" aria-label="Slab">
          {(["none", "mip", "minip", "mean"] as const).map((s) => (
            <button
              key={s}
              data-slab={s}
              aria-pressed={state.slab === s}
              onClick={() => dispatch({ do: "set", part: { slab: s } })}
            >
              {s === "none" ? "Thin" : s === "mean" ? "Mean" : s === "mip" ? "MIP" : "MinIP"}
            </button>
          ))}
        </div>
        <label className="slider">
          <span className="dim">Thickness</span>
          <input
            type="range"
            min={1}
            max={200}
            value={state.thickness}
            disabled={state.slab === "none"}
            aria-label="Slab thickness in millimetres"
            onChange={(e) => dispatch({ do: "set", part: { thickness: Number(e.target.value) } })}
          />
          <output>{state.thickness} mm</output>
        </label>
        <label className="check">
          <input
            type="checkbox"
            checked={state.crosshair}
            onChange={(e) => dispatch({ do: "set", part: { crosshair: e.target.checked } })}
          />
          Reference lines
        </label>
      </section>
      <section>
        <h3>Fusion</h3>
        <select
          aria-label="Series to fuse"
          value={fusion?.series ?? ""}
          onChange={(e) =>
            dispatch({
              do: "set",
              part: {
                fusion: e.target.value
                  ? {
                      series: e.target.value,
                      opacity: fusion?.opacity ?? 0.6,
                      colormap: fusion?.colormap ?? "soma-hot_iron",
                    }
                  : undefined,
              },
            })
          }
        >
          <option value="">No second series</option>
          {others.map((r) => (
            <option key={r.uid} value={r.uid}>
              {r.modality} {r.number ?? ""} {seriesName(r)}
            </option>
          ))}
        </select>
        {fusion && (
          <>
            <label className="slider">
              <span className="dim">Opacity</span>
              <input
                type="range"
                min={0}
                max={1}
                step={0.05}
                value={fusion.opacity}
                aria-label="Fusion opacity"
                onChange={(e) =>
                  dispatch({ do: "set", part: { fusion: { ...fusion, opacity: Number(e.target.value) } } })
                }
              />
              <output>{Math.round(fusion.opacity * 100)} %</output>
            </label>
            {over && <Threshold over={over} value={fusion.threshold} onChange={(threshold) => dispatch({ do: "set", part: { fusion: { ...fusion, threshold } } })} />}
            <Palettes
              mark="fusion"
              colourOnly
              value={fusion.colormap}
              onChange={(colormap) => dispatch({ do: "set", part: { fusion: { ...fusion, colormap } } })}
            />
          </>
        )}
      </section>
    </>
  );
}

/** Values nearer to zero are clear: where a map has nothing to say. */
function Threshold(props: { over: Series; value: number | undefined; onChange: (value: number | undefined) => void }) {
  const { over, value, onChange } = props;
  const { least, most } = thresholdsOf(over);
  return (
    <label className="slider">
      <span className="dim">Clear below</span>
      <input
        type="range"
        className={value === undefined ? "unset" : ""}
        min={least}
        max={most}
        step={most / 200}
        value={value ?? least}
        aria-label="Fusion threshold"
        onChange={(e) => onChange(Number(e.target.value) <= least ? undefined : Number(e.target.value))}
      />
      <output>{value === undefined ? "auto" : level(value)}</output>
    </label>
  );
}
