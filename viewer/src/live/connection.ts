/** The WebSocket of a live view: JSON text both ways, frames as binary messages. */

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

export class Connection {
  private socket: WebSocket;
  private beat = 0;
  private trips: { trip: number; offset: number }[] = [];
  private done = false;

  constructor(private listener: Listener) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.heard(event.data);
    this.socket.onclose = (event) => this.ended(event.reason);
    this.socket.onerror = () => this.ended("the connection to the server failed");
    this.socket.onopen = () => {
      for (let k = 0; k < PINGS; k++) window.setTimeout(() => this.ping(), 60 * k);
      this.beat = window.setInterval(() => this.ping(), BEAT);
    };
  }

  /** Milliseconds to add to this page's clock to have the server's: from the quickest answer. */
  get offset(): number {
    let best = this.trips[0];
    for (const t of this.trips) if (best && t.trip < best.trip) best = t;
    return best?.offset ?? 0;
  }

  send(message: object): void {
    const text = JSON.stringify(message);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
    else if (this.socket.readyState === WebSocket.CONNECTING) {
      this.socket.addEventListener("open", () => this.socket.send(text), { once: true });
    }
  }

  close(): void {
    this.done = true;
    window.clearInterval(this.beat);
    this.socket.close();
  }

  private ping(): void {
    this.send({ ping: now() });
  }

  private heard(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      const length = new DataView(data).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as Head;
      this.listener.frame({ head, pixels: new Uint8Array(data, 4 + length) });
      return;
    }
    const message = JSON.parse(data) as Told | { kind: "pong"; ping: number; now: number };
    if (message.kind === "pong") {
      const back = now();
      const offset = message.now * 1000 - (message.ping + back) / 2;
      this.trips = [...this.trips, { trip: back - message.ping, offset }].slice(-30);
    } else this.listener.told(message);
  }

  private ended(reason: string): void {
    window.clearInterval(this.beat);
    if (this.done) return;
    this.done = true;
    this.listener.closed(reason || "the server closed the connection");
  }
}
