/** Segmentations of this study: choose one, and it lies over its source. */

import type { PanelProps } from "../study/SidePanel";

export function SegmentsPanel({ rows }: PanelProps) {
  const list = rows.filter((r) => r.modality === "SEG");
  return <div className="panel">{list.length === 0 && <p className="dim pad">This study has no segmentation.</p>}</div>;
}
