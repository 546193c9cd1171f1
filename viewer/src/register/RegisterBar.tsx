/** Below the choice of two series: register them, and what the registration is worth. */

import { useEffect, useState } from "react";

import { type StudyRow, searchStudies } from "../api/dicomweb";
import { date, personName } from "../dicom/json";
import type { Spatial } from "./spatial";
import type { Run } from "./useRegistration";

const PRESETS: [string, string][] = [
  ["", "by content"],
  ["rigid", "rigid"],
  ["similarity", "similarity"],
  ["affine", "affine"],
  ["deformable", "deformable"],
  ["brain", "brain"],
  ["multimodal", "other contrast"],
  ["lung", "lung"],
  ["followup", "follow-up"],
];

/** What is done by hand; nothing while the images are only looked at. */
export type Hand = "" | "nudge" | "landmarks";
const HANDS: [Hand, string, string][] = [
  ["nudge", "Nudge", "Push the series after into place: drag it, or use the arrow keys"],
  ["landmarks", "Landmarks", "Register by points that you click in both pictures"],
];

/** How a verdict looks; of another system's registration there is none. */
const VERDICTS: Record<string, { look: string; sign: string }> = {
  true: { look: "good", sign: "✓" },
  false: { look: "bad", sign: "✗" },
};

/** Studies to take the second series from: those of the same patient first. */
function OtherStudy(props: { study: string; value: string; onChange: (uid: string) => void }) {
  const [studies, setStudies] = useState<StudyRow[]>([]);
  useEffect(() => {
    let live = true;
    searchStudies({ limit: 200 }).then(
      (list) => {
        const patient = list.find((s) => s.uid === props.study)?.patientId;
        const rank = (s: StudyRow) => (patient && s.patientId === patient ? 0 : 1);
        if (live) setStudies(list.filter((s) => s.uid !== props.study).sort((a, b) => rank(a) - rank(b)));
      },
      () => undefined,
    );
    return () => {
      live = false;
    };
  }, [props.study]);
  return (
    <label>
      <span className="dim">Second study</span>
      <select aria-label="Second study" value={props.value} onChange={(e) => props.onChange(e.target.value)}>
        <option value="">this one</option>
        {studies.map((s) => (
          <option key={s.uid} value={s.uid}>
            {[personName(s.patientName), date(s.date), s.description].filter(Boolean).join(" · ")}
          </option>
        ))}
      </select>
    </label>
  );
}

export function RegisterBar(props: {
  study: string;
  other: string;
  onOther: (uid: string) => void;
  pair: boolean;
  run: Run;
  by: Spatial | undefined;
  onRegister: (preset: string) => void;
  hand: Hand;
  onHand: (hand: Hand) => void;
}) {
  const { run, by } = props;
  const [preset, setPreset] = useState("");
  const [open, setOpen] = useState(false);
  const busy = run.doing !== "idle";
  const verdict = VERDICTS[String(by?.trusted)] ?? { look: "", sign: "?" };
  return (
    <div className="compare-bar register-bar" data-doing={run.doing}>
      <OtherStudy study={props.study} value={props.other} onChange={props.onOther} />
      <label>
        <span className="dim">Preset</span>
        <select aria-label="Preset" value={preset} onChange={(e) => setPreset(e.target.value)}>
          {PRESETS.map(([id, name]) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <button
        className="primary register"
        disabled={busy || !props.pair}
        title="Find where every point of the series before lies in the series after, and bring that one here"
        onClick={() => props.onRegister(preset)}
      >
        {run.doing === "registering"
          ? `Registering ${Math.round(run.progress * 100)} %`
          : run.doing === "carrying"
            ? "Resampling…"
            : "Register"}
      </button>
      <div className="segmented" role="group" aria-label="By hand">
        {HANDS.map(([id, name, title]) => (
          <button
            key={id}
            aria-pressed={props.hand === id}
            disabled={busy || !props.pair}
            title={title}
            onClick={() => props.onHand(props.hand === id ? "" : id)}
          >
            {name}
          </button>
        ))}
      </div>
      {run.error && (
        <span className="bad" role="alert">
          {run.error}
        </span>
      )}
      {by && !busy && !run.error && (
        <span className={`verdict ${verdict.look}`} data-trusted={by.trusted ?? "unknown"} role="status">
          <button className="quiet small" aria-expanded={open} disabled={by.evidence.length === 0} onClick={() => setOpen(!open)}>
            {verdict.sign} {by.words || "registration"}
            {by.trusted === undefined && " · not judged"}
          </button>
          {open && (
            <ul className="verdict-evidence">
              {by.evidence.map((line) => (
                <li key={line}>{line}</li>
              ))}
            </ul>
          )}
        </span>
      )}
    </div>
  );
}
