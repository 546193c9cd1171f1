/** Which case to correct next: the one the model doubts most, opened with the model's own proposal. */

import { useCallback, useEffect, useState } from "react";

import { type ModelTold, type NextCase, getSearch, startSearch, stopSearch } from "../api/learning";
import { says } from "../api/http";
import { editOneOf } from "../draw/begin";
import { Running } from "../jobs/Running";
import { useJob } from "../jobs/useJob";
import { go } from "../router";
import type { PanelProps } from "../study/SidePanel";
import { type Intent, intend, isCorrected, taken } from "./intent";
import { useRun } from "./useRun";

export function NextSection(props: PanelProps & { model: ModelTold | undefined; visible: boolean }) {
  const { state, rows, model, visible, dispatch, reload } = props;
  const [anyway, setAnyway] = useState(false);
  const [lost, setLost] = useState("");
  const search = useRun(getSearch, visible);
  const proposed = async (outputs: string[]) => {
    const now = await reload();
    const row = await editOneOf(outputs, state, now, dispatch);
    if (!row) setLost("The model outlined nothing here.");
  };
  const job = useJob((outputs) => void proposed(outputs).catch((e: unknown) => setLost(says(e))));
  const { start } = job;
  const propose = useCallback(
    ({ series, operation, params }: Intent) => {
      setLost("");
      dispatch({ do: "source", series });
      dispatch({ do: "set", part: { panel: "learn" } });
      start(operation, [series], params);
    },
    [dispatch, start],
  );

  // The case may have been chosen in another study, before this one was opened.
  const here = rows.map((r) => r.uid).join();
  useEffect(() => {
    const found = taken(here.split(","));
    if (found) propose(found);
  }, [here, propose]);

  const open = (one: NextCase) => {
    if (!model) return;
    const named = model.operation.startsWith("models.") ? { model: model.name } : {};
    // What was looked at by the search is looked at again.
    const intent = { series: one.series, operation: model.operation, params: { ...named, anyway: true } };
    if (rows.some((r) => r.uid === one.series)) propose(intent);
    else {
      intend(intent);
      go(`/study/${one.study}`);
    }
  };

  const told = search.state;
  const mine = told?.models?.[0] === model?.name;
  const cases = mine ? (told?.cases ?? []) : [];
  const first = cases.find((c) => !isCorrected(c.series));
  return (
    <section data-next={told?.status ?? ""}>
      <h3>Next case</h3>
      <p className="dim">
        The model looks at every series that nobody has outlined, and names those it doubts most, no two alike.
      </p>
      <label className="check">
        <input type="checkbox" checked={anyway} onChange={(e) => setAnyway(e.target.checked)} />
        Series unlike its training images, too
      </label>
      <div className="row-of">
        <button
          disabled={!model || search.running}
          data-act="search"
          onClick={() => model && search.act(() => startSearch([model.name], anyway))}
        >
          {cases.length > 0 ? "Search again" : "Search"}
        </button>
        {first && (
          <button className="primary" data-act="next" disabled={job.busy} onClick={() => open(first)}>
            Next case
          </button>
        )}
      </div>
      {search.running && (
        <Running
          label="Looking at the cases"
          progress={told?.progress ?? 0}
          onCancel={() => search.act(stopSearch)}
        />
      )}
      {job.busy && (
        <Running label="The model's proposal" progress={job.job?.progress ?? 0} {...(job.job ? { onCancel: job.cancel } : {})} />
      )}
      {mine && told?.status === "DONE" && cases.length === 0 && (
        <p className="hint" role="status">
          No series is left for this model: {told.refused ?? 0} were refused
          {told.problems?.[0] ? ` (${told.problems[0].reason})` : ""}.
        </p>
      )}
      {cases.length > 0 && (
        <ol className="cases" aria-label="Cases to correct, the most wanted first">
          {cases.map((c) => (
            <li key={c.series} data-case={c.series} aria-current={rows.some((r) => r.uid === c.series)}>
              <button className="quiet" disabled={job.busy} onClick={() => open(c)}>
                <b>{c.patient || "No ID"}</b> <span>{c.description}</span>
              </button>
              <small className="dim">
                {isCorrected(c.series) ? "corrected; " : ""}doubt {c.doubt.toFixed(2)}, new {c.novelty.toFixed(2)}: {c.reason}
              </small>
            </li>
          ))}
        </ol>
      )}
      {(search.error || job.error || lost || (told?.status === "ERROR" && told.message)) && (
        <p className="bad" role="alert">
          {search.error || job.error || lost || told?.message}
        </p>
      )}
    </section>
  );
}
