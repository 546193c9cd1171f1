/** DICOMweb at /dicom-web: QIDO-RS, WADO-RS, STOW-RS (PS3.18 chapter 10). */

import { type Dataset, number, text, texts } from "../dicom/json";
import { withRecord } from "../dicom/record";
import { type Content, RAW_DATA, contentOf } from "../dicom/content";
import { getJson, request } from "./http";

export const ROOT = "/dicom-web";

export interface StudyRow {
  uid: string;
  patientName: string;
  patientId: string;
  birthDate: string;
  sex: string;
  date: string;
  time: string;
  description: string;
  accession: string;
  modalities: string[];
  series: number;
  instances: number;
}

export interface SeriesRow {
  uid: string;
  study: string;
  modality: string;
  number: number | undefined;
  description: string;
  bodyPart: string;
  instances: number;
  content: Content;
}

export interface StudyQuery {
  text?: string;
  modality?: string;
  from?: string;
  to?: string;
  limit?: number;
  offset?: number;
}

function studyRow(ds: Dataset): StudyRow {
  return {
    uid: text(ds, "0020000D"),
    patientName: text(ds, "00100010"),
    patientId: text(ds, "00100020"),
    birthDate: text(ds, "00100030"),
    sex: text(ds, "00100040"),
    date: text(ds, "00080020"),
    time: text(ds, "00080030"),
    description: text(ds, "00081030"),
    accession: text(ds, "00080050"),
    modalities: texts(ds, "00080061").flatMap((m) => m.split("\\")).filter(Boolean),
    series: number(ds, "00201206") ?? 0,
    instances: number(ds, "00201208") ?? 0,
  };
}

const STUDY_FIELDS =
  "00100010,00100020,00100030,00100040,00080020,00080030,00080050,00080061,00081030,00201206,00201208";

async function query(parameters: URLSearchParams, signal?: AbortSignal): Promise<StudyRow[]> {
  const rows = await getJson<Dataset[]>(
    `${ROOT}/studies?${parameters}`,
    signal ? { signal } : {},
  );
  return rows.map(studyRow);
}

/** Studies that match all of `q`; its text is looked for in name, ID, description and accession. */
export async function searchStudies(q: StudyQuery, signal?: AbortSignal): Promise<StudyRow[]> {
  const fixed = new URLSearchParams({
    limit: String(q.limit ?? 200),
    offset: String(q.offset ?? 0),
    includefield: STUDY_FIELDS,
  });
  if (q.modality) fixed.set("ModalitiesInStudy", q.modality);
  if (q.from || q.to) {
    const day = (value?: string) => (value ?? "").replaceAll("-", "");
    fixed.set("StudyDate", `${day(q.from)}-${day(q.to)}`);
  }
  const wanted = q.text?.trim();
  if (!wanted) return query(fixed, signal);
  const pattern = `*${wanted.replaceAll(/\s*,\s*|\s+/g, "*")}*`;
  const keys = ["PatientName", "PatientID", "StudyDescription", "AccessionNumber"];
  const found = await Promise.all(
    keys.map((key) => {
      const parameters = new URLSearchParams(fixed);
      parameters.set(key, pattern);
      return query(parameters, signal);
    }),
  );
  const unique = new Map(found.flat().map((row) => [row.uid, row]));
  return [...unique.values()];
}

export async function getStudy(uid: string): Promise<StudyRow | undefined> {
  const parameters = new URLSearchParams({ StudyInstanceUID: uid, includefield: STUDY_FIELDS });
  return (await query(parameters))[0];
}

/** Number of Raw Data instances by series: no attribute of a series tells raw data from images. */
async function rawInstances(study: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const parameters = new URLSearchParams({ SOPClassUID: RAW_DATA, includefield: "0020000E" });
  const rows = await getJson<Dataset[]>(`${ROOT}/studies/${study}/instances?${parameters}`);
  for (const ds of rows) {
    const uid = text(ds, "0020000E");
    counts.set(uid, (counts.get(uid) ?? 0) + 1);
  }
  return counts;
}

export async function getSeries(study: string): Promise<SeriesRow[]> {
  const [rows, raw] = await Promise.all([
    getJson<Dataset[]>(
      `${ROOT}/studies/${study}/series?includefield=0008103E,00200011,00201209,00180015`,
    ),
    rawInstances(study).catch(() => new Map<string, number>()),
  ]);
  const isRaw = (ds: Dataset) => {
    const count = raw.get(text(ds, "0020000E")) ?? 0;
    return count > 0 && count >= (number(ds, "00201209") ?? 0);
  };
  return rows
    .map((ds) => ({
      uid: text(ds, "0020000E"),
      study,
      modality: text(ds, "00080060"),
      number: number(ds, "00200011"),
      description: text(ds, "0008103E"),
      bodyPart: text(ds, "00180015"),
      instances: number(ds, "00201209") ?? 0,
      content: contentOf(text(ds, "00080060"), isRaw(ds)),
    }))
    .sort((a, b) => (a.number ?? 1e9) - (b.number ?? 1e9) || a.uid.localeCompare(b.uid));
}

/** The study that holds a series, or nothing. */
export async function studyOf(series: string): Promise<string> {
  const parameters = new URLSearchParams({ SeriesInstanceUID: series, includefield: "0020000D" });
  const rows = await getJson<Dataset[]>(`${ROOT}/series?${parameters}`);
  return text(rows[0], "0020000D");
}

/** All instances of a series without bulk data: one request, and one more for a long history. */
export async function getMetadata(study: string, series: string): Promise<Dataset[]> {
  return withRecord(await getJson<Dataset[]>(`${ROOT}/studies/${study}/series/${series}/metadata`));
}

export function seriesThumbnail(study: string, series: string): string {
  return `${ROOT}/studies/${study}/series/${series}/thumbnail`;
}

export function instanceThumbnail(study: string, series: string, instance: string): string {
  return `${ROOT}/studies/${study}/series/${series}/instances/${instance}/rendered?viewport=128,128`;
}

/** The Part 10 bytes of one instance, uncompressed where the server can. */
export async function getInstance(
  study: string,
  series: string,
  instance: string,
): Promise<Uint8Array> {
  const url = `${ROOT}/studies/${study}/series/${series}/instances/${instance}`;
  const response = await request(url, {
    headers: {
      Accept:
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1, ' +
        'multipart/related; type="application/dicom"; transfer-syntax=*',
    },
  });
  const body = new Uint8Array(await response.arrayBuffer());
  return firstPart(body, response.headers.get("Content-Type") ?? "");
}

/** The first part of a multipart/related body (RFC 2387), or the body when it is single part. */
export function firstPart(body: Uint8Array, contentType: string): Uint8Array {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (!boundary) return body;
  const ascii = (s: string) => Uint8Array.from(s, (c) => c.charCodeAt(0));
  const start = find(body, ascii("\r\n\r\n"), 0);
  const end = find(body, ascii(`\r\n--${boundary}`), start + 4);
  return body.subarray(start + 4, end < 0 ? body.length : end);
}

function find(body: Uint8Array, wanted: Uint8Array, from: number): number {
  const first = wanted[0] ?? 0;
  for (let i = body.indexOf(first, from); i >= 0; i = body.indexOf(first, i + 1)) {
    if (wanted.every((byte, k) => body[i + k] === byte)) return i;
  }
  return -1;
}
