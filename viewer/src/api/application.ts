/** The application API at /api: system, operations, jobs. */

import { getJson, postJson } from "./http";

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
