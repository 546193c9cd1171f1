/** Learning: installed models, the next cases, training on corrected ones, and keeping an outline. */

import { HttpError, getJson, postJson, request } from "./http";

const LABELS = "/api/monailabel";

export interface ModelTold {
  name: string;
  task: string;
  classes: string[];
  summary: string;
  modalities: string[];
  /** the operation that runs it: its own, or `models.segment` with its name */
  operation: string;
  /** it can be opened: a training can go on from it */
  kept: boolean;
  /** why its answers cannot be explained here; empty where they can */
  why_not: string;
}

export interface NextCase {
  series: string;
  study: string;
  patient: string;
  description: string;
  modality: string;
  /** from 0 (certain) to 1 */
  doubt: number;
  /** from 0 (like a case named before) to 1 */
  novelty: number;
  reason: string;
}

export type RunStatus = "NONE" | "RUNNING" | "DONE" | "ERROR" | "CANCELED";

export interface Search {
  status: RunStatus;
  models?: string[];
  progress?: number;
  message?: string;
  cases?: NextCase[];
  looked?: number;
  refused?: number;
  problems?: { series: string; reason: string }[];
}

export interface TrainingRun {
  status: RunStatus;
  model?: string;
  progress?: number;
  message?: string;
  /** name of the model that was made */
  result?: string;
}

export interface TrainingTold {
  able: boolean;
  why_not: string;
  /** series that a reader has outlined */
  cases: number;
}

export const getModels = () => getJson<ModelTold[]>("/api/learning/models");
export const getSearch = () => getJson<Search>("/api/learning/next");
export const startSearch = (models: string[], anyway: boolean) =>
  postJson<Search>("/api/learning/next", { models, anyway });
export const stopSearch = () => request("/api/learning/next", { method: "DELETE" });

export const getTrainable = () => getJson<TrainingTold>("/api/learning/training");
export const startTraining = (model: string, minutes: number) =>
  postJson<TrainingRun>(`${LABELS}/train/${encodeURIComponent(model)}`, { budget_minutes: minutes });
export const stopTraining = () => request(`${LABELS}/train/`, { method: "DELETE" });

export async function getTraining(): Promise<TrainingRun> {
  try {
    return await getJson<TrainingRun>(`${LABELS}/train/`);
  } catch (e) {
    if (e instanceof HttpError && e.status === 404) return { status: "NONE" };
    throw e;
  }
}

/** Keep a reader's label map (gzipped NIfTI) of a series; the series of the Segmentation it became. */
export async function saveOutline(series: string, nifti: Blob, names: string[]): Promise<string> {
  const form = new FormData();
  const info = names.map((name, i) => ({ name, idx: i + 1 }));
  form.append("params", JSON.stringify({ label_info: info }));
  form.append("label", nifti, "label.nii.gz");
  const answer = await request(`${LABELS}/datastore/label?image=${encodeURIComponent(series)}`, {
    method: "PUT",
    body: form,
  });
  return ((await answer.json()) as { label: string }).label;
}
