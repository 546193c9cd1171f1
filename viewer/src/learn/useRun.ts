/** A run of the server that is asked for how it stands, again and again while it goes on. */

import { useCallback, useEffect, useState } from "react";

import type { RunStatus } from "../api/learning";
import { says } from "../api/http";

const EVERY = 1000;

export interface Run<T> {
  state: T | undefined;
  running: boolean;
  error: string;
  /** do something to the run and look again */
  act: (what: () => Promise<unknown>) => void;
}

/** `ask` must stay the same function; it is asked while `wanted`. */
export function useRun<T extends { status: RunStatus }>(ask: () => Promise<T>, wanted: boolean): Run<T> {
  const [state, setState] = useState<T>();
  const [error, setError] = useState("");
  const [turn, setTurn] = useState(0);
  const running = state?.status === "RUNNING";
  useEffect(() => {
    if (!wanted) return;
    let [live, timer] = [true, 0];
    const look = () =>
      ask().then(
        (now) => {
          if (!live) return;
          setState(now);
          if (now.status === "RUNNING") timer = window.setTimeout(() => void look(), EVERY);
        },
        (e: unknown) => live && setError(says(e)),
      );
    void look();
    return () => {
      live = false;
      window.clearTimeout(timer);
    };
  }, [ask, wanted, turn]);
  const act = useCallback((what: () => Promise<unknown>) => {
    setError("");
    what()
      .catch((e: unknown) => setError(says(e)))
      .finally(() => setTurn((n) => n + 1));
  }, []);
  return { state, running, error, act };
}
