/** Operations on the active series: choose, fill the generated form, run, follow, show. */

import { useEffect, useMemo, useState } from "react";

import { type Job, type OperationSchema, getOperations, submitJob } from "../api/application";
import { says } from "../api/http";
import { JobList } from "../jobs/JobList";
import { add, useJobs } from "../jobs/store";
import { modelOf, useModels } from "../learn/answers";
import type { PanelProps } from "../study/SidePanel";
import { seriesName } from "../study/series";
import { Form, defaults } from "./Form";
import { offered, takes, title } from "./fit";
import { showResult } from "./show";
import { keepOperation, keepValues, lastOperation, lastValues } from "./memory";

let known: Promise<OperationSchema[]> | undefined;

function load(): Promise<OperationSchema[]> {
  known ??= getOperations();
  known.catch(() => (known = undefined));
  return known;
}

export function OperationsPanel(props: PanelProps) {
  const { row, rows, dispatch, reload } = props;
  const [operations, setOperations] = useState<OperationSchema[]>();
  const [error, setError] = useState("");
  const [name, setName] = useState("");
  const [more, setMore] = useState<Record<number, string>>({});
  const [values, setValues] = useState<Record<string, unknown>>({});
  const [sending, setSending] = useState(false);
  const jobs = useJobs();
  const content = row?.content;

  useEffect(() => {
    load().then(
      (list) => setOperations(list),
      (e: unknown) => setError(says(e)),
    );
  }, []);
  const list = useMemo(() => offered(operations ?? [], row), [operations, row]);

  // Another kind of series: the operation that was used on that kind last, or its own first one.
  useEffect(() => {
    if (!content || !operations) return;
    const names = list.map((o) => o.name);
    const last = lastOperation(content) ?? (content === "raw" ? (names[0] ?? "") : "");
    setName((now) => (names.includes(now) ? now : names.includes(last) ? last : ""));
  }, [content, operations, list]);

  const chosen = list.find((o) => o.name === name);
  useEffect(() => {
    setMore({});
    const kept = chosen ? lastValues(chosen.name) : undefined;
    setValues(chosen ? { ...defaults(chosen.params), ...kept } : {});
  }, [chosen]);
  const change = (next: Record<string, unknown>) => {
    setValues(next);
    if (chosen) keepValues(chosen.name, next);
  };

  const groups = useMemo(() => {
    const byVerb = new Map<string, OperationSchema[]>();
    for (const o of list) {
      const verb = o.name.split(".")[0] ?? "";
      byVerb.set(verb, [...(byVerb.get(verb) ?? []), o]);
    }
    return [...byVerb];
  }, [list]);

  const here = new Set(rows.map((r) => r.uid));
  const mine = jobs.filter((j) => j.inputs.some((uid) => here.has(uid)) || j.outputs.some((uid) => here.has(uid)));
  const further = (chosen?.inputs ?? [])
    .map((input, index) => ({ ...input, index }))
    .slice(1)
    .filter((input) => !input.type.endsWith("[]"));
  const missing = further.some((input) => !more[input.index]);

  const run = async () => {
    if (!chosen || !row) return;
    setSending(true);
    setError("");
    try {
      const uids = [row.uid, ...further.map((input) => more[input.index] ?? "")];
      add(await submitJob(chosen.name, uids, values));
    } catch (e) {
      setError(says(e));
    } finally {
      setSending(false);
    }
  };

  const { models } = useModels(true, "");
  const why = (job: Job) => {
    if (!models || !modelOf(models, job.operation, job.params)) return undefined;
    return () => void reload().then(() => dispatch({ do: "set", part: { panel: "learn", why: job.outputs[0] } }));
  };
  const show = async (job: Job) => setError(await showResult(job, jobs, reload, dispatch));

  return (
    <div className="panel">
      <section>
        <h3>Operation</h3>
        {!operations && !error && <p className="dim">Reading the list…</p>}
        {operations?.length === 0 && <p className="dim">This server offers no operations.</p>}
        {operations && operations.length > 0 && row && list.length === 0 && (
          <p className="dim">No installed operation takes this series.</p>
        )}
        {list.length > 0 && (
          <select
            aria-label="Operation"
            value={name}
            onChange={(e) => {
              setName(e.target.value);
              if (content) keepOperation(content, e.target.value);
            }}
          >
            <option value="">Choose an operation</option>
            {groups.map(([verb, members]) => (
              <optgroup key={verb} label={verb}>
                {members.map((o) => (
                  <option key={o.name} value={o.name}>
                    {title(o.name)}
                  </option>
                ))}
              </optgroup>
            ))}
          </select>
        )}
        {chosen && (
          <>
            <p className="summary">{chosen.summary}</p>
            <p className="dim on">
              on <b>{row ? seriesName(row) : "no series"}</b> gives {chosen.output}
            </p>
            {further.map((input) => (
              <label key={input.name} className="field">
                <span>{input.name.replaceAll("_", " ")}</span>
                <select
                  value={more[input.index] ?? ""}
                  aria-label={`Input ${input.name}`}
                  onChange={(e) => setMore({ ...more, [input.index]: e.target.value })}
                >
                  <option value="">Choose a series</option>
                  {rows
                    .filter((r) => r.uid !== row?.uid && takes(input.type, r.content))
                    .map((r) => (
                      <option key={r.uid} value={r.uid}>
                        {r.modality} {r.number ?? ""} {seriesName(r)}
                      </option>
                    ))}
                </select>
              </label>
            ))}
            <Form key={chosen.name} schema={chosen.params} values={values} onChange={change} />
            <button
              className="primary run"
              disabled={!row || sending || missing}
              onClick={() => void run()}
            >
              {sending ? "Sending…" : content === "raw" ? "Reconstruct" : "Run"}
            </button>
          </>
        )}
        {error && (
          <p className="bad" role="alert">
            {error}
          </p>
        )}
      </section>
      <section>
        <h3>Jobs on this study</h3>
        <JobList jobs={mine} empty="None yet." onShow={(job) => void show(job)} onWhy={why} />
      </section>
    </div>
  );
}
