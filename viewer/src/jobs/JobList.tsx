/** Jobs with live progress, log, cancel, and the way to their result. */

import { useState } from "react";

import { type Job, cancelJob } from "../api/application";
import { says } from "../api/http";
import { refresh } from "./store";

const STATE: Record<Job["state"], string> = {
  queued: "waiting",
  running: "running",
  done: "done",
  failed: "failed",
  cancelled: "cancelled",
};

/** Local hours and minutes of an ISO 8601 time. */
function clock(iso: string): string {
  const time = new Date(iso);
  return Number.isNaN(time.getTime()) ? "" : time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

/** A parameter in one line; long lists of marks are cut. */
function brief(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

interface Acts {
  onShow?: ((job: Job) => void) | undefined;
  /** ask why a model answered so; undefined: nothing that was asked of a model */
  onWhy?: ((job: Job) => (() => void) | undefined) | undefined;
}

function JobItem({ job, onShow, onWhy }: Acts & { job: Job }) {
  const why = job.state === "done" && job.outputs.length > 0 ? onWhy?.(job) : undefined;
  const [open, setOpen] = useState(false);
  const [problem, setProblem] = useState("");
  const busy = job.state === "running" || job.state === "queued";
  return (
    <li className={`job ${job.state}`} data-job={job.id} data-state={job.state}>
      <div className="job-head">
        <b>
          {job.operation} <small className="dim">{clock(job.created)}</small>
        </b>
        <span className="job-state">
          {STATE[job.state]}
          {job.state === "running" ? ` ${Math.round(job.progress * 100)} %` : ""}
        </span>
      </div>
      {busy && (
        <div className="bar" role="progressbar" aria-valuenow={Math.round(job.progress * 100)} aria-label={job.operation}>
          <i style={{ width: `${job.progress * 100}%` }} />
        </div>
      )}
      {(problem || (job.message && job.message !== job.state)) && <p className={job.state === "failed" ? "bad" : "dim"}>{problem || job.message}</p>}
      <div className="job-acts">
        {job.state === "done" && onShow && job.outputs.length > 0 && (
          <button className="primary small" onClick={() => onShow(job)}>
            Show result
          </button>
        )}
        {why && (
          <button className="small" aria-label={`Why this answer of ${job.operation}?`} onClick={why}>
            Why?
          </button>
        )}
        {busy && (
          <button
            className="small"
            onClick={() =>
              void cancelJob(job.id)
                .then(() => refresh(job.id))
                .catch((e: unknown) => setProblem(says(e)))
            }
          >
            Cancel
          </button>
        )}
        <button
          className="small quiet"
          aria-expanded={open}
          onClick={() => {
            setOpen(!open);
            if (!open) void refresh(job.id);
          }}
        >
          {open ? "Hide details" : "Details"}
        </button>
      </div>
      {open && (
        <div className="job-details">
          <dl>
            {Object.entries(job.params).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{brief(value)}</dd>
              </div>
            ))}
          </dl>
          <pre>{job.log || "The log is empty."}</pre>
        </div>
      )}
    </li>
  );
}

export function JobList(props: Acts & { jobs: Job[]; empty: string }) {
  if (props.jobs.length === 0) return <p className="dim pad">{props.empty}</p>;
  return (
    <ul className="jobs">
      {props.jobs.map((job) => (
        <JobItem key={job.id} job={job} onShow={props.onShow} onWhy={props.onWhy} />
      ))}
    </ul>
  );
}
