/** What the structured reports of a study say, as tables: the chosen report, or all of them. */

import { useEffect, useState } from "react";

import { type SeriesRow, getMetadata } from "../api/dicomweb";
import { says } from "../api/http";
import { type Finding, findingsOf } from "../dicom/findings";
import { prettyUnit } from "../tools/lines";
import { seriesName } from "./series";

function said(value: number): string {
  return String(Number(value.toPrecision(5)));
}

function value(finding: Finding): string {
  if (finding.value === undefined) return finding.lacking;
  const spread = finding.spread === undefined ? "" : ` ± ${said(finding.spread)}`;
  const pretty = (prettyUnit(finding.unit) || finding.unit).replace(/m2$/, "m²").replace(/m3$/, "m³");
  const unit = finding.unit === "1" ? "" : ` ${pretty}`;
  return `${said(finding.value)}${spread}${unit}`;
}

function Report({ row }: { row: SeriesRow }) {
  const [state, setState] = useState<{ findings?: Finding[]; error?: string }>({});
  const { study, uid } = row;
  useEffect(() => {
    let live = true;
    getMetadata(study, uid).then(
      (list) => live && setState({ findings: list.flatMap(findingsOf) }),
      (e: unknown) => live && setState({ error: says(e) }),
    );
    return () => {
      live = false;
    };
  }, [study, uid]);
  const { findings, error } = state;
  return (
    <section data-report={uid}>
      <h3>{seriesName(row)}</h3>
      {error && <p className="bad">{error}</p>}
      {!error && !findings && <p className="dim">Reading…</p>}
      {findings?.length === 0 && <p className="dim">It holds no measurements.</p>}
      {findings && findings.length > 0 && (
        <table className="findings">
          <tbody>
            {findings.map((f, i) => (
              <tr key={i}>
                <th scope="row">{f.name}</th>
                <td>{value(f)}</td>
                <td className="dim">{f.sure === undefined ? "" : `${Math.round(f.sure * 100)} %`}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

export function Reported({ rows, row }: { rows: SeriesRow[]; row: SeriesRow | undefined }) {
  const reports = rows.filter((r) => r.modality === "SR");
  const shown = row?.modality === "SR" ? [row] : reports;
  return (
    <>
      {shown.map((r) => (
        <Report key={r.uid} row={r} />
      ))}
    </>
  );
}
