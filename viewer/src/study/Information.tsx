/** A series without pictures: what it is, how it was made, and what can be done with it. */

import { contentName } from "../dicom/content";
import { type Dataset, date, text, texts, time } from "../dicom/json";
import { Icon } from "../parts/Icon";
import { History } from "./History";
import { type Series, seriesName } from "./series";

/** DICOM date and time, together or apart, as a reader writes them. */
function when(ds: Dataset, both: string, day: string, clock: string): string {
  const whole = text(ds, both);
  const [d, t] = whole ? [whole.slice(0, 8), whole.slice(8)] : [text(ds, day), text(ds, clock)];
  return [date(d), time(t)].filter(Boolean).join(" ");
}

const ICON = { raw: "raw", document: "document", segmentation: "layers", image: "one" } as const;

export function Information(props: { series: Series; active: boolean; onActivate: () => void }) {
  const { series, active, onActivate } = props;
  const ds: Dataset = series.metadata[0] ?? {};
  const { row } = series;
  const facts: [string, string][] = [
    ["Modality", row.modality],
    ["Instances", String(series.metadata.length)],
    ["Acquired", when(ds, "0008002A", "00080022", "00080032") || when(ds, "0040A032", "00080023", "00080033")],
    ["Body part", row.bodyPart],
    ["Protocol", text(ds, "00181030")],
    ["Device", [text(ds, "00080070"), text(ds, "00081090")].filter(Boolean).join(" ")],
    ["Software", texts(ds, "00181020").join(", ")],
    ["Title", text(ds, "00700080") || text(ds, "00420010")],
    ["Content", text(ds, "00700081") || text(ds, "300A0002")],
    ["Comments", text(ds, "00204000")],
  ];
  return (
    <div
      className={`pane information ${active ? "active" : ""}`}
      data-information={row.content}
      onPointerDownCapture={onActivate}
    >
      <article>
        <header>
          <Icon name={ICON[series.kind]} />
          <div>
            <h2>{seriesName(row)}</h2>
            <p className="dim">
              {contentName(row.content, row.modality)}
              {row.number === undefined ? "" : ` · series ${row.number}`}
            </p>
          </div>
        </header>
        <dl className="facts">
          {facts
            .filter(([, value]) => value)
            .map(([label, value]) => (
              <div key={label}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </div>
            ))}
        </dl>
        <History dataset={ds} />
        <p className="hint">
          {series.kind === "raw"
            ? "Samples as the scanner measured them: there is no picture yet. Reconstruct one with an operation on the right."
            : row.modality === "SR"
              ? "A report: its findings are on the right, under Measure."
              : "This series holds no pictures."}
        </p>
      </article>
    </div>
  );
}
