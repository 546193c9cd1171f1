/** One job at a time, followed to its end. */

import { useCallback, useEffect, useRef, useState } from "react";

import { type Job, cancelJob, submitJob } from "../api/application";
import { says } from "../api/http";
import { add, refresh, useJobs } from "./store";

export interface Followed {
  /** the job while it waits or runs */
  job: Job | undefined;
  busy: boolean;
  error: string;
  /** `tag` is given back with the outputs */
  start: (operation: string, inputs: string[], params: Record<string, unknown>, tag?: string) => void;
  cancel: () => void;
}

/** `done(outputs, tag)` is called once for every job that ends well. */
export function useJob(done: (outputs: string[], tag: string) => void): Followed {
  const jobs = useJobs();
  const [wanted, setWanted] = useState<{ id: string; tag: string }>();
  const [error, setError] = useState("");
  const latest = useRef(done);
  latest.current = done;

  const start = useCallback(
    (operation: string, inputs: string[], params: Record<string, unknown>, tag = "") => {
      setError("");
      setWanted({ id: "", tag });
      submitJob(operation, inputs, params).then(
        (job) => {
          add(job);
          setWanted({ id: job.id, tag });
        },
        (e: unknown) => {
          setWanted(undefined);
          setError(says(e));
        },
      );
    },
    [],
  );

  const job = wanted ? jobs.find((j) => j.id === wanted.id) : undefined;
  useEffect(() => {
    if (!wanted || !job || job.state === "queued" || job.state === "running") return;
    setWanted(undefined);
    if (job.state === "done") latest.current(job.outputs, wanted.tag);
    else setError(job.state === "cancelled" ? "Cancelled." : job.message || "The job failed.");
  }, [job, wanted]);

  const cancel = useCallback(() => {
    if (!job) return;
    cancelJob(job.id).then(
      () => refresh(job.id),
      (e: unknown) => setError(says(e)),
    );
  }, [job]);
  return { job, busy: wanted !== undefined, error, start, cancel };
}
