/** What models answered in a study: told by how reports and segmentations were made. */

import { useEffect, useState } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { type ModelTold, getModels } from "../api/learning";
import { says } from "../api/http";
import { findingsOf } from "../dicom/findings";
import { stepsOf } from "../study/History";
import { loadSeries, seriesName } from "../study/series";

export interface Answer {
  row: SeriesRow;
  model: ModelTold;
  /** UIDs that the model was shown */
  inputs: string[];
  /** the model was to look at images too that are unlike its training images */
  anyway: boolean;
  /** what was found */
  said: string;
}

/** The installed models; asked again with another `turn`: a training may have made one. */
export function useModels(wanted: boolean, turn: string): { models: ModelTold[] | undefined; error: string } {
  const [models, setModels] = useState<ModelTold[]>();
  const [error, setError] = useState("");
  useEffect(() => {
    if (!wanted) return;
    let live = true;
    getModels().then(
      (list) => live && setModels(list),
      (e: unknown) => live && setError(says(e)),
    );
    return () => {
      live = false;
    };
  }, [wanted, turn]);
  return { models, error };
}

/** The model behind an operation with its parameters. */
export function modelOf(
  models: ModelTold[],
  operation: string | undefined,
  params: Record<string, unknown> | undefined,
): ModelTold | undefined {
  const named = params?.["model"];
  if (operation?.startsWith("models.")) return models.find((m) => m.name === named);
  return models.find((m) => m.operation === operation);
}

async function answerOf(row: SeriesRow, models: ModelTold[]): Promise<Answer[]> {
  const { metadata } = await loadSeries(row);
  const step = stepsOf(metadata[0]).at(-1);
  const model = modelOf(models, step?.operation, step?.params);
  if (!model || !step?.inputs?.[0]) return [];
  const finding = row.content === "document" ? findingsOf(metadata[0])[0] : undefined;
  const sure = finding?.sure === undefined ? "" : `, ${Math.round(finding.sure * 100)} %`;
  const said = finding ? `${finding.name}${sure}` : seriesName(row);
  return [{ row, model, inputs: step.inputs, anyway: step.params?.["anyway"] === true, said }];
}

export function useAnswers(rows: SeriesRow[], models: ModelTold[] | undefined): Answer[] {
  const [answers, setAnswers] = useState<Answer[]>([]);
  const told = rows.filter((r) => r.modality === "SR" || r.content === "segmentation");
  const key = told.map((r) => r.uid).join();
  useEffect(() => {
    if (!models) return;
    let live = true;
    void Promise.allSettled(told.map((r) => answerOf(r, models))).then((all) => {
      if (live) setAnswers(all.flatMap((a) => (a.status === "fulfilled" ? a.value : [])));
    });
    return () => {
      live = false;
    };
    // The rows are made anew with every reload; their UIDs are what they are.
  }, [key, models]);
  return answers;
}
