/** The jobs of the server, kept true by its event stream. */

import { useSyncExternalStore } from "react";

import { type Job, getJob, getJobs } from "../api/application";
import { listen } from "../api/events";

let jobs: Job[] = [];
let started = false;
const watchers = new Set<() => void>();

function put(list: Job[]): void {
  const byId = new Map(jobs.map((j) => [j.id, j]));
  for (const job of list) byId.set(job.id, { ...byId.get(job.id), ...job, log: job.log || (byId.get(job.id)?.log ?? "") });
  jobs = [...byId.values()].sort((a, b) => (a.created < b.created ? 1 : -1));
  for (const watcher of watchers) watcher();
}

function begin(): void {
  if (started) return;
  started = true;
  const all = () => void getJobs().then(put, () => undefined);
  all();
  listen("resync", all);
  listen("job", (data) => {
    const job = data as Partial<Job> & { id?: string };
    if (!job.id) return;
    const known = jobs.some((j) => j.id === job.id);
    const ended = job.state === "done" || job.state === "failed" || job.state === "cancelled";
    // An event may carry only what changed; ask for the whole job when it is new or has ended.
    if (!known || ended || job.state === undefined) void refresh(job.id);
    else put([job as Job]);
  });
}

export async function refresh(id: string): Promise<void> {
  try {
    put([await getJob(id)]);
  } catch {
    // the next event brings it
  }
}

export function add(job: Job): void {
  put([job]);
}

export function useJobs(): Job[] {
  return useSyncExternalStore(
    (watcher) => {
      begin();
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => jobs,
  );
}
