/** The pictures of the chosen layout. */

import { type Dispatch, useCallback } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { FollowUp } from "../followup/FollowUp";
import { PALETTE, rangeOf, sourceOf, toldOf } from "../learn/maps";
import { type Fusion, PlanePane } from "../viewport/PlanePane";
import { StackPane } from "../viewport/StackPane";
import { VolumePane } from "../viewport/VolumePane";
import { Compare } from "./Compare";
import { Information } from "./Information";
import type { Series } from "./series";
import { type Action, PLANES, type State, cellCount } from "./state";
import { useSeries } from "./useSeries";
import { useMemo } from "react";

export interface StageProps {
  state: State;
  rows: SeriesRow[];
  dispatch: Dispatch<Action>;
  onReady: (id: string) => void;
  reload: () => Promise<SeriesRow[]>;
}

export function Stage(props: StageProps) {
  const { state, rows } = props;
  if (state.layout === "mpr" || state.layout === "volume") return <VolumeStage {...props} />;
  if (state.layout === "compare" && state.compare) {
    return (
      <Compare
        {...props}
        compare={state.compare}
        before={rows.find((r) => r.uid === state.compare?.before)}
        after={rows.find((r) => r.uid === state.compare?.after)}
      />
    );
  }
  if (state.layout === "followup") return <FollowUp {...props} />;
  return (
    <div className={`cells ${state.layout}`}>
      {Array.from({ length: cellCount(state.layout) }, (_, index) => (
        <Cell key={index} index={index} {...props} />
      ))}
    </div>
  );
}

function Wait({ error, text }: { error: string; text: string }) {
  return (
    <div className="pane">
      <div className="pane-state" role={error ? "alert" : "status"}>
        {error ? <strong>This series could not be read</strong> : text ? null : <i className="spinner" />}
        <span>{error || text || "Reading the series"}</span>
      </div>
    </div>
  );
}

function Cell(props: StageProps & { index: number }) {
  const { state, rows, index, dispatch } = props;
  const row = rows.find((r) => r.uid === state.cells[index]);
  const { series, error } = useSeries(row);
  const { map } = state;
  const over = useSeries(rows.find((r) => r.uid === map?.series)).series;
  const mapped = useMemo(
    () => (over && map && sourceOf(over.metadata[0]) === row?.uid ? { series: over, opacity: map.opacity } : undefined),
    [over, map, row?.uid],
  );
  const activate = useCallback(() => dispatch({ do: "set", part: { active: index } }), [dispatch, index]);
  const drop = (event: React.DragEvent) => {
    const uid = event.dataTransfer.getData("text/series");
    if (uid) dispatch({ do: "open", series: uid });
  };
  if (!row) {
    const text = rows.length > 0 ? "Choose a series on the left." : "";
    return (
      <div onPointerDown={activate} className={`cell ${state.active === index ? "active" : ""}`}>
        <Wait error="" text={text} />
      </div>
    );
  }
  return (
    <div className="cell" onDrop={drop} onDragOver={(e) => e.preventDefault()}>
      {!series ? (
        <Wait error={error} text="" />
      ) : series.kind !== "image" ? (
        <Information series={series} active={state.active === index} onActivate={activate} />
      ) : (
        <StackPane
          id={`stack-${index}`}
          series={series}
          phase={state.active === index ? state.phase : undefined}
          active={state.active === index}
          overlay={state.overlay}
          map={mapped}
          draws={state.tool === "draw" && state.active === index}
          onActivate={activate}
          onReady={props.onReady}
        />
      )}
    </div>
  );
}

function VolumeStage(props: StageProps) {
  const { state, rows } = props;
  const row = rows.find((r) => r.uid === state.cells[0]);
  const { series, error } = useSeries(row);
  const second = state.fusion?.series ?? state.map?.series;
  const over = useSeries(rows.find((r) => r.uid === second)).series;
  if (!series) return <Wait error={error} text="" />;
  const volume = series.volumes[state.phase ?? 0] ?? series.volume;
  if (!volume.ok) return <Wait error="" text={`Shown as a stack only. ${volume.reason}`} />;
  return <Planes {...props} series={series} over={over} />;
}

function Planes(props: StageProps & { series: Series; over: Series | undefined }) {
  const { state, series, over, dispatch, onReady } = props;
  const { fusion: choice, map } = state;
  const fusion = useMemo<Fusion | undefined>(
    () => {
      if (!over?.volume.ok) return undefined;
      if (choice) return { series: over, opacity: choice.opacity, colormap: choice.colormap, threshold: choice.threshold };
      if (!map || sourceOf(over.metadata[0]) !== series.row.uid) return undefined;
      const shown = { colormap: PALETTE, threshold: undefined, range: rangeOf(over), unit: toldOf(over)?.unit };
      return { series: over, opacity: map.opacity, ...shown };
    },
    [over, choice, map, series.row.uid],
  );
  if (state.layout === "volume") {
    return (
      <div className="cells one">
        <div className="cell">
          <VolumePane id="volume-main" series={series} phase={state.phase ?? 0} preset={state.preset} tool={state.tool} active onReady={onReady} />
        </div>
      </div>
    );
  }
  return (
    <div className="cells mpr">
      {PLANES.map((plane, index) => (
        <div className={`cell plane-${plane}`} key={plane}>
          <PlanePane
            id={`mpr-${plane}`}
            plane={plane}
            series={series}
            phase={state.phase ?? 0}
            fusion={fusion}
            active={state.active === index}
            overlay={state.overlay}
            slab={state.slab}
            thickness={state.thickness}
            onActivate={() => dispatch({ do: "set", part: { active: index } })}
            onReady={onReady}
          />
        </div>
      ))}
    </div>
  );
}
