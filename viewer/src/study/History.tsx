/** How a result was made: the operations in its provenance, newest last. */

import { type Dataset, text } from "../dicom/json";

interface Step {
  operation?: string;
  /** UIDs it was given */
  inputs?: string[];
  name?: string;
  params?: Record<string, unknown>;
}

/** Steps in the provenance of our private block (group 5353, creator SOMASCOPE). */
export function stepsOf(ds: Dataset | undefined): Step[] {
  for (let block = 0x10; block <= 0x1f; block++) {
    const creator = `535300${block.toString(16)}`.toUpperCase();
    if (text(ds, creator) !== "SOMASCOPE") continue;
    try {
      const parsed: unknown = JSON.parse(text(ds, `5353${block.toString(16)}01`.toUpperCase()));
      const steps = (parsed as { steps?: Step[] }).steps;
      return Array.isArray(steps) ? steps : [];
    } catch {
      return [];
    }
  }
  return [];
}

/** Longer lists (marks, matrices) are only counted. */
const LISTED = 16;

function said(value: unknown): string {
  if (value === null) return "automatic";
  if (typeof value === "number") return String(Number(value.toPrecision(5)));
  if (Array.isArray(value) && value.length > LISTED) return `${value.length} numbers`;
  return Array.isArray(value) ? value.map(said).join(" × ") : String(value);
}

/** What the last operation of `one` was given otherwise than that of `other`: `kernel hann`. */
export function differing(one: Dataset | undefined, other: Dataset | undefined): string {
  const [a, b] = [stepsOf(one).at(-1), stepsOf(other).at(-1)];
  if (!a) return "";
  if (a.operation !== b?.operation) return a.operation ?? "";
  return Object.entries(a.params ?? {})
    .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(b?.params?.[name]))
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${said(value)}`)
    .join(", ");
}

export function History({ dataset }: { dataset: Dataset | undefined }) {
  const steps = stepsOf(dataset);
  if (steps.length === 0) return null;
  return (
    <ol className="history" aria-label="Operations that made this series">
      {steps.map((step, i) => (
        <li key={i}>
          <b>{step.operation ?? step.name ?? "step"}</b>
          <span className="dim">
            {Object.entries(step.params ?? {})
              .filter(([, value]) => value !== null)
              .map(([name, value]) => `${name.replaceAll("_", " ")} ${said(value)}`)
              .join(", ")}
          </span>
        </li>
      ))}
    </ol>
  );
}
