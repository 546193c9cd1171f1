/** What the reports of follow-ups say, lesion by lesion. */

import type { Finding } from "../dicom/findings";

export interface Lesion {
  uid: string;
  name: string;
  /** `Lesion has grown`; empty where a report only measures it */
  course: string;
  code: string;
  comment: string;
  sure: number | undefined;
  /** mm3 and mm by time point, in order */
  volumes: [string, number][];
  axes: [string, number][];
  /** % and its standard uncertainty */
  change: number | undefined;
  spread: number | undefined;
}

/** Answer of a guideline: `Partial response`, and why. */
export interface Response {
  name: string;
  comment: string;
  sure: number | undefined;
}

const VOLUME = "118565006";
const LONG = "103339001";
const CHANGE = "VOLUME_CHANGE";

const inTime = (list: [string, number][]): [string, number][] => [...list].sort(([a], [b]) => a.localeCompare(b));

/** Lesions in the order of the report. */
export function lesionsOf(findings: Finding[]): Lesion[] {
  const found = new Map<string, Lesion>();
  for (const f of findings) {
    const mine = f.value === undefined ? f.code.startsWith("LESION_") : [VOLUME, LONG, CHANGE].includes(f.code);
    if (!f.tracking || !mine) continue;
    const lesion = found.get(f.tracking) ?? {
      uid: f.tracking, name: f.tracked, course: "", code: "", comment: "", sure: undefined,
      volumes: [], axes: [], change: undefined, spread: undefined,
    };
    found.set(f.tracking, lesion);
    if (f.value === undefined) {
      Object.assign(lesion, { course: f.name, code: f.code, comment: f.comment, sure: f.sure });
    } else if (f.code === CHANGE) {
      Object.assign(lesion, { change: f.value, spread: f.spread });
    } else {
      (f.code === VOLUME ? lesion.volumes : lesion.axes).push([f.time, f.value]);
    }
  }
  return [...found.values()].map((l) => ({ ...l, volumes: inTime(l.volumes), axes: inTime(l.axes) }));
}

/** Whether a report is one of a follow-up. */
export const isFollowUp = (findings: Finding[]): boolean =>
  findings.some((f) => f.value === undefined && f.tracking !== "" && f.code.startsWith("LESION_"));

/** What guidelines answered. */
export function responsesOf(findings: Finding[]): Response[] {
  return findings
    .filter((f) => f.value === undefined && !f.code.startsWith("LESION_") && !f.code.startsWith("NONTARGET_"))
    .map(({ name, comment, sure }) => ({ name, comment, sure }));
}

/** The sum of diameters by time point, of all reports. */
export function sumsOf(reports: Finding[][]): [string, number][] {
  const found = new Map<string, number>();
  for (const f of reports.flat()) {
    if (f.code === "SUM_DIAMETERS" && f.value !== undefined) found.set(f.time, f.value);
  }
  return inTime([...found]);
}

/** Volumes of each lesion over all reports; what two say of one time is taken from the later. */
export function coursesOf(reports: Finding[][]): { name: string; uid: string; volumes: [string, number][] }[] {
  const found = new Map<string, { name: string; volumes: Map<string, number> }>();
  for (const lesion of reports.flatMap(lesionsOf)) {
    const one = found.get(lesion.uid) ?? { name: lesion.name, volumes: new Map<string, number>() };
    for (const [time, value] of lesion.volumes) one.volumes.set(time, value);
    found.set(lesion.uid, one);
  }
  return [...found].map(([uid, { name, volumes }]) => ({ uid, name, volumes: inTime([...volumes]) }));
}
