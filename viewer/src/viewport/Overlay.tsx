/** The text, letters, scale bar and colour legend over a picture. */

import type { Series } from "../study/series";
import { date, number, personName, text } from "../dicom/json";
import { figure, level, prettyUnit } from "../tools/lines";
import { COLORMAPS, gradient } from "./colormaps";
import type { Readout } from "./readout";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200];

/** The longest round length that leaves the corner texts their room. */
function ScaleBar({ scale, room }: { scale: number; room: number }) {
  const longest = Math.min(180, Math.max(36, 0.24 * room));
  const mm = [...STEPS].reverse().find((step) => step * scale <= longest);
  if (mm === undefined) return null;
  return (
    <div className="scalebar" aria-label={`Scale bar, ${mm} millimetres`}>
      <span>{mm >= 10 ? `${mm / 10} cm` : `${mm} mm`}</span>
      <i style={{ width: `${mm * scale}px` }} />
    </div>
  );
}

interface LegendProps {
  readout: Pick<Readout, "colormap" | "lower" | "upper" | "inverted">;
  unit: string;
}

function Legend({ readout, unit }: LegendProps) {
  const known = COLORMAPS.some((c) => c.name === readout.colormap);
  if (!readout.colormap || !known || readout.colormap === "soma-grey") return null;
  const middle = (readout.lower + readout.upper) / 2;
  return (
    <div className="legend" aria-label="Colour legend">
      <i style={{ background: gradient(readout.colormap, readout.inverted ? "to bottom" : "to top") }} />
      <div>
        <span>{figure(readout.upper)}</span>
        <span>{figure(middle)}</span>
        <span>{figure(readout.lower)}</span>
      </div>
      <b>{prettyUnit(unit)}</b>
    </div>
  );
}

export function Overlay(props: {
  series: Series;
  readout: Readout | undefined;
  plane?: string;
  shown: boolean;
  note?: string;
  /** which of the series' time points, echoes or b-values */
  phase?: string | undefined;
  /** small panes beside a big one need not say the name again */
  patient?: boolean;
  legend?: { colormap: string; lower: number; upper: number; unit: string } | undefined;
}) {
  const { series, readout, plane, shown, note, patient = true } = props;
  if (!readout) return null;
  const ds = series.metadata[0];
  const thickness = series.frames[readout.slice - 1]?.thickness ?? number(ds, "00180050");
  return (
    <div className="overlay">
      <div className="frame">
        <div className="corner tl">
          {shown && patient && (
            <>
              <strong>{personName(text(ds, "00100010")) || "No name"}</strong>
              <span>
                {text(ds, "00100020")} {text(ds, "00100040")}
              </span>
              <span className="minor">{date(text(ds, "00080020"))}</span>
            </>
          )}
        </div>
        <span className="letter t">{readout.top}</span>
        <div className="corner tr">
          {shown && patient && (
            <>
              <strong>{series.row.description || text(ds, "00081030")}</strong>
              <span>
                {series.row.modality}
                {series.row.number === undefined ? "" : ` · series ${series.row.number}`}
              </span>
            </>
          )}
          {shown && plane && <span className="plane">{plane}</span>}
          {shown && props.phase && <span className="phase">{props.phase}</span>}
        </div>
        <span className="letter l">{readout.left}</span>
        <span className="letter r">{readout.right}</span>
        <div className="corner bl">
          {shown && (
            <>
              {note && <span className="note">{note}</span>}
              {readout.slices > 1 && (
                <span>
                  {readout.slice} / {readout.slices}
                  {thickness ? ` · ${thickness.toFixed(1)} mm` : ""}
                </span>
              )}
              {readout.position && <span className="minor">{readout.position} mm</span>}
            </>
          )}
        </div>
        <div className="foot">
          <span className="letter b">{readout.bottom}</span>
          {readout.scale && <ScaleBar scale={readout.scale} room={readout.room} />}
        </div>
        <div className="corner br">
          {shown && (
            <>
              {readout.width !== undefined && !series.colour && (
                <span>
                  W {level(readout.width)} L {level(readout.center ?? 0)} {prettyUnit(series.unit)}
                </span>
              )}
              <span className="minor">{Math.round(readout.zoom * 100)} %</span>
            </>
          )}
        </div>
      </div>
      {props.legend ? (
        <Legend readout={{ ...props.legend, inverted: false }} unit={props.legend.unit} />
      ) : (
        <Legend readout={readout} unit={series.unit} />
      )}
    </div>
  );
}
