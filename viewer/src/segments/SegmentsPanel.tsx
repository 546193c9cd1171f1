/** Segmentations of this study: choose one, and it lies over its source, segment by segment. */

import { useEffect, useMemo, useState } from "react";

import { says } from "../api/http";
import { DrawSection } from "../draw/DrawSection";
import { Icon } from "../parts/Icon";
import type { PanelProps } from "../study/SidePanel";
import { seriesName } from "../study/series";
import { figure } from "../tools/lines";
import { type Laid, lay } from "./lay";
import { type Look, hide, show } from "./show";

const hex = (c: readonly number[]) => `#${c.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
const rgb = (h: string): [number, number, number] => [
  parseInt(h.slice(1, 3), 16),
  parseInt(h.slice(3, 5), 16),
  parseInt(h.slice(5, 7), 16),
];

export function SegmentsPanel(props: PanelProps & { panes: number }) {
  const { state, rows, dispatch, panes } = props;
  const [shown, setShown] = useState<Laid>();
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const [opacity, setOpacity] = useState(0.4);
  const [outline, setOutline] = useState(true);
  const [colours, setColours] = useState<ReadonlyMap<number, [number, number, number]>>(new Map());
  const [hidden, setHidden] = useState<ReadonlySet<number>>(new Set());
  const list = rows.filter((r) => r.content === "segmentation");
  const wanted = state.segmentation;

  useEffect(() => {
    setShown(undefined);
    setError("");
    const row = rows.find((r) => r.uid === wanted);
    if (!row) return;
    let live = true;
    setBusy(true);
    const open = async () => {
      const laid = await lay(row, rows);
      const { segmentation, indexOf } = laid;
      if (!live) return;
      setColours(new Map(segmentation.segments.map((s) => [indexOf.get(s.number) ?? 1, s.colour])));
      setHidden(new Set());
      setShown(laid);
      dispatch({ do: "source", series: laid.source.row.uid });
    };
    open()
      .catch((e: unknown) => live && setError(says(e)))
      .finally(() => live && setBusy(false));
    return () => {
      live = false;
      hide(row.uid);
    };
    // The rows are read when a segmentation is chosen; later arrivals do not change it.
  }, [wanted, dispatch]);

  const look = useMemo<Look>(() => ({ opacity, outline, colours, hidden }), [opacity, outline, colours, hidden]);
  useEffect(() => {
    if (shown) show(shown.uid, shown.source, shown.placed.labels, look);
  }, [shown, look, panes, state.layout, state.cells]);

  const frame = shown?.source.frames[0];
  const volume = shown?.source.volume;
  const voxel =
    frame?.spacing && volume?.ok ? (frame.spacing[0] * frame.spacing[1] * volume.spacing) / 1000 : undefined;

  return (
    <div className="panel">
      <section>
        <h3>Segmentations</h3>
        {list.length === 0 && (
          <p className="dim">None in this study. Operations named “segment” make them.</p>
        )}
        <div className="chips single">
          {list.map((r) => (
            <button
              key={r.uid}
              data-seg={r.uid}
              aria-pressed={wanted === r.uid}
              onClick={() =>
                dispatch({ do: "set", part: { segmentation: wanted === r.uid ? undefined : r.uid } })
              }
            >
              <Icon name="layers" /> {seriesName(r)}
            </button>
          ))}
        </div>
        {busy && <p className="dim">Reading the segmentation…</p>}
        {error && (
          <p className="bad" role="alert">
            {error}
          </p>
        )}
      </section>
      <DrawSection {...props} shown={shown} />
      {shown && (
        <section data-shown={shown.uid}>
          <h3>Segments on {seriesName(shown.source.row)}</h3>
          <label className="slider">
            <span className="dim">Opacity</span>
            <input
              type="range"
              min={0}
              max={1}
              step={0.05}
              value={opacity}
              aria-label="Segment opacity"
              onChange={(e) => setOpacity(Number(e.target.value))}
            />
            <output>{Math.round(opacity * 100)} %</output>
          </label>
          <label className="check">
            <input type="checkbox" checked={outline} onChange={(e) => setOutline(e.target.checked)} />
            Outline
          </label>
          <ul className="segments">
            {shown.segmentation.segments.map((s) => {
              const index = shown.indexOf.get(s.number) ?? 0;
              const count = shown.placed.counts.get(index) ?? 0;
              return (
                <li key={s.number}>
                  <span className="swatch">
                    <input
                      type="color"
                      aria-label={`Colour of ${s.label}`}
                      value={hex(colours.get(index) ?? s.colour)}
                      onChange={(e) => setColours(new Map([...colours, [index, rgb(e.target.value)]]))}
                    />
                  </span>
                  <span>
                    {s.label}
                    <small>
                      {voxel === undefined
                        ? `${count} pixels`
                        : `${figure(count * voxel)} ml`}
                      {s.algorithm ? ` · ${s.algorithm}` : ""}
                    </small>
                  </span>
                  <input
                    type="checkbox"
                    aria-label={`Show ${s.label}`}
                    checked={!hidden.has(index)}
                    onChange={(e) => {
                      const next = new Set(hidden);
                      if (e.target.checked) next.delete(index);
                      else next.add(index);
                      setHidden(next);
                    }}
                  />
                </li>
              );
            })}
          </ul>
          {shown.placed.overlaps > 0 && (
            <p className="hint">
              {shown.placed.overlaps} pixels belong to several segments; the last one is shown there.
            </p>
          )}
          {shown.placed.unplaced > 0 && (
            <p className="bad">{shown.placed.unplaced} frames meet no slice of the series.</p>
          )}
        </section>
      )}
    </div>
  );
}
