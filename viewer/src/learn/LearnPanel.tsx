/** Learning: why a model answered so, which case it doubts most, and training on what was corrected. */

import { useCallback, useState } from "react";

import type { PanelProps } from "../study/SidePanel";
import { NextSection } from "./NextSection";
import { TrainSection } from "./TrainSection";
import { WhySection } from "./WhySection";
import { useModels } from "./answers";

export function LearnPanel(props: PanelProps) {
  const { state, rows } = props;
  const visible = state.panel === "learn";
  const [turn, setTurn] = useState("");
  const { models, error } = useModels(visible || state.map !== undefined, turn);
  const [chosen, setChosen] = useState("");
  const segmenters = (models ?? []).filter((m) => m.task === "segment");
  const model = segmenters.find((m) => m.name === chosen) ?? segmenters[0];
  const onMade = useCallback(() => setTurn((t) => `${t}.`), []);
  const outlined = rows.filter((r) => r.content === "segmentation").map((r) => r.uid).join();
  return (
    <div className="panel">
      {error && (
        <p className="bad pad" role="alert">
          {error}
        </p>
      )}
      <WhySection {...props} models={models} />
      <section>
        <h3>Learning model</h3>
        {models && segmenters.length === 0 && <p className="dim">No model to segment is installed.</p>}
        {segmenters.length > 0 && (
          <select aria-label="Model that learns" value={model?.name ?? ""} onChange={(e) => setChosen(e.target.value)}>
            {segmenters.map((m) => (
              <option key={m.name} value={m.name}>
                {m.name} ({m.modalities.join(", ")})
              </option>
            ))}
          </select>
        )}
      </section>
      <NextSection {...props} model={model} visible={visible} />
      <TrainSection model={model} visible={visible} made={outlined} onMade={onMade} />
    </div>
  );
}
