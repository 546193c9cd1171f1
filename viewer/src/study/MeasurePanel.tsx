/** The measurements made in this study, and those its reports hold. */

import { eventTarget } from "@cornerstonejs/core";
import { Enums, annotation } from "@cornerstonejs/tools";
import { useEffect, useReducer } from "react";

import { Icon } from "../parts/Icon";
import { TOOLS } from "../tools/names";
import { figure, roiLines } from "../tools/lines";
import { type ProbeData, probeLines } from "../tools/probe";
import { currentEngine } from "../viewport/engine";
import { viewportOf } from "../viewport/readout";
import { Reported } from "./Reported";
import type { PanelProps } from "./SidePanel";

const { ANNOTATION_ADDED, ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED } = Enums.Events;

interface Stats {
  length?: number;
  angle?: number;
  unit?: string;
  area?: number;
}

function result(data: { cachedStats?: Record<string, Stats> }): string {
  const [target, stats] = Object.entries(data.cachedStats ?? {})[0] ?? [];
  if (!target || !stats) return "";
  if (typeof stats.length === "number") return `${figure(stats.length)} ${stats.unit ?? "mm"}`;
  if (typeof stats.angle === "number") return `${stats.angle.toFixed(1)}°`;
  if (typeof stats.area === "number") return roiLines({ cachedStats: { [target]: stats } }, target).join(" · ");
  return probeLines(data as ProbeData, target).join(" ");
}

export function MeasurePanel({ pane, state, rows, row, dispatch }: PanelProps) {
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    let pending = 0;
    const later = () => {
      pending ||= window.setTimeout(() => {
        pending = 0;
        redraw();
      }, 120);
    };
    const names = [ANNOTATION_ADDED, ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED];
    for (const name of names) eventTarget.addEventListener(name, later);
    // The last figures of a drag are worked out after its last event.
    const timer = window.setInterval(redraw, 400);
    return () => {
      window.clearTimeout(pending);
      window.clearInterval(timer);
      for (const name of names) eventTarget.removeEventListener(name, later);
    };
  }, []);
  const kinds = new Map(TOOLS.filter((t) => t.measures).map((t) => [t.tool, t]));
  const list = annotation.state.getAllAnnotations().filter((a) => kinds.has(a.metadata?.toolName ?? ""));
  const show = (uid: string) => {
    const found = annotation.state.getAnnotation(uid);
    const viewport = viewportOf(pane);
    const place = found?.metadata;
    if (!viewport || !place) return;
    if (viewport.isReferenceViewable(place, { withNavigation: true })) {
      viewport.setViewReference(place);
      viewport.render();
    }
    annotation.selection.setAnnotationSelected(uid, true, false);
  };
  return (
    <div className="panel">
      <section>
        <h3>Measure with</h3>
        <div className="chips">
          {[...kinds.values()].map((t) => (
            <button
              key={t.id}
              aria-pressed={state.tool === t.id}
              onClick={() => dispatch({ do: "set", part: { tool: t.id } })}
            >
              <Icon name={t.id} /> {t.label} <kbd>{t.key}</kbd>
            </button>
          ))}
        </div>
      </section>
      <section>
        <h3>Measurements</h3>
        {list.length === 0 && <p className="dim">None yet. Choose a tool and draw on the image.</p>}
        <ul className="measurements">
          {list.map((a, i) => (
            <li key={a.annotationUID ?? i}>
              <button className="row" onClick={() => a.annotationUID && show(a.annotationUID)}>
                <Icon name={kinds.get(a.metadata?.toolName ?? "")?.id ?? "length"} />
                <span>{result(a.data as { cachedStats?: Record<string, Stats> }) || "…"}</span>
              </button>
              <button
                className="icon"
                aria-label="Remove this measurement"
                onClick={() => {
                  if (a.annotationUID) annotation.state.removeAnnotation(a.annotationUID);
                  currentEngine()?.render();
                  redraw();
                }}
              >
                <Icon name="trash" />
              </button>
            </li>
          ))}
        </ul>
        {list.length > 0 && (
          <button
            onClick={() => {
              annotation.state.removeAllAnnotations();
              currentEngine()?.render();
              redraw();
            }}
          >
            Remove all
          </button>
        )}
      </section>
      <Reported rows={rows} row={row} />
    </div>
  );
}

