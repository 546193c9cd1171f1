/** A chain of operations: add, remove, move, switch off, and their parameters. */

import { memo, useState } from "react";

import type { OperationSchema } from "../api/application";
import { Form } from "../operations/Form";
import { Icon } from "../parts/Icon";
import { type Link, link, shortName } from "./chain";

export const ChainPanel = memo(function ChainPanel(props: {
  title: string;
  operations: OperationSchema[];
  chain: Link[];
  most: number;
  onChange: (chain: Link[]) => void;
}) {
  const { title, operations, chain, most, onChange } = props;
  const [open, setOpen] = useState<number>();
  const known = new Map(operations.map((o) => [o.name, o]));
  const change = (id: number, part: Partial<Link>) =>
    onChange(chain.map((l) => (l.id === id ? { ...l, ...part } : l)));
  const move = (from: number, to: number) => {
    const next = [...chain];
    next.splice(to, 0, ...next.splice(from, 1));
    onChange(next);
  };
  return (
    <section>
      <h3>{title}</h3>
      {chain.length > 0 && (
        <ol className="chain">
          {chain.map((step, i) => {
            const schema = known.get(step.operation);
            const name = shortName(step.operation);
            return (
              <li key={step.id} data-step={step.operation} data-on={step.on}>
                <div className="chain-head">
                  <input
                    type="checkbox"
                    checked={step.on}
                    aria-label={`Use ${name}`}
                    title={step.on ? "Switch off" : "Switch on"}
                    onChange={(e) => change(step.id, { on: e.target.checked })}
                  />
                  <button
                    className="quiet grow"
                    aria-expanded={open === step.id}
                    title={schema?.summary}
                    onClick={() => setOpen(open === step.id ? undefined : step.id)}
                  >
                    {i + 1}. {name}
                  </button>
                  <button className="icon" disabled={i === 0} onClick={() => move(i, i - 1)} aria-label={`Move ${name} up`} title="Move up">
                    <Icon name="up" />
                  </button>
                  <button className="icon" disabled={i === chain.length - 1} onClick={() => move(i, i + 1)} aria-label={`Move ${name} down`} title="Move down">
                    <Icon name="down" />
                  </button>
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
                  <Form schema={schema.params} values={step.params} onChange={(params) => change(step.id, { params })} />
                )}
              </li>
            );
          })}
        </ol>
      )}
      <select
        aria-label="Add an operation"
        value=""
        disabled={chain.length >= most}
        onChange={(e) => {
          const schema = known.get(e.target.value);
          if (!schema) return;
          const added = link(schema);
          onChange([...chain, added]);
          setOpen(added.id);
        }}
      >
        <option value="">{chain.length >= most ? `At most ${most} steps` : "Add an operation …"}</option>
        {operations.map((o) => (
          <option key={o.name} value={o.name} title={o.summary}>
            {shortName(o.name)}
          </option>
        ))}
      </select>
    </section>
  );
});
