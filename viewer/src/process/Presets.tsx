/** Chains that have a name: load, keep, delete. They lie on the server. */

import { memo, useCallback, useEffect, useState } from "react";

import { type OperationSchema, type Preset, deleteChain, getChains, putChain } from "../api/application";
import { says } from "../api/http";
import { Icon } from "../parts/Icon";
import { type Link, link } from "./chain";

export const Presets = memo(function Presets(props: {
  operations: OperationSchema[];
  chain: Link[];
  onLoad: (chain: Link[]) => void;
}) {
  const { operations, chain, onLoad } = props;
  const [list, setList] = useState<Preset[]>([]);
  const [chosen, setChosen] = useState("");
  const [name, setName] = useState<string>();
  const [problem, setProblem] = useState("");
  const reload = useCallback(
    () => getChains().then((c) => setList(c.chains), (e: unknown) => setProblem(says(e))),
    [],
  );
  useEffect(() => void reload(), [reload]);

  const load = (wanted: string) => {
    setChosen(wanted);
    const found = list.find((p) => p.name === wanted);
    if (!found) return;
    onLoad(
      found.steps.flatMap((s) => {
        const schema = operations.find((o) => o.name === s.operation);
        return schema ? [link(schema, s.params, s.on)] : [];
      }),
    );
  };
  const attempt = async (act: () => Promise<unknown>, then: () => void) => {
    setProblem("");
    try {
      await act();
      then();
      await reload();
    } catch (e) {
      setProblem(says(e));
    }
  };
  const keep = () => {
    const wanted = (name ?? "").trim();
    if (!wanted) return;
    const steps = chain.map(({ operation, params, on }) => ({ operation, params, on }));
    void attempt(
      () => putChain(wanted, steps),
      () => {
        setName(undefined);
        setChosen(wanted);
      },
    );
  };
  return (
    <section>
      <h3>Preset</h3>
      <div className="presets">
        <select aria-label="Preset" value={chosen} onChange={(e) => load(e.target.value)}>
          <option value="">{list.length ? "Load a chain …" : "None kept yet"}</option>
          {list.map((p) => (
            <option key={p.name} value={p.name}>
              {p.name}
            </option>
          ))}
        </select>
        <button
          className="icon"
          aria-label="Delete this preset"
          title="Delete this preset"
          disabled={!list.some((p) => p.name === chosen)}
          onClick={() => void attempt(() => deleteChain(chosen), () => setChosen(""))}
        >
          <Icon name="trash" />
        </button>
        <button disabled={chain.length === 0} onClick={() => setName(name === undefined ? chosen : undefined)} aria-expanded={name !== undefined}>
          Keep …
        </button>
      </div>
      {name !== undefined && (
        <form
          className="presets"
          onSubmit={(e) => {
            e.preventDefault();
            keep();
          }}
        >
          <input
            value={name}
            maxLength={60}
            aria-label="Name of the preset"
            placeholder="Name"
            autoFocus
            onChange={(e) => setName(e.target.value)}
          />
          <button type="submit" disabled={!name.trim()}>
            Keep
          </button>
        </form>
      )}
      {problem && (
        <p className="bad" role="alert">
          {problem}
        </p>
      )}
    </section>
  );
});
