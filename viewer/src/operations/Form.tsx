/** A form from an operation's JSON schema: sliders for ranges, lists for choices, units beside. */

import { useState } from "react";

import type { OperationSchema, ParamSchema } from "../api/application";

type Schema = OperationSchema["params"];
type Values = Record<string, unknown>;

export function defaults(schema: Schema): Values {
  const values: Values = {};
  for (const [name, p] of Object.entries(schema.properties)) {
    if (p.default !== undefined) values[name] = p.default;
  }
  return values;
}

const kinds = (p: ParamSchema): string[] => (Array.isArray(p.type) ? p.type : [p.type]);
const label = (name: string): string => name.replaceAll("_", " ");

/** A slider needs both ends and a span that fits its few hundred pixels. */
function slides(p: ParamSchema): boolean {
  return p.minimum !== undefined && p.maximum !== undefined && p.maximum > p.minimum;
}

function NumberField(props: { name: string; p: ParamSchema; value: unknown; onChange: (v: unknown) => void }) {
  const { name, p, value, onChange } = props;
  const integer = kinds(p).includes("integer");
  const nullable = kinds(p).includes("null");
  const step = p.step ?? (integer ? 1 : slides(p) ? ((p.maximum ?? 1) - (p.minimum ?? 0)) / 200 : "any");
  const parse = (text: string): unknown => {
    if (text === "") return nullable ? null : undefined;
    const n = Number(text);
    return integer ? Math.round(n) : n;
  };
  return (
    <div className="number">
      {slides(p) && (
        <input
          type="range"
          className={typeof value === "number" ? "" : "unset"}
          min={p.minimum}
          max={p.maximum}
          step={step}
          value={typeof value === "number" ? value : (p.minimum ?? 0)}
          aria-label={`${label(name)} slider`}
          onChange={(e) => onChange(parse(e.target.value))}
        />
      )}
      <input
        type="number"
        name={name}
        min={p.minimum}
        max={p.maximum}
        step="any"
        value={typeof value === "number" ? value : ""}
        placeholder={nullable ? "automatic" : ""}
        aria-label={label(name)}
        onChange={(e) => onChange(parse(e.target.value))}
      />
      {p.unit && <span className="dim unit">{p.unit === "[hnsf'U]" ? "HU" : p.unit}</span>}
    </div>
  );
}

function ArrayField(props: { name: string; p: ParamSchema; value: unknown; onChange: (v: unknown) => void }) {
  const { name, p, onChange } = props;
  const value = Array.isArray(props.value) ? (props.value as number[]) : [];
  const nullable = kinds(p).includes("null");
  const n = p.minItems ?? Math.max(1, value.length);
  return (
    <div className="number array">
      {Array.from({ length: n }, (_, i) => (
        <input
          key={i}
          type="number"
          step="any"
          min={p.items?.minimum}
          max={p.items?.maximum}
          value={value[i] ?? ""}
          placeholder={nullable ? "auto" : ""}
          aria-label={`${label(name)} ${i + 1}`}
          onChange={(e) => {
            if (e.target.value === "" && nullable) return onChange(null);
            const next = Array.from({ length: n }, (_, k) => value[k] ?? 0);
            next[i] = Number(e.target.value);
            onChange(next);
          }}
        />
      ))}
      {p.unit && <span className="dim unit">{p.unit}</span>}
    </div>
  );
}

function Field(props: { name: string; p: ParamSchema; value: unknown; onChange: (v: unknown) => void }) {
  const { name, p, value, onChange } = props;
  const kind = kinds(p)[0];
  if (p.enum) {
    return (
      <select
        name={name}
        aria-label={label(name)}
        value={JSON.stringify(value ?? null)}
        onChange={(e) => onChange(JSON.parse(e.target.value))}
      >
        {p.enum.map((choice) => (
          <option key={String(choice)} value={JSON.stringify(choice)}>
            {choice === null ? "automatic" : String(choice)}
          </option>
        ))}
      </select>
    );
  }
  if (kind === "boolean") {
    return (
      <input
        type="checkbox"
        name={name}
        aria-label={label(name)}
        checked={value === true}
        onChange={(e) => onChange(e.target.checked)}
      />
    );
  }
  if (kind === "array") return <ArrayField {...props} />;
  if (kind === "string") {
    return (
      <input
        name={name}
        aria-label={label(name)}
        value={typeof value === "string" ? value : ""}
        onChange={(e) => onChange(e.target.value)}
      />
    );
  }
  return <NumberField {...props} />;
}

export function Form(props: { schema: Schema; values: Values; onChange: (values: Values) => void }) {
  const { schema, values, onChange } = props;
  const [more, setMore] = useState(false);
  const all = Object.entries(schema.properties);
  const shown = all.filter(([, p]) => more || !p.advanced);
  const hidden = all.length - all.filter(([, p]) => !p.advanced).length;
  return (
    <div className="form" role="form" aria-label="Parameters">
      {shown.map(([name, p]) => (
        <label key={name} className={`field ${kinds(p)[0] === "boolean" ? "check" : ""}`} title={p.description}>
          <span>
            {label(name)}
            {schema.required?.includes(name) ? " *" : ""}
          </span>
          <Field
            name={name}
            p={p}
            value={values[name]}
            onChange={(v) => {
              const next = { ...values };
              if (v === undefined) delete next[name];
              else next[name] = v;
              onChange(next);
            }}
          />
          {p.description && <small className="dim">{p.description}</small>}
        </label>
      ))}
      {hidden > 0 && (
        <button className="small quiet" onClick={() => setMore(!more)}>
          {more ? "Fewer parameters" : `${hidden} more`}
        </button>
      )}
    </div>
  );
}
