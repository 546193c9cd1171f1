/** Operations on the active series: choose, fill the generated form, run, follow, show. */

import { useEffect, useMemo, useState } from "react";

import { type Job, type OperationSchema, getOperations, submitJob } from "../api/application";
import { says } from "../api/http";
import { JobList } from "../jobs/JobList";
import { add, useJobs } from "../jobs/store";
import type { PanelProps } from "../study/SidePanel";
import { seriesName } from "../study/series";
import { Form, defaults } from "./Form";

const RUNNABLE = new Set(["Image", "Mask", "Image|Mask", "Image[]", "Image | Mask"]);

let known: Promise<OperationSchema[]> | undefined;

function load(): Promise<OperationSchema[]> {
  known ??= getOperations();
  known.catch(() => (known = undefined));
  return known;
}

/** `process.clahe` is said as `Process: clahe`. */
function title(name: string): string {
  const [verb = "", ...rest] = name.split(".");
  return rest.length ? `${verb[0]?.toUpperCase()}${verb.slice(1)}: ${rest.join(" ")}` : name;
}

export function OperationsPanel(props: PanelProps) {
  const { series, rows, dispatch, reload } = props;
  const [operations, setOperations] = useState<OperationSchema[]>();
  const [error, setError] = useState("");
  const [name, setName] = useState("");
  const [second, setSecond] = useState("");
  const [values, setValues] = useState<Record<string, unknown>>({});
  const [sending, setSending] = useState(false);
  const jobs = useJobs();

  useEffect(() => {
    load().then(
      (list) => setOperations(list),
      (e: unknown) => setError(says(e)),
    );
  }, []);
  const chosen = operations?.find((o) => o.name === name);
  useEffect(() => setValues(chosen ? defaults(chosen.params) : {}), [chosen]);

  const groups = useMemo(() => {
    const byVerb = new Map<string, OperationSchema[]>();
    for (const o of operations ?? []) {
      const verb = o.name.split(".")[0] ?? "";
      byVerb.set(verb, [...(byVerb.get(verb) ?? []), o]);
    }
    return [...byVerb];
  }, [operations]);

  const here = new Set(rows.map((r) => r.uid));
  const mine = jobs.filter((j) => j.inputs.some((uid) => here.has(uid)) || j.outputs.some((uid) => here.has(uid)));
  const inputs = chosen?.inputs ?? [];
  const many = inputs.filter((i) => !i.type.endsWith("[]")).length > 1;
  const unfit = inputs.some((i) => i.type !== "Any" && !RUNNABLE.has(i.type) && !i.type.includes("Image"));

  const run = async () => {
    if (!chosen || !series) return;
    setSending(true);
    setError("");
    try {
      const uids = many && second ? [series.row.uid, second] : [series.row.uid];
      add(await submitJob(chosen.name, uids, values));
    } catch (e) {
      setError(says(e));
    } finally {
      setSending(false);
    }
  };

  const show = async (job: Job) => {
    const list = await reload();
    const output = list.find((r) => job.outputs.includes(r.uid));
    if (!output) {
      setError(`The result ${job.outputs[0] ?? ""} is not in this study.`);
      return;
    }
    if (output.modality === "SEG") {
      dispatch({ do: "set", part: { panel: "segments", segmentation: output.uid } });
      return;
    }
    const before = job.inputs.find((uid) => list.some((r) => r.uid === uid)) ?? output.uid;
    dispatch({ do: "compare", before, after: output.uid });
  };

  return (
    <div className="panel">
      <section>
        <h3>Operation</h3>
        {!operations && !error && <p className="dim">Reading the list…</p>}
        {operations?.length === 0 && <p className="dim">This server offers no operations.</p>}
        {operations && operations.length > 0 && (
          <select aria-label="Operation" value={name} onChange={(e) => setName(e.target.value)}>
            <option value="">Choose an operation</option>
            {groups.map(([verb, list]) => (
              <optgroup key={verb} label={verb}>
                {list.map((o) => (
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
              on <b>{series ? seriesName(series.row) : "no series"}</b> gives {chosen.output}
            </p>
            {many && (
              <label className="field">
                <span>{inputs[1]?.name ?? "second"}</span>
                <select value={second} aria-label="Second input" onChange={(e) => setSecond(e.target.value)}>
                  <option value="">Choose a series</option>
                  {rows
                    .filter((r) => r.uid !== series?.row.uid)
                    .map((r) => (
                      <option key={r.uid} value={r.uid}>
                        {r.modality} {r.number ?? ""} {seriesName(r)}
                      </option>
                    ))}
                </select>
              </label>
            )}
            <Form schema={chosen.params} values={values} onChange={setValues} />
            <button
              className="primary run"
              disabled={!series || sending || (many && !second) || unfit}
              onClick={() => void run()}
            >
              {sending ? "Sending…" : "Run"}
            </button>
            {unfit && <p className="hint">This operation needs {inputs.map((i) => i.type).join(", ")}; the viewer offers images.</p>}
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
        <JobList jobs={mine} empty="None yet." onShow={(job) => void show(job)} />
      </section>
    </div>
  );
}
