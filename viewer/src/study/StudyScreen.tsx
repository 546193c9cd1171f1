/** One open study: strip, toolbar, pictures, side panel. Everything is freed when it closes. */

import { useCallback, useEffect, useMemo, useReducer, useState } from "react";

import { type SeriesRow, type StudyRow, getStudy } from "../api/dicomweb";
import { date, number, personName } from "../dicom/json";
import { choose } from "../tools/groups";
import { release, start } from "../viewport/engine";
import { forgetLoading } from "../viewport/volumes";
import { Stage } from "./Stage";
import { SeriesStrip } from "./SeriesStrip";
import { SidePanel } from "./SidePanel";
import { INITIAL, activeSeries, paneId, reduce } from "./state";
import { Toolbar } from "./Toolbar";
import { forgetSeries } from "./series";
import { useCine } from "./useCine";
import { useKeys } from "./useKeys";
import { useSeries, useSeriesList } from "./useSeries";

export default function StudyScreen({ uid }: { uid: string }) {
  const [state, dispatch] = useReducer(reduce, INITIAL);
  const [study, setStudy] = useState<StudyRow>();
  const { rows, error, reload: reloadOwn } = useSeriesList(uid);
  const { rows: others, reload: reloadOther } = useSeriesList(state.other);
  const all = useMemo(() => [...(rows ?? []), ...(others ?? [])], [rows, others]);
  const reload = useCallback(
    async () => (await Promise.all([reloadOwn(), reloadOther()])).flat(),
    [reloadOwn, reloadOther],
  );
  const [panesReady, setPanesReady] = useState(0);
  const onReady = useCallback(() => setPanesReady((n) => n + 1), []);

  useEffect(() => {
    getStudy(uid).then(setStudy, () => undefined);
    void start(); // while the answers are on their way
    return () => {
      // After React has taken the panes down.
      queueMicrotask(() => {
        release();
        forgetSeries();
        forgetLoading();
      });
    };
  }, [uid]);

  const images = useMemo(
    () => (rows ?? []).filter((r) => r.content === "image"),
    [rows],
  );
  const show = useCallback((target: SeriesRow) => {
    if (target.content === "segmentation") {
      dispatch({ do: "set", part: { panel: "segments", segmentation: target.uid } });
      return;
    }
    dispatch({ do: target.content === "image" ? "open" : "read", series: target.uid });
    if (target.content === "raw") dispatch({ do: "set", part: { panel: "operations" } });
  }, []);
  const first = images[0] ?? rows?.find((r) => r.content === "raw") ?? rows?.[0];
  useEffect(() => {
    if (first && !state.cells[0]) show(first);
    // A row is made anew with every reload of the list; its UID is what it is.
  }, [first?.uid, state.cells, show]);

  const pane = paneId(state);
  const activeUid = activeSeries(state);
  const row = all.find((r) => r.uid === activeUid);
  const active = useSeries(row);
  const cine = useCine(pane, number(active.series?.metadata[0], "00180040") ?? number(active.series?.metadata[0], "00082144"));
  const volume = active.series?.volume;
  const reason = !volume || volume.ok ? "" : volume.reason;

  useEffect(() => choose(state.tool, state.crosshair), [state.tool, state.crosshair, state.layout, panesReady]);
  useKeys({ state, pane, rows: images, series: active.series, reason, cine, dispatch });

  const shown = new Set(state.cells.filter((c): c is string => c !== undefined));

  return (
    <div className="study" data-layout={state.layout}>
      <div className="study-head">
        <strong>{study ? personName(study.patientName) || "No name" : " "}</strong>
        {study && (
          <span className="dim">
            {[study.patientId, study.sex, study.birthDate && `born ${date(study.birthDate)}`, date(study.date), study.description]
              .filter(Boolean)
              .join("  ·  ")}
          </span>
        )}
      </div>
      <Toolbar
        state={state}
        pane={pane}
        rows={images}
        reason={reason}
        cine={cine}
        dispatch={dispatch}
      />
      <SeriesStrip
        rows={rows}
        shown={shown}
        active={activeUid}
        onOpen={(series) => {
          const target = rows?.find((r) => r.uid === series);
          if (target) show(target);
        }}
      />
      <section className="stage" aria-label="Images">
        {error ? (
          <div className="pane-state" role="alert">
            <strong>The study could not be read</strong>
            <span>{error}</span>
            <button onClick={() => void reload()}>Try again</button>
          </div>
        ) : rows?.length === 0 ? (
          <div className="pane-state" role="status">
            <strong>This study has no series</strong>
            <span>It may still be arriving; it will appear here by itself.</span>
          </div>
        ) : (
          <Stage
            state={state}
            rows={all}
            dispatch={dispatch}
            onReady={onReady}
            reload={reload}
          />
        )}
      </section>
      <SidePanel
        state={state}
        pane={pane}
        rows={rows ?? []}
        row={row}
        series={active.series}
        error={active.error}
        panes={panesReady}
        dispatch={dispatch}
        reload={reload}
      />
    </div>
  );
}
