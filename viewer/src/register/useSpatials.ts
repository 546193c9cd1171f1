/** The registrations of the series in hand, read once each. */

import { useEffect, useState } from "react";

import { type SeriesRow, getMetadata } from "../api/dicomweb";
import { type Spatial, spatialOf } from "./spatial";

const read = new Map<string, Promise<Spatial | undefined>>();

function load(row: SeriesRow): Promise<Spatial | undefined> {
  let promise = read.get(row.uid);
  if (!promise) {
    promise = getMetadata(row.study, row.uid).then((list) => (list[0] ? spatialOf(list[0]) : undefined));
    promise.catch(() => read.delete(row.uid));
    read.set(row.uid, promise);
  }
  return promise;
}

/** In the order of the list; what cannot be read is left out and said on its own page. */
export function useSpatials(rows: SeriesRow[]): Spatial[] {
  const [found, setFound] = useState<Spatial[]>([]);
  const wanted = rows.filter((r) => r.modality === "REG");
  const key = wanted.map((r) => r.uid).join();
  useEffect(() => {
    let live = true;
    void Promise.allSettled(wanted.map(load)).then((all) => {
      if (!live) return;
      setFound(all.flatMap((r) => (r.status === "fulfilled" && r.value ? [r.value] : [])));
    });
    return () => {
      live = false;
    };
    // The rows are made anew with every reload; their UIDs are what they are.
  }, [key]);
  return found;
}
