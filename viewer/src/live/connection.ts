/** The WebSocket of a live view: JSON text both ways, frames as binary messages. */

import { Channel } from "../api/channel";
import { getJson } from "../api/http";

export interface Source {
  name: string;
  title: string;
  summary: string;
  rate: number;
}

export interface Offer {
  sources: Source[];
  sizes: number[];
  operations: string[];
}

/** What comes before the pixels of a frame; times are seconds of the server's clock. */
export interface Head {
  number: number;
  captured: number;
  sent: number;
  stages: Record<string, number>;
  rows: number;
  columns: number;
  channels: 1 | 3;
  lower: number;
  upper: number;
  unit: string;
  skipped: number;
  spacing: [number, number];
  kept: number;
}

export interface Frame {
  head: Head;
  pixels: Uint8Array;
}

export type Told =
  | { kind: "ready" | "stopped" }
  | { kind: "problem" | "end"; message: string }
  | { kind: "saved"; study: string; series: string; frames: number };

export interface Listener {
  frame(frame: Frame): void;
  told(message: Told): void;
  closed(reason: string): void;
}

export const getOffer = () => getJson<Offer>("/api/live/sources");

const PINGS = 8;
const BEAT = 2000;

/** Milliseconds since the epoch, finer than Date.now(). */
export const now = () => performance.timeOrigin + performance.now();

export class Connection extends Channel<Head> {
  private trips: { trip: number; offset: number }[] = [];

  constructor(private listener: Listener) {
    super("/api/live");
  }

  /** Milliseconds to add to this page's clock to have the server's: from the quickest answer. */
  get offset(): number {
    let best = this.trips[0];
    for (const t of this.trips) if (best && t.trip < best.trip) best = t;
    return best?.offset ?? 0;
  }

  protected opened(): void {
    for (let k = 0; k < PINGS; k++) window.setTimeout(() => this.ping(), 60 * k);
    this.beat(BEAT, () => this.ping());
  }

  protected given(head: Head, data: ArrayBuffer, at: number): void {
    this.listener.frame({ head, pixels: new Uint8Array(data, at) });
  }

  protected said(said: object): void {
    const message = said as Told | { kind: "pong"; ping: number; now: number };
    if (message.kind === "pong") {
      const back = now();
      const offset = message.now * 1000 - (message.ping + back) / 2;
      this.trips = [...this.trips, { trip: back - message.ping, offset }].slice(-30);
    } else this.listener.told(message);
  }

  protected closed(reason: string): void {
    this.listener.closed(reason);
  }

  private ping(): void {
    this.send({ ping: now() });
  }
}
