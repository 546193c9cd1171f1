/** Which operations suit which series: the declared nouns of the inputs against what a series holds. */

import type { Job, OperationSchema } from "../api/application";
import type { SeriesRow } from "../api/dicomweb";
import type { Content } from "../dicom/content";

const NOUNS: Record<Content, string> = {
  image: "Image",
  raw: "Acquisition",
  segmentation: "Mask",
  document: "",
};

const nounsOf = (type: string) => type.replace("[]", "").split("|").map((t) => t.trim());

/** Whether a series can be given for an input declared as `type` (`Image`, `Image|Mask`, `Image[]`). */
export function takes(type: string, content: Content): boolean {
  const nouns = nounsOf(type);
  return nouns.includes("Any") || nouns.includes(NOUNS[content]);
}

/** Operations to offer for a series: its first input takes it, the others can be had from images. */
export function offered(operations: OperationSchema[], row: SeriesRow | undefined): OperationSchema[] {
  if (!row) return [];
  const fitting = operations.filter((o) => o.inputs[0] && takes(o.inputs[0].type, row.content));
  const own = `.${row.modality.toLowerCase()}.`;
  const rank = (o: OperationSchema) => (row.content === "raw" && o.name.includes(own) ? 0 : 1);
  return fitting.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** `acquire.ct.fbp` is said as `Acquire: ct fbp`. */
export function title(name: string): string {
  const [verb = "", ...rest] = name.split(".");
  return rest.length
    ? `${verb[0]?.toUpperCase()}${verb.slice(1)}: ${rest.join(" ").replaceAll("_", " ")}`
    : name;
}

/**
 * What a result is best compared with: the image it was made of; where that was raw data, the
 * picture that the same operation made of it before.
 */
export function counterpart(job: Job, jobs: Job[], rows: SeriesRow[]): SeriesRow | undefined {
  const image = (uid: string | undefined) =>
    rows.find((r) => r.uid === uid?.split("#")[0] && r.content === "image");
  const input = job.inputs.map(image).find((r) => r !== undefined);
  if (input) return input;
  const earlier = jobs
    .filter((j) => j.state === "done" && j.created < job.created && j.inputs[0] === job.inputs[0])
    .sort((a, b) => (a.created < b.created ? 1 : -1));
  const same = earlier.filter((j) => j.operation === job.operation);
  return [...same, ...earlier]
    .flatMap((j) => j.outputs.map(image))
    .find((r) => r !== undefined && !job.outputs.includes(r.uid));
}
