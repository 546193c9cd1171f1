/** What a structured report found (PS3.3 C.17.3): numbers with units, and coded findings. */

import { type Dataset, item, items, number, text } from "./json";

export interface Finding {
  name: string;
  /** the number, or nothing for a coded finding */
  value: number | undefined;
  /** why there is no number: `Not a number` */
  lacking: string;
  unit: string;
  spread: number | undefined;
  /** from 0 to 1 */
  sure: number | undefined;
  /** the concept's, or that of a coded finding */
  code: string;
  /** what is said beside a coded finding */
  comment: string;
  /** of which lesion (PS3.16 TID 1501), and of which examination */
  tracking: string;
  tracked: string;
  time: string;
}

/** What a measurement group says of all that is in it. */
type Group = Pick<Finding, "comment" | "tracking" | "tracked" | "time">;
const NO_GROUP: Group = { comment: "", tracking: "", tracked: "", time: "" };

const CONTENT = "0040A730";
const NAME = "0040A043";
const MEASURED = "0040A300";
const FINDING = "121071";
const CERTAINTY = "111012";
const UNCERTAINTY = "371884006";
const PROBABILITY = "122157";
const DERIVATION = "121401";
const COMMENT = "121106";
const TRACKED = "112039";
const TRACKING = "112040";
const TIME = "C2348792";
const DEEPEST = 32;

function meaning(ds: Dataset, tag: string): string {
  return text(item(ds, tag), "00080104");
}

function code(ds: Dataset): string {
  const name = item(ds, NAME);
  return text(name, "00080100") || text(name, "00080119");
}

function measured(ds: Dataset): { value: number | undefined; unit: string } {
  const found = item(ds, MEASURED);
  const unit = item(found, "004008EA");
  return {
    value: number(found, "0040A161") ?? number(found, "0040A30A"),
    unit: text(unit, "00080102") === "UCUM" ? text(unit, "00080100") : text(unit, "00080104"),
  };
}

function property(ds: Dataset, wanted: string): number | undefined {
  const found = items(ds, CONTENT).find((i) => code(i) === wanted);
  if (!found) return undefined;
  const { value, unit } = measured(found);
  return value === undefined ? undefined : unit === "%" && wanted === CERTAINTY ? value / 100 : value;
}

function one(ds: Dataset, name: string, said: string, group: Group): Finding {
  return {
    ...group,
    name,
    code: said,
    ...measured(ds),
    lacking: meaning(ds, "0040A301"),
    spread: property(ds, UNCERTAINTY),
    sure: property(ds, CERTAINTY),
  };
}

function named(ds: Dataset): string {
  const name = meaning(ds, NAME);
  const below = items(ds, CONTENT);
  const part = below.find((i) => code(i) === DERIVATION);
  if (part) return `${name}, ${meaning(part, "0040A168")}`;
  const which = code(ds) === PROBABILITY ? below.find((i) => text(i, "0040A160")) : undefined;
  return which ? `${name} of ${text(which, "0040A160")}` : name;
}

function groupOf(ds: Dataset): Group {
  const found = { ...NO_GROUP };
  for (const child of items(ds, CONTENT)) {
    const value = text(child, "0040A160");
    const name = code(child);
    if (name === COMMENT) found.comment = value;
    else if (name === TRACKED) found.tracked = value;
    else if (name === TIME) found.time = value;
    else if (name === TRACKING) found.tracking = text(child, "0040A124");
  }
  return found;
}

function walk(ds: Dataset, found: Finding[], depth: number): void {
  if (depth > DEEPEST) return;
  const group = depth > 0 ? groupOf(ds) : NO_GROUP;
  for (const child of items(ds, CONTENT)) {
    const relation = text(child, "0040A010");
    if (relation === "HAS ACQ CONTEXT" || relation === "HAS OBS CONTEXT") continue;
    const kind = text(child, "0040A040");
    if (kind === "NUM") found.push(one(child, named(child), code(child), group));
    else if (kind === "CODE" && code(child) === FINDING) {
      const value = text(item(child, "0040A168"), "00080100");
      found.push(one(child, meaning(child, "0040A168"), value, group));
    }
    else if (kind === "CONTAINER") walk(child, found, depth + 1);
  }
}

/** Findings in the order of the report. */
export function findingsOf(ds: Dataset | undefined): Finding[] {
  const found: Finding[] = [];
  if (ds) walk(ds, found, 0);
  return found;
}

