/** Before and after: curtain, checkerboard, flicker or side by side; both move together. */

import { type Dispatch, useCallback, useEffect, useMemo, useRef, useState } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { text } from "../dicom/json";
import { RegisterBar } from "../register/RegisterBar";
import { type Mark, useCursors } from "../register/cursor";
import { type Way, inputsOf, wayBetween } from "../register/spatial";
import { useRegistration } from "../register/useRegistration";
import { useSpatials } from "../register/useSpatials";
import { StackPane } from "../viewport/StackPane";
import { fit, isSized } from "../viewport/commands";
import { useLinked } from "../viewport/link";
import { differing } from "./History";
import { type Series, seriesName } from "./series";
import type { Action, CompareMode, State } from "./state";
import { useSeries } from "./useSeries";

const MODES: [CompareMode, string][] = [
  ["swipe", "Swipe"],
  ["checker", "Checkerboard"],
  ["flicker", "Flicker"],
  ["side", "Side by side"],
];
/** ms that each of the two is seen while they flicker */
const FLICKER = 600;

const SAME: Way = (p) => p;

function placed(series: Series | undefined) {
  return series && { series: series.row.uid, frame: text(series.metadata[0], "00200052") };
}

function note(word: string, own: Series | undefined, other: Series | undefined): string {
  const difference = differing(own?.metadata[0], other?.metadata[0]);
  return difference ? `${word} · ${difference}` : word;
}

function Cross({ mark, pane }: { mark: Mark | undefined; pane: string }) {
  if (mark?.pane !== pane) return null;
  if (mark.outside) {
    return (
      <span className="linked-outside" data-outside={pane}>
        Not in this series
      </span>
    );
  }
  return <i className="linked-cursor" data-cursor={pane} style={{ left: mark.x, top: mark.y }} />;
}

export function Compare(props: {
  state: State;
  rows: SeriesRow[];
  compare: NonNullable<State["compare"]>;
  before: SeriesRow | undefined;
  after: SeriesRow | undefined;
  dispatch: Dispatch<Action>;
  onReady: (id: string) => void;
  reload: () => Promise<SeriesRow[]>;
}) {
  const { compare, state, dispatch, onReady, reload } = props;
  const before = useSeries(props.before);
  const after = useSeries(props.after);
  const [curtain, setCurtain] = useState(0.5);
  const [ready, setReady] = useState<string[]>([]);
  const box = useRef<HTMLDivElement>(null);
  const swipe = compare.mode === "swipe";
  const side = compare.mode === "side";
  const [turn, setTurn] = useState(false);
  useEffect(() => {
    if (compare.mode !== "flicker") return;
    const timer = window.setInterval(() => setTurn((t) => !t), FLICKER);
    return () => window.clearInterval(timer);
  }, [compare.mode]);
  const alike =
    before.series !== undefined &&
    before.series.unit === after.series?.unit &&
    before.series.row.modality === after.series.row.modality;
  const onPane = useCallback(
    (id: string) => {
      setReady((list) => [...list.filter((i) => i !== id), id]);
      onReady(id);
    },
    [onReady],
  );
  const spatials = useSpatials(props.rows);
  const way = useMemo(() => {
    const [a, b] = [placed(before.series), placed(after.series)];
    return a && b && wayBetween(spatials, a, b);
  }, [spatials, before.series, after.series]);
  const made = inputsOf(after.series?.metadata[0]);
  const by = way?.by ?? spatials.find((s) => made.includes(s.series));
  const linked = ready.length === 2 ? ready.join() : "";
  useLinked("compare-before", "compare-after", linked, alike, way?.by === undefined);
  const mark = useCursors(
    "compare-before", "compare-after", side && way ? linked : "", way?.there ?? SAME, way?.back ?? SAME,
  );
  const { run, start } = useRegistration((registered, fixed) => {
    void reload().then(() => dispatch({ do: "compare", before: fixed, after: registered, mode: "swipe" }));
  });

  // The panes change size with the mode; linked cameras would each follow the other's new zoom.
  useEffect(() => {
    if (ready.length < 2) return;
    const panes = ["compare-before", "compare-after"];
    let frame = 0;
    const settled = () => {
      if (panes.every(isSized)) panes.forEach(fit);
      else frame = requestAnimationFrame(settled);
    };
    frame = requestAnimationFrame(settled);
    return () => cancelAnimationFrame(frame);
  }, [compare.mode, ready]);

  const move = (event: React.PointerEvent) => {
    if (event.buttons !== 1 || !box.current) return;
    const rect = box.current.getBoundingClientRect();
    setCurtain(Math.min(1, Math.max(0, (event.clientX - rect.left) / rect.width)));
  };
  const change = (part: Partial<typeof compare>) =>
    dispatch({ do: "set", part: { compare: { ...compare, ...part } } });
  const images = props.rows.filter((r) => r.content === "image");
  const problem = before.error || after.error;

  return (
    <div className="compare">
      <div className="compare-bar">
        <label>
          <span className="dim">Before</span>
          <select value={compare.before} aria-label="Series before" onChange={(e) => change({ before: e.target.value })}>
            {images.map((r) => (
              <option key={r.uid} value={r.uid}>
                {r.number ?? ""} {seriesName(r)}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span className="dim">After</span>
          <select value={compare.after} aria-label="Series after" onChange={(e) => change({ after: e.target.value })}>
            {images.map((r) => (
              <option key={r.uid} value={r.uid}>
                {r.number ?? ""} {seriesName(r)}
              </option>
            ))}
          </select>
        </label>
        <span className="grow" />
        <div className="segmented" role="group" aria-label="Compare mode">
          {MODES.map(([mode, name]) => (
            <button key={mode} aria-pressed={compare.mode === mode} onClick={() => change({ mode })}>
              {name}
            </button>
          ))}
        </div>
      </div>
      <RegisterBar
        study={props.rows[0]?.study ?? ""}
        other={state.other}
        onOther={(other) => dispatch({ do: "set", part: { other } })}
        pair={before.series !== undefined && after.series !== undefined && compare.before !== compare.after}
        run={run}
        by={by}
        onRegister={(preset) => start(compare.before, compare.after, preset)}
      />
      {problem && <div className="banner" role="alert">{problem}</div>}
      <div className={`compare-box mode-${compare.mode}`} data-turn={turn} ref={box}>
        {before.series && (
          <div
            className="compare-cell"
            style={swipe ? { clipPath: `inset(0 ${(1 - curtain) * 100}% 0 0)` } : undefined}
          >
            <StackPane
              id="compare-before"
              series={before.series}
              active={side && state.active === 0}
              overlay={state.overlay}
              note={note("before", before.series, after.series)}
              onActivate={() => dispatch({ do: "set", part: { active: 0 } })}
              onReady={onPane}
            />
            <Cross mark={mark} pane="compare-before" />
          </div>
        )}
        {after.series && (
          <div
            className="compare-cell"
            style={swipe ? { clipPath: `inset(0 0 0 ${curtain * 100}%)` } : undefined}
          >
            <StackPane
              id="compare-after"
              series={after.series}
              active={side && state.active === 1}
              overlay={state.overlay}
              note={note("after", after.series, before.series)}
              onActivate={() => dispatch({ do: "set", part: { active: 1 } })}
              onReady={onPane}
            />
            <Cross mark={mark} pane="compare-after" />
          </div>
        )}
        {swipe && (
          <div
            className="curtain"
            style={{ left: `${curtain * 100}%` }}
            role="slider"
            tabIndex={0}
            aria-label="Curtain between before and after"
            aria-valuenow={Math.round(curtain * 100)}
            onPointerDown={(e) => e.currentTarget.setPointerCapture(e.pointerId)}
            onPointerMove={move}
            onKeyDown={(e) => {
              if (e.key === "ArrowLeft") setCurtain((c) => Math.max(0, c - 0.02));
              if (e.key === "ArrowRight") setCurtain((c) => Math.min(1, c + 0.02));
              if (e.key.startsWith("Arrow")) e.stopPropagation();
            }}
          >
            <i />
            <span className="tag before">before</span>
            <span className="tag after">after</span>
          </div>
        )}
      </div>
    </div>
  );
}
