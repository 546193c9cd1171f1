/** A chain of operations as the page holds it, and as text: `gaussian sigma=2 | clahe`. */

import { type OperationSchema, type Step } from "../api/application";
import { defaults } from "../operations/Form";

export interface Link extends Step {
  id: number;
  /** switched off, it stays in the list and is left out of the work */
  on: boolean;
}

let counter = 0;

export function link(schema: OperationSchema, params: Record<string, unknown> = {}, on = true): Link {
  counter += 1;
  return { id: counter, operation: schema.name, params: { ...defaults(schema.params), ...params }, on };
}

/** The steps that are switched on. */
export function stepsOf(chain: Link[]): Step[] {
  return chain.filter((l) => l.on).map(({ operation, params }) => ({ operation, params }));
}

export const shortName = (operation: string) => operation.replace("process.", "").replaceAll("_", " ");

function word(value: unknown): string {
  if (value === null) return "none";
  return Array.isArray(value) ? value.map(word).join(",") : String(value);
}

const quoted = (text: string) => (/^[\w.,=+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`);

/** What `process.chain` takes: parameters that differ from their defaults are said. */
export function textOf(steps: Step[], operations: OperationSchema[]): string {
  return steps
    .map((step) => {
      const known = operations.find((o) => o.name === step.operation)?.params.properties ?? {};
      const said = Object.entries(step.params)
        .filter(([name, value]) => JSON.stringify(known[name]?.default) !== JSON.stringify(value))
        .map(([name, value]) => quoted(`${name}=${word(value)}`));
      return [step.operation.replace("process.", ""), ...said].join(" ");
    })
    .join(" | ");
}

/** The job that makes a series of these steps: one operation as itself, several as a chain. */
export function jobOf(steps: Step[], operations: OperationSchema[]): Step {
  const [only] = steps;
  if (only && steps.length === 1) return only;
  return { operation: "process.chain", params: { steps: textOf(steps, operations) } };
}
