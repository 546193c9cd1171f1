/** Follow-up: prior and current side by side, lesion by lesion, with what the report says. */

import { useCallback, useEffect, useMemo, useState } from "react";

import { date } from "../dicom/json";
import { type Vec3, add, times } from "../geometry/vector";
import type { Way } from "../register/spatial";
import type { Segmentation } from "../segments/decode";
import { type Laid, lay } from "../segments/lay";
import { hide, show } from "../segments/show";
import type { StageProps } from "../study/Stage";
import type { Series } from "../study/series";
import { useSeries } from "../study/useSeries";
import { type Fusion, PlanePane } from "../viewport/PlanePane";
import { defaultWindow } from "../viewport/volumes";
import { Course } from "./Course";
import { coursesOf, lesionsOf, responsesOf, sumsOf } from "./lesions";
import { type Cross, lookAt, paneOf, useTogether } from "./together";
import { useFollowed } from "./useFollowed";

const PRIOR = "follow-prior";
const CURRENT = "follow-current";
const SAME: Way = (p) => p;
/** What the new-lesion map shows from, where it does not say: standard deviations of noise. */
const THRESHOLD = 6;

/** The map's colours: told by its window, which goes to twice the threshold on both sides of zero. */
function newnessOf(map: Series): Fusion {
  const window = defaultWindow(map);
  const threshold = window?.center === 0 ? window.width / 4 : THRESHOLD;
  const range = { lower: -2 * threshold, upper: 2 * threshold };
  return { series: map, opacity: 0.6, colormap: "soma-tide", threshold, range, unit: "SD of noise" };
}

/** The middle of a segment's pixels, by its label. */
export function middleOf(segmentation: Segmentation, label: string): Vec3 | undefined {
  const segment = segmentation.segments.find((s) => s.label === label);
  if (!segment) return undefined;
  let [sum, count]: [Vec3, number] = [[0, 0, 0], 0];
  for (const frame of segmentation.frames) {
    const { position, row, column, spacing } = frame;
    if (!position || !row || !column || (frame.segment !== undefined && frame.segment !== segment.number)) continue;
    frame.values.forEach((value, i) => {
      if (value === 0 || (frame.segment === undefined && value !== segment.number)) return;
      const [r, c] = [Math.floor(i / segmentation.columns), i % segmentation.columns];
      sum = add(sum, add(position, add(times(row, c * spacing[1]), times(column, r * spacing[0]))));
      count += 1;
    });
  }
  return count > 0 ? times(sum, 1 / count) : undefined;
}

/** A segmentation read and outlined over the panes that show its source. */
function useOutlined(row: StageProps["rows"][number] | undefined, rows: StageProps["rows"], shown: string): Laid | undefined {
  const [laid, setLaid] = useState<Laid>();
  useEffect(() => {
    setLaid(undefined);
    if (!row) return;
    let live = true;
    lay(row, rows).then((found) => live && setLaid(found), () => undefined);
    return () => {
      live = false;
      hide(row.uid);
    };
    // Rows that come later do not change the segmentation that was read.
  }, [row?.uid]);
  useEffect(() => {
    if (!laid || !shown) return;
    const colours = new Map(laid.segmentation.segments.map((s) => [laid.indexOf.get(s.number) ?? 1, s.colour]));
    show(laid.uid, laid.source, laid.placed.labels, { opacity: 0.12, outline: true, colours, hidden: new Set() });
  }, [laid, shown]);
  return laid;
}

function Pointer({ cross, pane }: { cross: Cross | undefined; pane: string }) {
  if (cross?.pane !== pane) return null;
  return <i className="linked-cursor" data-cursor={pane} style={{ left: cross.x, top: cross.y }} />;
}

const ml = (v: number | undefined) => (v === undefined ? "–" : (v / 1000).toPrecision(3));
const percent = (v: number | undefined) =>
  v === undefined ? "–" : `${v >= 0 ? "+" : "−"}${Math.abs(v).toFixed(0)} %`;
const short = (course: string) => course.replace(/^Lesion (has |is )?/, "").replace(/^Change that /, "");

export function FollowUp({ state, rows, dispatch, onReady }: StageProps) {
  const study = rows[0]?.study ?? "";
  const [chosen, setChosen] = useState("");
  const [lesion, setLesion] = useState("");
  const [mapped, setMapped] = useState(true);
  const [ready, setReady] = useState<string[]>([]);
  const onOther = useCallback((other: string) => dispatch({ do: "set", part: { other } }), [dispatch]);
  const followed = useFollowed(rows, study, chosen, onOther);
  const { reports, spatial } = followed;
  const own = reports?.filter((r) => r.row.study === study) ?? [];
  const report = own.find((r) => r.row.uid === chosen) ?? own.at(-1);
  const prior = useSeries(followed.prior);
  const current = useSeries(followed.current);
  const map = useSeries(followed.map).series;
  const onPane = useCallback(
    (id: string) => {
      setReady((list) => [...list.filter((i) => i !== id), id]);
      onReady(id);
    },
    [onReady],
  );
  const linked = ready.length === 2 ? ready.join() : "";
  // A place of the current examination lies at forward(place) of the prior one.
  const cross = useTogether(PRIOR, CURRENT, spatial ? linked : "", spatial?.backward ?? SAME, spatial?.forward ?? SAME);
  const seen = linked ? `${linked} ${mapped}` : "";
  const now = useOutlined(followed.lesions, rows, seen);
  const then = useOutlined(followed.drawn, rows, seen);
  const fusion = useMemo<Fusion | undefined>(
    () => (mapped && map?.volume.ok ? newnessOf(map) : undefined),
    [map, mapped],
  );

  const go = (uid: string, name: string) => {
    setLesion(uid);
    const pane = paneOf(CURRENT);
    const before = then && middleOf(then.segmentation, name);
    const place = (now && middleOf(now.segmentation, name)) ?? (before && spatial ? spatial.backward(before) : before);
    if (pane && place) lookAt(pane, place);
  };

  if (!reports || !report) {
    return (
      <div className="pane-state" role="status">
        {followed.error ? <strong>{followed.error}</strong> : reports ? <strong>No follow-up in this study</strong> : <i className="spinner" />}
        {reports && (
          <span>
            The operation “analyze follow up” compares a series with one of an earlier examination, lesion by lesion; its
            result is shown here.
          </span>
        )}
      </div>
    );
  }
  const lesions = lesionsOf(report.findings);
  const every = reports.map((r) => r.findings);
  const sums = sumsOf(every);
  const problem = followed.error || prior.error || current.error;
  return (
    <div className="follow" data-follow={report.row.uid}>
      <div className="follow-panes">
        {[
          { id: PRIOR, loaded: prior, over: undefined, name: "prior", active: 0 },
          { id: CURRENT, loaded: current, over: fusion, name: "current", active: 1 },
        ].map(({ id, loaded, over, name, active }) => (
          <div className="follow-cell" key={id}>
            {loaded.series?.volume.ok ? (
              <PlanePane
                id={id}
                plane="axial"
                series={loaded.series}
                phase={0}
                fusion={over}
                active={state.active === active}
                overlay={state.overlay}
                slab="none"
                thickness={10}
                onActivate={() => dispatch({ do: "set", part: { active } })}
                onReady={onPane}
              />
            ) : (
              <div className="pane-state" role="status">
                {loaded.error ? loaded.error : <i className="spinner" />}
              </div>
            )}
            <span className="tag">{name}</span>
            <Pointer cross={cross} pane={id} />
          </div>
        ))}
      </div>
      <div className="follow-told">
        {problem && <p className="bad" role="alert">{problem}</p>}
        <div className="follow-head">
          {own.length > 1 && (
            <select aria-label="Follow-up" value={report.row.uid} onChange={(e) => setChosen(e.target.value)}>
              {own.map((r, i) => (
                <option key={r.row.uid} value={r.row.uid}>
                  Follow-up {i + 1}
                </option>
              ))}
            </select>
          )}
          {responsesOf(report.findings).map((r) => (
            <p className="response" key={r.name} title={r.comment}>
              <b>{r.name}</b>
              {r.sure !== undefined && <span className="dim"> {Math.round(r.sure * 100)} %</span>}
            </p>
          ))}
          {sums.length > 0 && (
            <p className="sums">
              <span className="dim">Sum of diameters</span>{" "}
              {sums.map(([time, v]) => `${date(time)}: ${v.toFixed(0)} mm`).join(" → ")}
            </p>
          )}
          {spatial && (
            <p className={`verdict ${spatial.trusted ? "good" : "bad"}`}>Registration: {spatial.words}</p>
          )}
          {map && (
            <label className="check">
              <input type="checkbox" checked={mapped} onChange={(e) => setMapped(e.target.checked)} /> New-lesion map
            </label>
          )}
        </div>
        <table className="lesions">
          <thead>
            <tr>
              <th>Lesion</th>
              <th>Course</th>
              <th>Prior, ml</th>
              <th>Now, ml</th>
              <th>Change</th>
              <th>Long axis, mm</th>
            </tr>
          </thead>
          <tbody>
            {lesions.map((l) => {
              const two = l.volumes.length > 1;
              const only = l.code === "LESION_NEW" || l.code === "LESION_CANDIDATE";
              return (
                <tr
                  key={l.uid}
                  data-lesion={l.name}
                  data-course={l.code}
                  aria-selected={lesion === l.uid}
                  title={l.comment}
                  onClick={() => go(l.uid, l.name)}
                >
                  <th scope="row">
                    <button className="quiet small">{l.name}</button>
                  </th>
                  <td>{short(l.course)}</td>
                  <td>{ml(only ? undefined : l.volumes[0]?.[1])}</td>
                  <td>{ml(two || only ? l.volumes.at(-1)?.[1] : undefined)}</td>
                  <td>
                    {percent(l.change)}
                    {l.spread !== undefined && <span className="dim"> ± {l.spread.toFixed(0)}</span>}
                  </td>
                  <td>{l.axes.map(([, v]) => v.toFixed(1)).join(" → ")}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
        <Course courses={coursesOf(every)} chosen={lesion} onChoose={(uid) => go(uid, lesions.find((l) => l.uid === uid)?.name ?? "")} />
      </div>
    </div>
  );
}
