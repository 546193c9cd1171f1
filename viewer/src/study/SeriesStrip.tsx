/** The series of the study as thumbnails; click or drag to show, derived results marked. */

import { useState } from "react";

import { type SeriesRow, seriesThumbnail } from "../api/dicomweb";
import { contentName } from "../dicom/content";
import { Icon } from "../parts/Icon";
import { seriesName } from "./series";

function Thumbnail({ row }: { row: SeriesRow }) {
  const [state, setState] = useState<"wait" | "ok" | "none">("wait");
  const [source, setSource] = useState(seriesThumbnail(row.study, row.uid));
  if (row.content !== "image") {
    const icon = { raw: "raw", segmentation: "layers", document: "document" }[row.content];
    return (
      <span className={`thumb tile ${row.content}`}>
        <Icon name={icon} />
        <em>{contentName(row.content, row.modality)}</em>
      </span>
    );
  }
  if (state === "none") {
    return (
      <span className="thumb tile">
        <Icon name="one" />
        <em>No preview</em>
      </span>
    );
  }
  return (
    <span className={`thumb ${state}`}>
      <img
        src={source}
        alt=""
        draggable={false}
        onLoad={() => setState("ok")}
        onError={() => {
          const rendered = `/dicom-web/studies/${row.study}/series/${row.uid}/rendered?viewport=128,128`;
          if (source === rendered) setState("none");
          else setSource(rendered);
        }}
      />
    </span>
  );
}

export function SeriesStrip(props: {
  rows: SeriesRow[] | undefined;
  shown: ReadonlySet<string>;
  active: string | undefined;
  onOpen: (uid: string) => void;
}) {
  return (
    <nav className="strip" aria-label="Series">
      {!props.rows && Array.from({ length: 4 }, (_, i) => <i key={i} className="strip-wait" />)}
      {props.rows?.map((row) => (
        <button
          key={row.uid}
          data-series={row.uid}
          data-modality={row.modality}
          data-content={row.content}
          className={`series ${props.active === row.uid ? "active" : props.shown.has(row.uid) ? "shown" : ""}`}
          aria-pressed={props.active === row.uid}
          onClick={() => props.onOpen(row.uid)}
          title={seriesName(row)}
        >
          <Thumbnail row={row} />
          <span className="series-text">
            <b>{seriesName(row)}</b>
            <span className="dim">
              {row.modality}
              {row.number === undefined ? "" : ` ${row.number}`}
              {row.content === "image" ? ` · ${row.instances}` : ""}
            </span>
          </span>
        </button>
      ))}
    </nav>
  );
}
