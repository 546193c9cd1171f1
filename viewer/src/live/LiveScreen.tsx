/** A source that never stops, through a chain of operations, with its latency on screen. */

import { useCallback, useEffect, useMemo, useRef, useState } from "react";

import { type OperationSchema, getOperations } from "../api/application";
import { says } from "../api/http";
import { tell } from "../parts/console";
import { Icon } from "../parts/Icon";
import { Palettes } from "../parts/Palettes";
import { ChainPanel } from "../process/ChainPanel";
import { Presets } from "../process/Presets";
import { type Link, link, stepsOf } from "../process/chain";
import { go } from "../router";
import { figure, prettyUnit } from "../tools/lines";
import { gradient } from "../viewport/palettes";
import { Connection, type Frame, type Head, type Offer, getOffer, now } from "./connection";
import { Picture, type Screen } from "./Picture";
import { SeriesChoice } from "./SeriesChoice";
import { type Figures, Statistics } from "./statistics";
import "./live.css";

const FIRST: [string, Record<string, unknown>][] = [
  ["process.lee", { size: 5 }],
  ["process.clahe", {}],
  ["process.gaussian", { sigma: 0.1 }],
];

type State = "idle" | "starting" | "running" | "frozen";

export function LiveScreen() {
  const [offer, setOffer] = useState<Offer>();
  const [operations, setOperations] = useState<OperationSchema[]>([]);
  const [chain, setChain] = useState<Link[]>([]);
  const [source, setSource] = useState("ultrasound");
  const [series, setSeries] = useState("");
  const [size, setSize] = useState(512);
  const [rate, setRate] = useState(25);
  const [palette, setPalette] = useState("soma-grey");
  const [state, setState] = useState<State>("idle");
  const [problem, setProblem] = useState("");
  const [count, setCount] = useState(50);
  const [saved, setSaved] = useState<{ study: string; frames: number } | "saving">();
  const [figures, setFigures] = useState<Figures>();
  const [head, setHead] = useState<Head>();
  const connection = useRef<Connection | undefined>(undefined);
  const statistics = useRef(new Statistics());
  const screen = useRef<Screen | undefined>(undefined);
  const newest = useRef<Head | undefined>(undefined);

  useEffect(() => {
    Promise.all([getOffer(), getOperations()]).then(
      ([offered, all]) => {
        const fit = all.filter((o) => offered.operations.includes(o.name));
        setOffer(offered);
        setOperations(fit);
        setChain(
          FIRST.flatMap(([name, params]) => {
            const schema = fit.find((o) => o.name === name);
            return schema ? [link(schema, params)] : [];
          }),
        );
      },
      (e: unknown) => setProblem(says(e)),
    );
    tell({
      live: () => ({ ...statistics.current.figures(now()), latencies: statistics.current.latencies }),
    });
    const timer = window.setInterval(() => {
      setFigures(statistics.current.figures(now()));
      setHead(newest.current);
    }, 300);
    return () => {
      window.clearInterval(timer);
      connection.current?.close();
    };
  }, []);

  const steps = useMemo(() => stepsOf(chain), [chain]);

  useEffect(() => {
    // A slider says more than a frame can follow: what it says last within a moment is sent.
    const timer = window.setTimeout(() => {
      setProblem("");
      connection.current?.send({ chain: steps });
    }, 40);
    return () => window.clearTimeout(timer);
  }, [steps]);

  useEffect(() => connection.current?.send({ rate }), [rate]);

  const drawn = useCallback((frame: Frame) => {
    const made = connection.current;
    if (!made) return;
    made.send({ drawn: frame.head.number });
    const at = now();
    const latency = at + made.offset - frame.head.captured * 1000;
    statistics.current.add(latency, at, frame.head.stages, frame.head.skipped);
    newest.current = frame.head;
  }, []);

  const stop = useCallback(() => {
    connection.current?.close();
    connection.current = undefined;
    setState("idle");
  }, []);

  const start = () => {
    connection.current?.close();
    statistics.current = new Statistics();
    setProblem("");
    setSaved(undefined);
    setState("starting");
    const made = new Connection({
      frame(frame) {
        setState((s) => (s === "starting" ? "running" : s));
        screen.current?.show(frame, drawn, () => {
          statistics.current.overtaken += 1;
          made.send({ drawn: frame.head.number });
        });
      },
      told(message) {
        if (message.kind === "saved") setSaved({ study: message.study, frames: message.frames });
        if (message.kind === "problem" || message.kind === "end") {
          setProblem(message.message);
          setSaved((s) => (s === "saving" ? undefined : s));
        }
        if (message.kind === "end") stop();
      },
      closed(reason) {
        setProblem((p) => p || reason);
        connection.current = undefined;
        setState("idle");
      },
    });
    connection.current = made;
    made.send({ start: { source, series, size, rate, chain: steps } });
  };

  const freeze = (frozen: boolean) => {
    connection.current?.send({ freeze: frozen });
    setState(frozen ? "frozen" : "running");
  };

  const going = state !== "idle";
  const chosen = offer?.sources.find((s) => s.name === source);
  const ready = Boolean(offer) && (source !== "series" || series !== "");
  return (
    <div className="live">
      <div className="live-stage" data-live={state}>
        <Picture palette={palette} onScreen={useCallback((s: Screen) => (screen.current = s), [])} />
        {figures && going && (
          <dl className="live-figures" aria-label="Latency">
            <Figure name="p50" value={`${figures.p50.toFixed(0)} ms`} />
            <Figure name="p99" value={`${figures.p99.toFixed(0)} ms`} />
            <Figure name="frames/s" value={figures.rate.toFixed(1)} />
            <Figure name="left out" value={String(figures.skipped + figures.overtaken)} />
          </dl>
        )}
        {head && palette !== "soma-grey" && head.channels === 1 && (
          <div className="legend" aria-label="Colour legend">
            <i style={{ background: gradient(palette) }} />
            <div>
              <span>{figure(head.upper)}</span>
              <span>{figure((head.lower + head.upper) / 2)}</span>
              <span>{figure(head.lower)}</span>
            </div>
            {head.unit !== "1" && <b>{prettyUnit(head.unit)}</b>}
          </div>
        )}
        {state === "idle" && !head && (
          <div className="pane-state" role="status">
            <strong>{chosen?.title ?? "Live"}</strong>
            <span>{chosen?.summary}</span>
          </div>
        )}
        {state === "starting" && (
          <div className="pane-state" role="status">
            <i className="spinner" /> <span>The source starts …</span>
          </div>
        )}
        {state === "frozen" && <span className="live-frozen">Frozen</span>}
      </div>
      <aside className="panel live-panel" aria-label="Live">
        <section>
          <h3>Source</h3>
          <select aria-label="Source" value={source} onChange={(e) => setSource(e.target.value)} disabled={going}>
            {offer?.sources.map((s) => (
              <option key={s.name} value={s.name}>
                {s.title}
              </option>
            ))}
          </select>
          {source === "series" ? (
            <SeriesChoice value={series} onChange={setSeries} disabled={going} />
          ) : (
            <label className="slider">
              Size
              <select aria-label="Size" value={size} onChange={(e) => setSize(Number(e.target.value))} disabled={going}>
                {offer?.sizes.map((n) => (
                  <option key={n} value={n}>
                    {n} × {n}
                  </option>
                ))}
              </select>
            </label>
          )}
          <label className="slider">
            Frames/s
            <input
              type="range"
              min={1}
              max={60}
              value={rate}
              aria-label="Frames per second"
              onChange={(e) => setRate(Number(e.target.value))}
            />
            <output>{rate}</output>
          </label>
          <div className="chips">
            {going ? (
              <button onClick={stop}>Stop</button>
            ) : (
              <button className="primary" onClick={start} disabled={!ready}>
                <Icon name="play" /> Start
              </button>
            )}
            <button
              onClick={() => freeze(state !== "frozen")}
              disabled={state !== "running" && state !== "frozen"}
              aria-pressed={state === "frozen"}
            >
              <Icon name={state === "frozen" ? "play" : "pause"} /> {state === "frozen" ? "Go on" : "Freeze"}
            </button>
          </div>
          {problem && (
            <p className="bad" role="alert">
              {problem}
            </p>
          )}
        </section>
        <ChainPanel title="Every frame goes through" operations={operations} chain={chain} most={8} onChange={setChain} />
        <Presets operations={operations} chain={chain} onLoad={setChain} />
        <section>
          <h3>Colours</h3>
          <Palettes value={palette} onChange={setPalette} />
        </section>
        <section>
          <h3>Save</h3>
          <div className="live-save">
            <label>
              last{" "}
              <input
                type="number"
                min={1}
                max={512}
                value={count}
                aria-label="Frames to save"
                onChange={(e) => setCount(Number(e.target.value))}
              />{" "}
              frames
            </label>
            <button
              disabled={!going || state === "starting" || saved === "saving"}
              onClick={() => {
                setSaved("saving");
                connection.current?.send({ save: count });
              }}
            >
              Save as series
            </button>
          </div>
          {saved === "saving" && <p className="dim">Saving …</p>}
          {saved && saved !== "saving" && (
            <p role="status">
              {saved.frames} frames are in the archive.{" "}
              <button className="small" data-study={saved.study} onClick={() => go(`/study/${saved.study}`)}>
                Open
              </button>
            </p>
          )}
        </section>
        {figures && figures.stages.length > 0 && (
          <section>
            <h3>Time of each stage</h3>
            <dl className="facts">
              {figures.stages.map(([name, ms]) => (
                <div key={name} data-stage={name}>
                  <dt>{name}</dt>
                  <dd>{ms.toFixed(1)} ms</dd>
                </div>
              ))}
            </dl>
          </section>
        )}
      </aside>
    </div>
  );
}

function Figure({ name, value }: { name: string; value: string }) {
  return (
    <div data-figure={name}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
