/** Which series of the archive is played again: those that are films as a rule. */

import { useEffect, useState } from "react";

import { ROOT } from "../api/dicomweb";
import { getJson } from "../api/http";
import { type Dataset, personName, text } from "../dicom/json";

const FILMS = ["US", "XA", "RF", "NM", "MR"];
const MOST = 40;

interface Choice {
  uid: string;
  label: string;
}

async function choices(): Promise<Choice[]> {
  const found = await Promise.all(
    FILMS.map((modality) =>
      getJson<Dataset[]>(`${ROOT}/series?Modality=${modality}&limit=${MOST}&includefield=0008103E,00100010`),
    ),
  );
  return found.flat().map((ds) => ({
    uid: text(ds, "0020000E"),
    label: [text(ds, "00080060"), text(ds, "0008103E") || "no description", personName(text(ds, "00100010"))]
      .filter(Boolean)
      .join(" · "),
  }));
}

export function SeriesChoice(props: { value: string; onChange: (uid: string) => void; disabled: boolean }) {
  const { value, onChange, disabled } = props;
  const [list, setList] = useState<Choice[]>();
  useEffect(() => {
    choices().then(setList, () => setList([]));
  }, []);
  return (
    <select aria-label="Series" value={value} onChange={(e) => onChange(e.target.value)} disabled={disabled}>
      <option value="">{list?.length === 0 ? "No film in the archive" : "Choose a series …"}</option>
      {list?.map((c) => (
        <option key={c.uid} value={c.uid}>
          {c.label}
        </option>
      ))}
    </select>
  );
}
