/** A segmentation read and laid on the slices of the series it was made on. */

import type { SeriesRow } from "../api/dicomweb";
import { type Series, loadSeries } from "../study/series";
import { type Segmentation, decodeSegmentation } from "./decode";
import { type Placed, place } from "./place";

export interface Laid {
  uid: string;
  segmentation: Segmentation;
  source: Series;
  placed: Placed;
  /** label value (1 to 255) of a segment number */
  indexOf: Map<number, number>;
}

/** `rows`: where its source is looked for. */
export async function lay(row: SeriesRow, rows: SeriesRow[]): Promise<Laid> {
  const { metadata } = await loadSeries(row);
  const first = metadata[0];
  if (!first) throw new Error("The segmentation has no instances.");
  const segmentation = await decodeSegmentation(row.study, row.uid, first);
  const sourceRow = rows.find((r) => r.uid === segmentation.referenced);
  if (!sourceRow) throw new Error("The series this segmentation was made on is not in this study.");
  const source = await loadSeries(sourceRow);
  const indexOf = new Map(segmentation.segments.slice(0, 255).map((s, i) => [s.number, i + 1]));
  const gap = source.volume.ok ? source.volume.spacing : (source.frames[0]?.thickness ?? 1);
  return { uid: row.uid, segmentation, source, placed: place(segmentation, source.frames, gap, indexOf), indexOf };
}
