/** A case that is opened to be corrected: remembered while the page goes from study to study. */

export interface Intent {
  series: string;
  operation: string;
  params: Record<string, unknown>;
}

let wanted: Intent | undefined;
const corrected = new Set<string>();

export function intend(intent: Intent): void {
  wanted = intent;
}

/** The intent, if it is of one of these series; it is then no more. */
export function taken(series: string[]): Intent | undefined {
  if (!wanted || !series.includes(wanted.series)) return undefined;
  const found = wanted;
  wanted = undefined;
  return found;
}

/** Cases that were corrected since the page was loaded: a search from before still names them. */
export const isCorrected = (series: string): boolean => corrected.has(series);

export function markCorrected(series: string): void {
  corrected.add(series);
}
