/** Before and after: curtain, checkerboard, flicker or side by side; both move together. */

import { type Dispatch, useCallback, useEffect, useMemo, useRef, useState } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { text } from "../dicom/json";
import type { Vec3 } from "../geometry/vector";
import { Dots, LandmarkBar, type Pair, added, useClicks } from "../register/Landmarks";
import { NudgeBar, NudgeLayer, lookOf } from "../register/Nudge";
import { type Hand, RegisterBar } from "../register/RegisterBar";
import { type Mark, useCursors } from "../register/cursor";
import { type Push, STILL, depth } from "../register/push";
import { type Way, carriedOf, inputsOf, wayBetween } from "../register/spatial";
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
  // A pane that shows another series begins at its middle: the two are brought together anew.
  const [loads, setLoads] = useState(0);
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
      setLoads((n) => n + 1);
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
  const linked = ready.length === 2 ? `${ready.join()} ${loads}` : "";
  const [hand, setHand] = useState<Hand>("");
  const [push, setPush] = useState<Push>(STILL);
  const [pairs, setPairs] = useState<Pair[]>([]);
  const look = hand === "nudge" ? lookOf("compare-before") : undefined;
  const pushed = look ? depth(push, look.axes) : 0;
  // Points are looked for in each series by itself.
  const slices = way?.by === undefined && hand !== "landmarks";
  useLinked("compare-before", "compare-after", linked, alike, slices, pushed);
  useEffect(() => {
    setHand("");
    setPush(STILL);
    setPairs([]);
  }, [compare.before, compare.after]);
  const mark = useCursors(
    "compare-before", "compare-after", side && way ? linked : "", way?.there ?? SAME, way?.back ?? SAME,
  );
  const carried = carriedOf(after.series?.metadata[0]);
  const home = carried && spatials.find((s) => s.series === carried.registration);
  const onPlace = useCallback(
    (side: keyof Pair, place: Vec3) => {
      // What a registration carried here is told where it came from.
      const told = side === "after" && home ? home.forward(place) : place;
      setPairs((list) => added(list, side, told));
    },
    [home],
  );
  useClicks({ before: "compare-before", after: "compare-after" }, hand === "landmarks" ? linked : "", onPlace);
  const shown = home ? pairs.map((p) => (p.after ? { ...p, after: home.backward(p.after) } : p)) : pairs;
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
        onRegister={(preset) =>
          start(compare.before, compare.after, { operation: "analyze.register", params: preset ? { preset } : {} })
        }
        hand={hand}
        onHand={(next) => {
          setHand(next);
          if (next === "nudge" && side) change({ mode: "checker" });
          if (next === "landmarks" && !side) change({ mode: "side" });
        }}
      />
      {hand === "nudge" && (
        <NudgeBar
          first="compare-before"
          push={push}
          busy={run.doing !== "idle"}
          onPush={setPush}
          onKeep={(params) =>
            start(compare.before, carried?.moving ?? compare.after, {
              operation: "analyze.nudge", more: carried ? [carried.registration] : [], params,
            })
          }
        />
      )}
      {hand === "landmarks" && (
        <LandmarkBar
          pairs={pairs}
          busy={run.doing !== "idle"}
          onPairs={setPairs}
          onRegister={(params) =>
            start(compare.before, carried?.moving ?? compare.after, { operation: "analyze.register_landmarks", params })
          }
        />
      )}
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
            {hand === "landmarks" && <Dots pane="compare-before" side="before" pairs={shown} />}
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
            {hand === "landmarks" && <Dots pane="compare-after" side="after" pairs={shown} />}
          </div>
        )}
        {hand === "nudge" && linked && (
          <NudgeLayer first="compare-before" second="compare-after" push={push} onPush={setPush} />
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
