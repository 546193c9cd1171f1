/** The follow-ups of a study: reports, and the series that belong to one. */

import { useEffect, useMemo, useState } from "react";

import { type SeriesRow, getMetadata, studyOf } from "../api/dicomweb";
import { says } from "../api/http";
import { type Finding, findingsOf } from "../dicom/findings";
import type { Dataset } from "../dicom/json";
import { type Spatial, inputsOf } from "../register/spatial";
import { useSpatials } from "../register/useSpatials";
import { stepsOf } from "../study/History";
import { isFollowUp } from "./lesions";

const OPERATION = "analyze.follow_up";

export interface Report {
  row: SeriesRow;
  /** UIDs of current, prior, lesions of the prior, perhaps lesions of now */
  inputs: string[];
  findings: Finding[];
}

interface Made {
  row: SeriesRow;
  inputs: string[];
}

const sameInputs = (a: string[], b: string[]) => a.length > 0 && a.join() === b.join();

function madeBy(ds: Dataset | undefined): string[] | undefined {
  return stepsOf(ds).at(-1)?.operation === OPERATION ? inputsOf(ds) : undefined;
}

async function readReports(rows: SeriesRow[]): Promise<Report[]> {
  const all = await Promise.all(
    rows.map(async (row): Promise<Report> => {
      const [ds] = await getMetadata(row.study, row.uid);
      return { row, inputs: madeBy(ds) ?? [], findings: findingsOf(ds) };
    }),
  );
  return all.filter((r) => isFollowUp(r.findings));
}

async function readMade(rows: SeriesRow[]): Promise<Made[]> {
  const all = await Promise.allSettled(
    rows.map(async (row) => ({ row, inputs: madeBy((await getMetadata(row.study, row.uid))[0]) ?? [] })),
  );
  return all.flatMap((r) => (r.status === "fulfilled" && r.value.inputs.length > 0 ? [r.value] : []));
}

export interface Followed {
  reports: Report[] | undefined;
  /** of the chosen report */
  current: SeriesRow | undefined;
  prior: SeriesRow | undefined;
  spatial: Spatial | undefined;
  /** segmentations: of now, and of the prior examination */
  lesions: SeriesRow | undefined;
  drawn: SeriesRow | undefined;
  map: SeriesRow | undefined;
  error: string;
}

/** `rows` of both studies; `onOther` is told where the prior lies when it is another study. */
export function useFollowed(rows: SeriesRow[], study: string, chosen: string, onOther: (study: string) => void): Followed {
  const [reports, setReports] = useState<Report[]>();
  const [made, setMade] = useState<Made[]>([]);
  const [error, setError] = useState("");
  const documents = rows.filter((r) => r.modality === "SR");
  const others = rows.filter((r) => r.study === study && (r.content === "segmentation" || r.content === "image"));
  const key = documents.map((r) => r.uid).join();
  const otherKey = others.map((r) => r.uid).join();
  useEffect(() => {
    let live = true;
    readReports(documents).then((found) => live && setReports(found), (e: unknown) => live && setError(says(e)));
    return () => {
      live = false;
    };
    // The rows are made anew with every reload; their UIDs are what they are.
  }, [key]);
  const report = reports?.find((r) => r.row.uid === chosen) ?? reports?.filter((r) => r.row.study === study).at(-1);
  useEffect(() => {
    if (!report) return;
    let live = true;
    void readMade(others).then((found) => live && setMade(found));
    return () => {
      live = false;
    };
  }, [report?.row.uid, otherKey]);
  const [, prior] = report?.inputs ?? [];
  useEffect(() => {
    if (!prior || rows.some((r) => r.uid === prior)) return;
    let live = true;
    studyOf(prior).then(
      (uid) => live && (uid ? onOther(uid) : setError("The prior examination is not in this archive.")),
      (e: unknown) => live && setError(says(e)),
    );
    return () => {
      live = false;
    };
  }, [prior, rows.length, onOther]);
  const spatials = useSpatials(rows);
  return useMemo(() => {
    const inputs = report?.inputs ?? [];
    const row = (uid: string | undefined) => rows.find((r) => r.uid === uid);
    const mine = made.filter((m) => sameInputs(m.inputs, inputs)).map((m) => m.row);
    return {
      reports,
      current: row(inputs[0]),
      prior: row(inputs[1]),
      spatial: spatials.find((s) => sameInputs(s.inputs, inputs)),
      lesions: mine.find((r) => r.content === "segmentation"),
      drawn: row(inputs[2]),
      map: mine.find((r) => r.content === "image"),
      error,
    };
  }, [reports, report, made, rows, spatials, error]);
}
