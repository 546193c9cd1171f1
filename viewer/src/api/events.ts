/**
 * The live event stream (server-sent events): `archive`, `job`, and `resync`, which says that too
 * much was missed to be told one by one: load again what is shown. One connection for the page.
 */

import { tell } from "../parts/console";

export interface ArchiveEvent {
  kind?: string;
  study?: string;
  series?: string;
  instance?: string;
}

type Listener = (data: unknown) => void;

const listeners = new Map<string, Set<Listener>>();
const KINDS = ["archive", "job", "resync"] as const;
let source: EventSource | undefined;
tell({ listening: () => source?.readyState === EventSource.OPEN });

function connect(): void {
  if (source) return;
  source = new EventSource("/api/events");
  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => {
      let data: unknown;
      try {
        data = JSON.parse((event as MessageEvent<string>).data);
      } catch {
        return;
      }
      for (const listener of listeners.get(kind) ?? []) listener(data);
    });
  }
}

/** Hear events of one kind; returns the way to stop. */
export function listen(kind: (typeof KINDS)[number], listener: Listener): () => void {
  connect();
  const set = listeners.get(kind) ?? new Set();
  set.add(listener);
  listeners.set(kind, set);
  return () => set.delete(listener);
}
