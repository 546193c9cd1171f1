/** The box around every picture: focus, progress, waiting, error, failed instances. */

import { type ReactNode, useSyncExternalStore } from "react";

import { loadingNow, watchLoading } from "./volumes";

export function PaneFrame(props: {
  id: string;
  kind: string;
  active: boolean;
  attach: (element: HTMLDivElement | null) => void;
  loadingKey: string;
  waiting: boolean;
  error: string;
  failures?: string[];
  onActivate?: () => void;
  /** part done of a preparation of its own, beside the loading of a series */
  progress?: number;
  children: ReactNode;
}) {
  const loading = useSyncExternalStore(watchLoading, loadingNow).get(props.loadingKey);
  const part = loading && loading.loaded < loading.total ? loading.loaded / loading.total : (props.progress ?? 1);
  const failures = props.failures ?? [];
  return (
    <div
      className={`pane ${props.active ? "active" : ""}`}
      data-pane={props.id}
      data-kind={props.kind}
      data-loaded={loading ? `${loading.loaded}/${loading.total}` : ""}
      data-waiting={props.waiting}
      onPointerDownCapture={props.onActivate}
    >
      <div
        className="picture"
        ref={props.attach}
        tabIndex={0}
        role="img"
        aria-label={`Image pane ${props.kind}`}
        onContextMenu={(e) => e.preventDefault()}
      />
      {props.children}
      {props.waiting && !props.error && (
        <div className="pane-state" role="status">
          <i className="spinner" />
          <span>Loading image</span>
        </div>
      )}
      {props.error && (
        <div className="pane-state" role="alert">
          <strong>This image could not be shown</strong>
          <span>{props.error}</span>
        </div>
      )}
      {failures.length > 0 && !props.error && (
        <details className="failures">
          <summary>
            {failures.length} {failures.length === 1 ? "image" : "images"} could not be decoded
          </summary>
          <ul>
            {failures.slice(0, 20).map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </details>
      )}
      {part < 1 && (
        <div
          className="streaming"
          role="progressbar"
          aria-label="Images loaded"
          aria-valuenow={Math.round(part * 100)}
        >
          <i style={{ width: `${part * 100}%` }} />
        </div>
      )}
    </div>
  );
}
