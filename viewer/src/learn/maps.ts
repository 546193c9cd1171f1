/** Maps of what a model looked at or doubts: Parametric Maps that lie over the series they explain. */

import type { SeriesRow } from "../api/dicomweb";
import { type Dataset, item, number, text } from "../dicom/json";
import { stepsOf } from "../study/History";
import type { Series } from "../study/series";

export const PALETTE = "soma-ember";
const EXPLAIN = "learn.explain";
const DOUBT = "models.uncertainty";

/** The series a map was made of. */
export function sourceOf(ds: Dataset | undefined): string {
  return stepsOf(ds).at(-1)?.inputs?.[0]?.split("#")[0] ?? "";
}

/** Told by its description, before anything of it is read. */
export function isMap(row: SeriesRow): boolean {
  return row.content === "image" && /\[(learn\.explain|models\.uncertainty)/.test(row.description);
}

export interface Faithful {
  deletion: number;
  insertion: number;
  /** of random maps on the same image */
  chance: [number, number];
}

export interface MapTold {
  kind: "explanation" | "doubt";
  /** class and method */
  title: string;
  /** what the colours mean */
  unit: string;
  faithful: Faithful | undefined;
}

const METHODS: Record<string, string> = {
  gradcam: "Grad-CAM",
  gradcampp: "Grad-CAM++",
  hirescam: "HiResCAM",
  layercam: "Layer-CAM",
  eigencam: "Eigen-CAM",
  gradients: "Integrated gradients",
  occlusion: "Occlusion",
  counterfactual: "Counterfactual",
};

export const methodName = (method: string): string => METHODS[method] ?? method;
export const METHOD_NAMES = Object.keys(METHODS);

const FIGURES = /del (-?\d+\.\d+)\/(-?\d+\.\d+) ins (-?\d+\.\d+)\/(-?\d+\.\d+)/;

/** What a map shows, or nothing where the series is none. */
export function toldOf(series: Series): MapTold | undefined {
  const ds = series.metadata[0];
  const step = stepsOf(ds).at(-1);
  if (step?.operation === DOUBT) {
    const kind = String(step.params?.["kind"] ?? "doubt");
    const title = kind === "quarrel" ? "Disagreement of the models" : "Doubt (entropy)";
    return { kind: "doubt", title, unit: "0 to 1", faithful: undefined };
  }
  if (step?.operation !== EXPLAIN) return undefined;
  const method = String(step.params?.["method"] ?? "");
  const target = text(ds, "0008103E").split(` ${method} `)[0] ?? "";
  const [, del, delBy, ins, insBy] = FIGURES.exec(text(ds, "00700081"))?.map(Number) ?? [];
  const faithful =
    del === undefined || delBy === undefined || ins === undefined || insBy === undefined
      ? undefined
      : { deletion: del, insertion: ins, chance: [delBy, insBy] as [number, number] };
  return { kind: "explanation", title: `${target}: ${methodName(method)}`, unit: "weight", faithful };
}

/** First and last value of a map (PS3.3 C.7.6.16.2.11). */
function endsOf(ds: Dataset | undefined): [number, number] {
  const mapped = item(item(ds, "52009229"), "00409096") ?? item(ds, "00409096");
  return [number(mapped, "00409214") ?? 0, number(mapped, "00409213") ?? 1];
}

/** Whether a map has nothing to show: zero everywhere, or below. */
export const isEmpty = (series: Series): boolean => endsOf(series.metadata[0])[1] <= 0;

/** The values between which a map has its colours: from zero to its largest, of a doubt from 0 to 1. */
export function rangeOf(series: Series): { lower: number; upper: number } {
  const ds = series.metadata[0];
  if (toldOf(series)?.kind === "doubt") return { lower: 0, upper: 1 };
  const [first, last] = endsOf(ds);
  return { lower: Math.min(0, first), upper: last > first ? last : first + 1 };
}
