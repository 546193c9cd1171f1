/** The WebSocket of the previews: questions as JSON, slices as binary messages. */

import type { Step } from "../api/application";
import { Channel } from "../api/channel";

/** One image of the series, as the server finds it. */
export interface Place {
  sop: string;
  frame: number;
  rows: number;
  columns: number;
}

export interface Ask extends Place {
  id: number;
  chain: Step[];
  /** top, left, bottom, right, step: the visible part of a large image */
  window?: number[];
  whole?: boolean;
  key?: string;
}

export interface Head {
  id: number;
  stage: "draft" | "slice" | "volume";
  rows: number;
  columns: number;
  channels: 1 | 3;
  dtype: "uint8" | "int16" | "uint16" | "float32";
  unit: string;
  lower: number;
  upper: number;
  /** corners in pixels of the image asked for: first, end of the first row, end of the first column */
  place: number[];
  volume: string;
  image: number;
  images: number;
  slices: number;
  /** time of the computation */
  ms: number;
}

export interface Counted {
  id: number;
  counts: number[];
  lower: number;
  upper: number;
  unit: string;
  count: number;
  missing: number;
  minimum: number;
  maximum: number;
  mean: number;
  sd: number;
  median: number;
  skewness: number;
  kurtosis: number;
  entropy: number;
  mode: number;
  fwhm: number;
  percentiles: Record<string, number>;
  area?: number;
  volume?: number;
}

export interface VolumeState {
  key: string;
  state: "running" | "ready" | "overtaken" | "failed";
  progress?: number;
  message?: string;
  seconds?: number;
}

export type Values = Uint8Array | Int16Array | Uint16Array | Float32Array;

export interface Listener {
  ready(): void;
  slice(head: Head, values: Values): void;
  histogram(counted: Counted): void;
  volume(state: VolumeState): void;
  problem(of: string, id: number, message: string, stale: boolean): void;
  closed(reason: string): void;
}

const BEAT = 20_000;

const KINDS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };

export class Connection extends Channel<Head> {
  constructor(private listener: Listener) {
    super("/api/preview");
  }

  protected opened(): void {
    this.beat(BEAT, () => this.send({ ping: 0 }));
  }

  protected given(head: Head, data: ArrayBuffer, at: number): void {
    this.listener.slice(head, new KINDS[head.dtype](data, at));
  }

  protected said(said: { kind: string } & Record<string, unknown>): void {
    if (said.kind === "ready") this.listener.ready();
    else if (said.kind === "histogram") this.listener.histogram(said as unknown as Counted);
    else if (said.kind === "volume") this.listener.volume(said as unknown as VolumeState);
    else if (said.kind === "problem") {
      const { of = "", id = 0, message = "", stale = false } = said;
      this.listener.problem(String(of), Number(id), String(message), Boolean(stale));
    } else if (said.kind === "end") this.end(String(said["message"] ?? ""));
  }

  protected closed(reason: string): void {
    this.listener.closed(reason);
  }
}
