/** The application API at /api: system, operations, jobs. */

import { getJson, postJson, request } from "./http";

export interface ParamSchema {
  type: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  step?: number;
  unit?: string;
  advanced?: boolean;
  minItems?: number;
  items?: { minimum?: number; maximum?: number };
}

export interface OperationSchema {
  name: string;
  summary: string;
  inputs: { name: string; type: string }[];
  output: string;
  params: { properties: Record<string, ParamSchema>; required?: string[] };
}

export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Job {
  id: string;
  operation: string;
  inputs: string[];
  params: Record<string, unknown>;
  state: JobState;
  progress: number;
  message: string;
  log: string;
  outputs: string[];
  created: string;
  started: string;
  finished: string;
}

export interface System {
  name?: string;
  version?: string;
  [key: string]: unknown;
}

export const getSystem = () => getJson<System>("/api/system");
export const getOperations = () => getJson<OperationSchema[]>("/api/operations");
export const getJob = (id: string) => getJson<Job>(`/api/jobs/${id}`);

export async function getJobs(): Promise<Job[]> {
  const answer = await getJson<Job[] | { jobs: Job[] }>("/api/jobs");
  return Array.isArray(answer) ? answer : answer.jobs;
}

export function submitJob(
  operation: string,
  inputs: string[],
  params: Record<string, unknown>,
): Promise<Job> {
  return postJson<Job>("/api/jobs", { operation, inputs, params });
}

export const cancelJob = (id: string) => postJson<unknown>(`/api/jobs/${id}/cancel`);

/** An operation with its parameters. */
export interface Step {
  operation: string;
  params: Record<string, unknown>;
}

export interface Preset {
  name: string;
  steps: (Step & { on: boolean })[];
}

export interface Chains {
  /** operations that a chain may hold */
  operations: string[];
  most_steps: number;
  chains: Preset[];
}

export const getChains = () => getJson<Chains>("/api/chains");

export async function putChain(name: string, steps: Preset["steps"]): Promise<void> {
  await request(`/api/chains/${encodeURIComponent(name)}`, {
    method: "PUT",
    headers: { Accept: "application/json", "Content-Type": "application/json" },
    body: JSON.stringify({ steps }),
  });
}

export async function deleteChain(name: string): Promise<void> {
  await request(`/api/chains/${encodeURIComponent(name)}`, { method: "DELETE" });
}
