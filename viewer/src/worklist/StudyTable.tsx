/** The table itself: one row a study, sorted by a click on a column. */

import type { StudyRow } from "../api/dicomweb";
import { date, personName, time } from "../dicom/json";

export type Column = "patientName" | "patientId" | "date" | "modalities" | "description" | "series" | "instances";

export interface Order {
  by: Column;
  down: boolean;
}

const COLUMNS: { id: Column; label: string; className?: string }[] = [
  { id: "patientName", label: "Patient" },
  { id: "patientId", label: "ID" },
  { id: "date", label: "Date" },
  { id: "modalities", label: "Modality" },
  { id: "description", label: "Description", className: "wide" },
  { id: "series", label: "Series", className: "right" },
  { id: "instances", label: "Images", className: "right" },
];

function key(row: StudyRow, column: Column): string | number {
  if (column === "date") return row.date + row.time;
  if (column === "modalities") return row.modalities.join("/");
  const value = row[column];
  return typeof value === "string" ? value.toLowerCase() : value;
}

export function compareBy(order: Order): (a: StudyRow, b: StudyRow) => number {
  return (a, b) => {
    const [x, y] = [key(a, order.by), key(b, order.by)];
    const way = x < y ? -1 : x > y ? 1 : a.uid < b.uid ? -1 : 1;
    return order.down ? -way : way;
  };
}

export function StudyTable(props: {
  rows: StudyRow[];
  order: Order;
  fresh: ReadonlySet<string>;
  onOrder: (order: Order) => void;
  onOpen: (uid: string) => void;
}) {
  const { order } = props;
  return (
    <table className="studies">
      <thead>
        <tr>
          {COLUMNS.map((c) => (
            <th
              key={c.id}
              className={c.className}
              aria-sort={order.by !== c.id ? "none" : order.down ? "descending" : "ascending"}
            >
              <button
                onClick={() =>
                  props.onOrder({ by: c.id, down: order.by === c.id ? !order.down : c.id === "date" })
                }
              >
                {c.className === "right" ? null : c.label}
                <i>{order.by === c.id ? (order.down ? "▾" : "▴") : ""}</i>
                {c.className === "right" ? c.label : null}
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {props.rows.map((row) => (
          <tr
            key={row.uid}
            tabIndex={0}
            data-study={row.uid}
            className={props.fresh.has(row.uid) ? "fresh" : ""}
            onClick={() => props.onOpen(row.uid)}
            onKeyDown={(e) => e.key === "Enter" && props.onOpen(row.uid)}
          >
            <td className="name">
              {personName(row.patientName) || <span className="dim">No name</span>}
              {props.fresh.has(row.uid) && <em>new</em>}
            </td>
            <td className="dim">{row.patientId}</td>
            <td>
              {date(row.date)} <span className="dim">{time(row.time)}</span>
            </td>
            <td>
              {row.modalities.map((m) => (
                <span key={m} className="modality">
                  {m}
                </span>
              ))}
            </td>
            <td className="wide">{row.description || <span className="dim">No description</span>}</td>
            <td className="right">{row.series}</td>
            <td className="right">{row.instances}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
