/** Register two series as a job, by content, points or hand; then carry the moving one to the fixed grid. */

import { useCallback, useEffect, useRef, useState } from "react";

import { type Job, submitJob } from "../api/application";
import { says } from "../api/http";
import { add, useJobs } from "../jobs/store";

export interface Run {
  /** `idle`, or what is being done */
  doing: "idle" | "registering" | "carrying";
  progress: number;
  error: string;
}

interface Wanted {
  fixed: string;
  moving: string;
  registration?: string;
  job: string;
}

function ended(job: Job | undefined): boolean {
  return job?.state === "done" || job?.state === "failed" || job?.state === "cancelled";
}

/** How two series are registered: an operation, its inputs after those two, its parameters. */
export interface How {
  operation: string;
  more?: string[];
  params: Record<string, unknown>;
}

/** `start(fixed, moving, how)`; `done(registered, fixed)` is called with the series that was made. */
export function useRegistration(done: (registered: string, fixed: string) => void) {
  const jobs = useJobs();
  const [wanted, setWanted] = useState<Wanted>();
  const [error, setError] = useState("");
  const handled = useRef("");
  const latest = useRef(done);
  latest.current = done;

  const submit = useCallback(async (operation: string, inputs: string[], params: Record<string, unknown>, next: Omit<Wanted, "job">) => {
    try {
      const job = await submitJob(operation, inputs, params);
      setWanted({ ...next, job: job.id });
      add(job);
    } catch (e) {
      setWanted(undefined);
      setError(says(e));
    }
  }, []);

  const start = useCallback(
    (fixed: string, moving: string, { operation, more = [], params }: How) => {
      setError("");
      void submit(operation, [fixed, moving, ...more], params, { fixed, moving });
    },
    [submit],
  );

  const job = jobs.find((j) => j.id === wanted?.job);
  useEffect(() => {
    if (!wanted || !job || !ended(job) || handled.current === job.id) return;
    handled.current = job.id;
    const output = job.outputs[0];
    if (job.state !== "done" || !output) {
      setError(job.state === "cancelled" ? "Cancelled." : job.message || "The job failed.");
      setWanted(undefined);
    } else if (wanted.registration === undefined) {
      const { fixed, moving } = wanted;
      void submit("analyze.transform", [moving, output, fixed], {}, { fixed, moving, registration: output });
    } else {
      setWanted(undefined);
      latest.current(output, wanted.fixed);
    }
  }, [job, wanted, submit]);

  const doing = !wanted ? "idle" : wanted.registration === undefined ? "registering" : "carrying";
  const run: Run = { doing, progress: job?.progress ?? 0, error };
  return { run, start };
}
