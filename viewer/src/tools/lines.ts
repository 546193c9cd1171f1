/** The text beside a region of interest: mean, spread and area in the image's own unit. */

interface Stats {
  area?: number;
  areaUnit?: string;
  mean?: number;
  stdDev?: number;
  max?: number;
  min?: number;
  modalityUnit?: string;
}

export function figure(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && size < 0.01) return value.toExponential(2);
  return value.toFixed(size < 10 ? 2 : size < 1000 ? 1 : 0);
}

/** Width and level as readers write them: whole numbers stay whole. */
export function level(value: number): string {
  return figure(value).replace(/\.0+$/, "");
}

/** Units as a reader writes them. */
export function prettyUnit(code: string): string {
  const words: Record<string, string> = { "[hnsf'U]": "HU", mm2: "mm²", "mm^2": "mm²", raw: "", US: "" };
  return words[code] ?? code.replace("\xb2", "²");
}

export function roiLines(data: { cachedStats?: Record<string, Stats> }, targetId: string): string[] {
  const stats = data.cachedStats?.[targetId];
  if (!stats || stats.area === undefined) return [];
  const unit = prettyUnit(stats.modalityUnit ?? "");
  const lines: string[] = [];
  if (typeof stats.mean === "number" && Number.isFinite(stats.mean)) {
    lines.push(`Mean ${figure(stats.mean)} ${unit}`.trim());
    if (typeof stats.stdDev === "number") lines.push(`SD ${figure(stats.stdDev)} ${unit}`.trim());
    if (typeof stats.min === "number" && typeof stats.max === "number") {
      lines.push(`${figure(stats.min)} to ${figure(stats.max)} ${unit}`.trim());
    }
  }
  lines.push(`Area ${figure(stats.area)} ${prettyUnit(stats.areaUnit ?? "mm²")}`);
  return lines;
}
