/** Files on their way in: progress and outcome of each. */

import { useCallback, useRef, useState } from "react";

import { batches, upload } from "../api/upload";
import { Icon } from "../parts/Icon";

export interface Upload {
  id: number;
  name: string;
  fraction: number;
  state: "waiting" | "sending" | "done" | "failed";
  text: string;
}

const AT_ONCE = 2;
let counter = 0;

export function useUploads(onStored: () => void) {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const queue = useRef<{ ids: number[]; files: File[] }[]>([]);
  const running = useRef(0);

  const change = (ids: number[], part: (i: number) => Partial<Upload>) =>
    setUploads((list) =>
      list.map((u) => (ids.includes(u.id) ? { ...u, ...part(ids.indexOf(u.id)) } : u)),
    );

  const pump = useCallback(() => {
    while (running.current < AT_ONCE) {
      const next = queue.current.shift();
      if (!next) return;
      running.current += 1;
      change(next.ids, () => ({ state: "sending" }));
      void upload(next.files, (fraction) => change(next.ids, () => ({ fraction }))).then((sent) => {
        running.current -= 1;
        change(next.ids, (i) => {
          const one = sent[i] ?? { ok: false, text: "no answer for this file" };
          return { state: one.ok ? "done" : "failed", fraction: 1, text: one.text };
        });
        if (sent.some((s) => s.ok)) onStored();
        pump();
      });
    }
  }, [onStored]);

  const send = useCallback(
    (files: File[]) => {
      const added = files.map((file) => ({ id: ++counter, file }));
      const number = new Map(added.map(({ id, file }) => [file, id]));
      for (const batch of batches(files)) {
        queue.current.push({ files: batch, ids: batch.map((f) => number.get(f) ?? 0) });
      }
      setUploads((list) => [
        ...list,
        ...added.map(({ id, file }): Upload => ({
          id,
          name: file.webkitRelativePath || file.name,
          fraction: 0,
          state: "waiting",
          text: "",
        })),
      ]);
      pump();
    },
    [pump],
  );

  const clear = () => setUploads((list) => list.filter((u) => u.state === "waiting" || u.state === "sending"));
  return { uploads, send, clear };
}

export function Uploads({ uploads, onClear }: { uploads: Upload[]; onClear: () => void }) {
  if (uploads.length === 0) return null;
  const finished = uploads.filter((u) => u.state === "done" || u.state === "failed").length;
  const failed = uploads.filter((u) => u.state === "failed").length;
  const total = uploads.reduce((sum, u) => sum + u.fraction, 0) / uploads.length;
  return (
    <aside className="uploads" aria-label="Uploads">
      <header>
        <strong>
          {finished === uploads.length ? "Added" : "Adding"} {finished} of {uploads.length}
          {failed > 0 && <span className="bad"> · {failed} not added</span>}
        </strong>
        <button className="icon" onClick={onClear} aria-label="Clear finished uploads">
          <Icon name="close" />
        </button>
      </header>
      <div className="bar" role="progressbar" aria-valuenow={Math.round(total * 100)} aria-label="Upload">
        <i style={{ width: `${total * 100}%` }} />
      </div>
      <ul>
        {[...uploads].reverse().slice(0, 60).map((u) => (
          <li key={u.id} className={u.state}>
            <span className="file">{u.name}</span>
            <span className="outcome">
              {u.state === "sending" ? `${Math.round(u.fraction * 100)} %` : u.text || u.state}
            </span>
          </li>
        ))}
      </ul>
    </aside>
  );
}
