/** The processing page: a chain on the visible slice, how it is seen, its histogram, and keeping it. */

import { useEffect, useState, useSyncExternalStore } from "react";

import { getChains, getOperations, submitJob } from "../api/application";
import { says } from "../api/http";
import { JobList } from "../jobs/JobList";
import { add, useJobs } from "../jobs/store";
import { showResult } from "../operations/show";
import type { PanelProps } from "../study/SidePanel";
import { COLORMAPS } from "../viewport/colormaps";
import { setWindow } from "../viewport/commands";
import { useReadout, viewportOf } from "../viewport/readout";
import { widthLevel } from "../viewport/window";
import { ChainPanel } from "./ChainPanel";
import { HistogramSection } from "./HistogramSection";
import { Presets } from "./Presets";
import { limitsOf } from "./PreviewLayer";
import { jobOf, stepsOf } from "./chain";
import { preview } from "./preview";
import { PLAIN, type Side, type State, isPlain } from "./state";

const SIDES: [Side, string][] = [
  ["before", "Before"],
  ["swipe", "Swipe"],
  ["after", "After"],
];

export function ProcessPanel(props: PanelProps & { panes: number }) {
  const { state: screen, pane, series, row, panes } = props;
  const state = useSyncExternalStore(preview.watch, preview.now);
  const stacks = ["one", "two", "four"].includes(screen.layout);
  const fits = stacks && series?.kind === "image";
  const open = screen.panel === "process";
  const working = stepsOf(state.chain).length > 0 || !isPlain(state.tone) || state.marked !== undefined;
  // The pane's element appears after this panel: it is looked for again when a pane is ready.
  const readout = useReadout(pane, viewportOf(pane)?.element ?? null);

  useEffect(() => {
    if (!open || state.operations.length > 0) return;
    Promise.all([getChains(), getOperations()]).then(
      ([chains, all]) =>
        preview.set({
          operations: all.filter((o) => chains.operations.includes(o.name)),
          most: chains.most_steps,
        }),
      (e: unknown) => preview.set({ problem: says(e) }),
    );
  }, [open, state.operations.length]);
  useEffect(() => {
    if (open || working) preview.attach(fits ? pane : "", fits ? series : undefined);
  }, [open, working, fits, pane, series, panes, readout?.imageId]);
  useEffect(() => {
    if (open && fits) preview.connect(); // its process starts while a chain is chosen
  }, [open, fits, series]);
  useEffect(() => () => preview.close(), []);

  if (!open && !working) return null;
  if (!series) return <p className="dim pad">Choose a series.</p>;
  if (!fits) {
    return (
      <p className="dim pad">
        {series.kind === "image"
          ? "Processing is seen in stacks: choose one stack (s)."
          : "This series holds no pictures to process."}
      </p>
    );
  }
  const limits = limitsOf(state, pane);
  const setLimits = (next: [number, number]) => {
    if (state.shown && !state.shown.alike) preview.set({ limits: next });
    else {
      const { width, center } = widthLevel({ lower: next[0], upper: next[1] });
      setWindow(pane, width, center);
    }
  };
  return (
    <div className="panel process">
      <ChainPanel
        title="The image goes through"
        operations={state.operations}
        chain={state.chain}
        most={state.most}
        onChange={preview.changeChain}
      />
      <Presets operations={state.operations} chain={state.chain} onLoad={preview.changeChain} />
      <Seen state={state} limits={limits} />
      <HistogramSection state={state} limits={limits} onLimits={setLimits} dispatch={props.dispatch} />
      {row && <Keep {...props} preview={state} />}
    </div>
  );
}

function Seen({ state, limits }: { state: State; limits: [number, number] }) {
  const { tone, side, shown } = state;
  const change = (part: Partial<typeof tone>) => preview.set({ tone: { ...tone, ...part } });
  const [low, high] = state.counted ? [state.counted.lower, state.counted.upper] : limits;
  return (
    <section>
      <h3>Seen</h3>
      <div className="segmented" role="group" aria-label="Before or after">
        {SIDES.map(([id, label]) => (
          <button key={id} data-side={id} aria-pressed={side === id} onClick={() => preview.set({ side: id })}>
            {label}
          </button>
        ))}
      </div>
      <label className="slider">
        <span className="dim">Colours</span>
        <select aria-label="Colours of the result" value={tone.palette} onChange={(e) => change({ palette: e.target.value })}>
          <option value="">as the image</option>
          {COLORMAPS.map((c) => (
            <option key={c.name} value={c.name}>
              {c.label}
            </option>
          ))}
        </select>
      </label>
      <label className="slider">
        <span className="dim">Gamma</span>
        <input
          type="range"
          min={-1}
          max={1}
          step={0.01}
          value={Math.log10(tone.gamma) / Math.log10(5)}
          aria-label="Gamma"
          onChange={(e) => change({ gamma: Number((5 ** Number(e.target.value)).toFixed(3)) })}
        />
        <output>{tone.gamma.toFixed(2)}</output>
      </label>
      <label className="slider">
        <span className="dim">Clear below</span>
        <input
          type="range"
          className={tone.below === undefined ? "unset" : ""}
          min={low}
          max={high}
          step={(high - low) / 400 || 1}
          value={tone.below ?? low}
          disabled={!shown}
          aria-label="Values below are clear"
          onChange={(e) => {
            const v = Number(e.target.value);
            change({ below: v <= low ? undefined : v });
          }}
        />
        <output>{tone.below === undefined ? "none" : Number(tone.below.toPrecision(4))}</output>
      </label>
      <label className="slider">
        <span className="dim">Opacity</span>
        <input
          type="range"
          min={0}
          max={1}
          step={0.02}
          value={tone.opacity}
          aria-label="Opacity of the result"
          onChange={(e) => change({ opacity: Number(e.target.value) })}
        />
        <output>{Math.round(tone.opacity * 100)} %</output>
      </label>
      <div className="result-line">
        <Progress state={state} />
        {!isPlain(tone) && (
          <button className="small quiet" onClick={() => preview.set({ tone: PLAIN })}>
            Reset
          </button>
        )}
      </div>
      {state.problem && (
        <p className="bad" role="alert">
          {state.problem}
        </p>
      )}
    </section>
  );
}

/** How far slice and volume are. */
function Progress({ state }: { state: State }) {
  const { shown, volume, waiting } = state;
  if (stepsOf(state.chain).length === 0) return <span className="dim">Nothing but the display is changed.</span>;
  const slice = waiting ? "slice …" : shown?.head ? `slice ${shown.head.ms.toFixed(0)} ms` : "";
  const behind =
    volume?.state === "running"
      ? `volume ${Math.round((volume.progress ?? 0) * 100)} %`
      : volume?.state === "ready"
        ? "volume ready"
        : volume?.state === "failed"
          ? `volume: ${volume.message ?? "failed"}`
          : "";
  return (
    <span className="dim" data-volume={volume?.state ?? ""}>
      {[slice, behind].filter(Boolean).join(" · ")}
    </span>
  );
}

/** The chain on the whole series, as a job with its record. */
function Keep(props: PanelProps & { preview: State }) {
  const { row, rows, reload, dispatch, preview: state } = props;
  const jobs = useJobs();
  const [mine, setMine] = useState<string[]>([]);
  const [problem, setProblem] = useState("");
  const [sending, setSending] = useState(false);
  const steps = stepsOf(state.chain);
  const head = state.shown?.head;
  const run = async () => {
    if (!row) return;
    setSending(true);
    setProblem("");
    try {
      const job = jobOf(steps, state.operations);
      const input = head && head.images > 1 ? `${row.uid}#${head.image + 1}` : row.uid;
      const made = await submitJob(job.operation, [input], job.params);
      add(made);
      setMine((ids) => [made.id, ...ids]);
    } catch (e) {
      setProblem(says(e));
    } finally {
      setSending(false);
    }
  };
  const here = new Set(rows.map((r) => r.uid));
  const shown = jobs.filter((j) => mine.includes(j.id) && j.inputs.some((uid) => here.has(uid.split("#")[0] ?? "")));
  return (
    <section>
      <h3>Keep the result</h3>
      <label className="check">
        <input type="checkbox" checked={state.behind} onChange={(e) => preview.set({ behind: e.target.checked })} />
        Compute the whole volume behind the slice
      </label>
      <button className="primary run" disabled={steps.length === 0 || sending} onClick={() => void run()}>
        {sending ? "Sending…" : "Save as derived series"}
      </button>
      {problem && (
        <p className="bad" role="alert">
          {problem}
        </p>
      )}
      {shown.length > 0 && (
        <JobList
          jobs={shown}
          empty=""
          onShow={(job) => void showResult(job, jobs, reload, dispatch).then(setProblem)}
        />
      )}
    </section>
  );
}
