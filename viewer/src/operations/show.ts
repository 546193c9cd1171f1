/** Show what a job made: over its source, beside it, or by itself. */

import type { Dispatch } from "react";

import type { Job } from "../api/application";
import type { SeriesRow } from "../api/dicomweb";
import type { Action } from "../study/state";
import { counterpart } from "./fit";

/** Empty, or why it cannot be shown. */
export async function showResult(
  job: Job,
  jobs: Job[],
  reload: () => Promise<SeriesRow[]>,
  dispatch: Dispatch<Action>,
): Promise<string> {
  const now = await reload();
  const output = now.find((r) => job.outputs.includes(r.uid));
  if (!output) return `The result ${job.outputs[0] ?? ""} is not in this study.`;
  if (output.content === "segmentation") {
    dispatch({ do: "set", part: { panel: "segments", segmentation: output.uid } });
    return "";
  }
  if (output.content !== "image") {
    dispatch({ do: "read", series: output.uid });
    return "";
  }
  const before = counterpart(job, jobs, now);
  if (!before) {
    dispatch({ do: "layout", layout: "one", rows: now });
    dispatch({ do: "open", series: output.uid });
    return "";
  }
  const mode = before.uid === job.inputs[0]?.split("#")[0] ? {} : { mode: "side" as const };
  dispatch({ do: "compare", before: before.uid, after: output.uid, ...mode });
  return "";
}
