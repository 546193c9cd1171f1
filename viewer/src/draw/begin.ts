/** From a segmentation of the study to a drawing of it on a stack. */

import type { Dispatch } from "react";

import type { SeriesRow } from "../api/dicomweb";
import { lay } from "../segments/lay";
import { type Action, type State, isStack } from "../study/state";
import { edit } from "./store";

/** Show a series as a stack and give the left button to the pen. */
export function toStack(state: State, series: string, rows: SeriesRow[], dispatch: Dispatch<Action>): void {
  if (!isStack(state.layout)) dispatch({ do: "layout", layout: "one", rows });
  dispatch({ do: "source", series });
  dispatch({ do: "set", part: { tool: "draw", panel: "segments", segmentation: undefined } });
}

/** Make the first segmentation among `uids` the drawing; its row, or nothing where there is none. */
export async function editOneOf(
  uids: string[],
  state: State,
  rows: SeriesRow[],
  dispatch: Dispatch<Action>,
): Promise<SeriesRow | undefined> {
  const row = rows.find((r) => uids.includes(r.uid) && r.content === "segmentation");
  if (!row) return undefined;
  const laid = await lay(row, rows);
  edit(laid);
  toStack(state, laid.source.row.uid, rows, dispatch);
  return row;
}
