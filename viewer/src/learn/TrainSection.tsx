/** Training on what readers corrected: one run at a time, on the server. */

import { useEffect, useState } from "react";

import {
  type ModelTold, type TrainingTold, getTrainable, getTraining, startTraining, stopTraining,
} from "../api/learning";
import { says } from "../api/http";
import { Running } from "../jobs/Running";
import { useRun } from "./useRun";

const MINUTES = 30;
const ENDED: Record<string, string> = { CANCELED: "The last training was stopped.", ERROR: "The last training failed." };

export function TrainSection(props: { model: ModelTold | undefined; visible: boolean; made: string; onMade: () => void }) {
  const { model, visible, onMade } = props;
  const [minutes, setMinutes] = useState(MINUTES);
  const [able, setAble] = useState<TrainingTold>();
  const [error, setError] = useState("");
  const run = useRun(getTraining, visible);
  const told = run.state;
  useEffect(() => {
    if (!visible) return;
    let live = true;
    getTrainable().then(
      (found) => live && setAble(found),
      (e: unknown) => live && setError(says(e)),
    );
    return () => {
      live = false;
    };
    // What was kept meanwhile counts, too.
  }, [visible, props.made, told?.status]);
  const result = told?.status === "DONE" ? told.result : undefined;
  useEffect(() => {
    if (result) onMade();
  }, [result, onMade]);

  return (
    <section data-training={told?.status ?? ""}>
      <h3>Train on corrected cases</h3>
      {able && (
        <p className="dim" data-cases={able.cases}>
          {able.cases === 1 ? "1 series is outlined by a reader." : `${able.cases} series are outlined by readers.`}
        </p>
      )}
      {able && !able.able && (
        <p className="hint" data-reason="training">
          Training is off: {able.why_not}.
        </p>
      )}
      <label className="field">
        <span>Minutes at most</span>
        <input
          type="number"
          min={1}
          max={1440}
          value={minutes}
          aria-label="Minutes that the training may take"
          onChange={(e) => setMinutes(Number(e.target.value))}
        />
      </label>
      <button
        data-act="train"
        disabled={!able?.able || !model || run.running || !(minutes > 0 && minutes <= 1440)}
        onClick={() => model && run.act(() => startTraining(model.name, minutes))}
      >
        {model ? (model.kept ? `Train ${model.name} further` : `Train ${model.name} anew`) : "Train"}
      </button>
      {run.running && (
        <Running
          label={`Training ${told?.model ?? ""}`}
          progress={told?.progress ?? 0}
          {...(told?.message ? { message: told.message } : {})}
          onCancel={() => run.act(stopTraining)}
        />
      )}
      {result && (
        <p className="good" role="status">
          {result} is ready, and among the models.
        </p>
      )}
      {told && ENDED[told.status] && (
        <p className="dim" role="status">
          {ENDED[told.status]} {told.status === "ERROR" ? told.message : "It goes on where it was when it is started again."}
        </p>
      )}
      {(run.error || error) && (
        <p className="bad" role="alert">
          {run.error || error}
        </p>
      )}
    </section>
  );
}
