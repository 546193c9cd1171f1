/** A series as the viewer holds it: frames in order, what they can be shown as, and why not. */

import { type SeriesRow, getMetadata } from "../api/dicomweb";
import { request } from "../api/http";
import type { Content } from "../dicom/content";
import { type Dataset, text } from "../dicom/json";
import { type Frame, framesOf, ordered } from "../geometry/frames";
import { phaseNames, phases } from "../geometry/phases";
import { type Volume, volumeOf } from "../geometry/volume";
import { register } from "../viewport/provider";

export interface Series {
  row: SeriesRow;
  kind: Content;
  metadata: Dataset[];
  frames: Frame[];
  /** frames that share a place, told apart: time points, echoes, b-values */
  phases: Frame[][];
  phaseNames: string[];
  /** the volume of each phase; `volume` is the first */
  volumes: Volume[];
  volume: Volume;
  unit: string;
  colour: boolean;
}

const SEGMENTATIONS = new Set(["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"]);
const PALETTES = ["00281201", "00281202", "00281203"] as const;

let loading = new Map<string, Promise<Series>>();

export function forgetSeries(): void {
  loading = new Map();
}

/** Load once; one metadata request per series. */
export function loadSeries(row: SeriesRow): Promise<Series> {
  let promise = loading.get(row.uid);
  if (!promise) {
    promise = read(row);
    promise.catch(() => loading.delete(row.uid));
    loading.set(row.uid, promise);
  }
  return promise;
}

async function read(row: SeriesRow): Promise<Series> {
  const metadata = await getMetadata(row.study, row.uid);
  const first = metadata[0];
  if (!first) throw new Error("The archive has no instances for this series.");
  const kind: Content = SEGMENTATIONS.has(text(first, "00080016"))
    ? "segmentation"
    : metadata.some((ds) => ds["00280010"])
      ? "image"
      : row.content === "raw"
        ? "raw"
        : "document";
  const frames: Frame[] = [];
  if (kind === "image") {
    await fetchPalettes(metadata);
    for (const ds of metadata) {
      const sop = text(ds, "00080018");
      frames.push(
        ...framesOf(ds, `/dicom-web/studies/${row.study}/series/${row.uid}/instances/${sop}`),
      );
    }
    register(frames);
  }
  const groups = phases(frames).map(ordered);
  const volumes = groups.map(volumeOf);
  return {
    row,
    kind,
    metadata,
    frames: groups.flat(),
    phases: groups,
    phaseNames: phaseNames(groups),
    volumes,
    volume: volumes[0] ?? volumeOf([]),
    unit: frames[0]?.unit ?? "",
    colour: /RGB|YBR|PALETTE/.test(text(first, "00280004")),
  };
}

async function fetchPalettes(metadata: Dataset[]): Promise<void> {
  for (const ds of metadata) {
    if (text(ds, "00280004") !== "PALETTE COLOR") continue;
    await Promise.all(
      PALETTES.map(async (tag) => {
        const element = ds[tag];
        if (!element?.BulkDataURI) return;
        const response = await request(element.BulkDataURI, {
          headers: { Accept: "application/octet-stream" },
        });
        const bytes = new Uint8Array(await response.arrayBuffer());
        let raw = "";
        for (const byte of bytes) raw += String.fromCharCode(byte);
        ds[tag] = { vr: "OW", InlineBinary: btoa(raw) };
      }),
    );
  }
}

/** A short name for lists. */
export function seriesName(row: SeriesRow): string {
  return row.description || `${row.modality || "Series"} ${row.number ?? ""}`.trim();
}
