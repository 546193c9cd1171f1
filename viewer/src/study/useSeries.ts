/** The list of series of a study (of none: empty), and each series once it is wanted. */

import { useCallback, useEffect, useState } from "react";

import { type SeriesRow, getSeries } from "../api/dicomweb";
import { type ArchiveEvent, listen } from "../api/events";
import { says } from "../api/http";
import { type Series, loadSeries } from "./series";

export function useSeriesList(study: string) {
  const [rows, setRows] = useState<SeriesRow[]>();
  const [error, setError] = useState("");
  const reload = useCallback(
    () =>
      (study ? getSeries(study) : Promise.resolve([])).then(
        (list) => {
          setRows(list);
          setError("");
          return list;
        },
        (e: unknown) => {
          setError(says(e));
          return [] as SeriesRow[];
        },
      ),
    [study],
  );
  useEffect(() => {
    void reload();
    let timer = 0;
    const soon = () => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        void reload();
      }, 400);
    };
    const stops = [
      listen("archive", (data) => {
        const event = data as ArchiveEvent;
        if (!event.study || event.study === study) soon();
      }),
      listen("resync", soon),
    ];
    return () => {
      for (const stop of stops) stop();
      window.clearTimeout(timer);
    };
  }, [reload, study]);
  return { rows, error, reload };
}

export interface Loaded {
  series: Series | undefined;
  error: string;
}

export function useSeries(row: SeriesRow | undefined): Loaded {
  const [state, setState] = useState<Loaded & { uid: string | undefined }>({
    series: undefined,
    error: "",
    uid: undefined,
  });
  const uid = row?.uid;
  useEffect(() => {
    if (!row) return;
    let live = true;
    loadSeries(row).then(
      (series) => live && setState({ series, error: "", uid: row.uid }),
      (e: unknown) => live && setState({ series: undefined, error: says(e), uid: row.uid }),
    );
    return () => {
      live = false;
    };
    // A row is made anew with every reload of the list; its UID is what it is.
  }, [uid]);
  return state.uid === uid ? state : { series: undefined, error: "" };
}
