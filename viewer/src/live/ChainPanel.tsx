/** The operations that every frame goes through: add, remove, move, and their parameters. */

import { useState } from "react";

import type { OperationSchema } from "../api/application";
import { Form, defaults } from "../operations/Form";
import { Icon } from "../parts/Icon";
import type { Step } from "./connection";

export interface Link extends Step {
  id: number;
}

let counter = 0;

export function link(schema: OperationSchema, params: Record<string, unknown> = {}): Link {
  counter += 1;
  return { id: counter, operation: schema.name, params: { ...defaults(schema.params), ...params } };
}

export function ChainPanel(props: {
  operations: OperationSchema[];
  chain: Link[];
  onChange: (chain: Link[]) => void;
}) {
  const { operations, chain, onChange } = props;
  const [open, setOpen] = useState<number>();
  const known = new Map(operations.map((o) => [o.name, o]));
  const swap = (i: number) =>
    onChange(chain.map((l, k) => (k === i ? chain[i - 1] : k === i - 1 ? chain[i] : l) as Link));
  return (
    <section>
      <h3>Every frame goes through</h3>
      <ol className="chain">
        {chain.map((step, i) => {
          const schema = known.get(step.operation);
          return (
            <li key={step.id} data-step={step.operation}>
              <div className="chain-head">
                <button
                  className="quiet grow"
                  aria-expanded={open === step.id}
                  onClick={() => setOpen(open === step.id ? undefined : step.id)}
                >
                  {i + 1}. {step.operation.replace("process.", "")}
                </button>
                {i > 0 && (
                  <button className="icon" onClick={() => swap(i)} aria-label="Move up" title="Move up">
                    ↑
                  </button>
                )}
                <button
                  className="icon"
                  onClick={() => onChange(chain.filter((l) => l.id !== step.id))}
                  aria-label={`Remove ${step.operation}`}
                  title="Remove"
                >
                  <Icon name="close" />
                </button>
              </div>
              {open === step.id && schema && (
                <Form
                  schema={schema.params}
                  values={step.params}
                  onChange={(params) => onChange(chain.map((l) => (l.id === step.id ? { ...l, params } : l)))}
                />
              )}
            </li>
          );
        })}
      </ol>
      <select
        aria-label="Add an operation"
        value=""
        onChange={(e) => {
          const schema = known.get(e.target.value);
          if (!schema) return;
          const added = link(schema);
          onChange([...chain, added]);
          setOpen(added.id);
        }}
      >
        <option value="">Add an operation …</option>
        {operations.map((o) => (
          <option key={o.name} value={o.name} title={o.summary}>
            {o.name.replace("process.", "")}
          </option>
        ))}
      </select>
    </section>
  );
}
