/** What the processing page knows: pure data; `preview.ts` changes it. */

import type { OperationSchema } from "../api/application";
import type { Link } from "./chain";
import type { Counted, Head, VolumeState } from "./connection";
import type { Picture } from "./layer";

export type Scope = "slice" | "region" | "volume";
export type Side = "after" | "swipe" | "before";

/** Figures of the layer beside the window. */
export interface Tone {
  /** empty: the colours of the pane */
  palette: string;
  gamma: number;
  /** values below are clear */
  below: number | undefined;
  opacity: number;
}

export interface Shown {
  imageId: string;
  picture: Picture;
  stage: Head["stage"] | "source";
  unit: string;
  lower: number;
  upper: number;
  place: number[];
  /** the same meaning of values as those of the series */
  alike: boolean;
  head: Head | undefined;
}

export interface State {
  operations: OperationSchema[];
  most: number;
  chain: Link[];
  tone: Tone;
  side: Side;
  /** where the curtain of the swipe hangs, 0 to 1 */
  curtain: number;
  /** compute the volume behind the slice */
  behind: boolean;
  shown: Shown | undefined;
  /** limits of the layer where they are not the pane's */
  limits: [number, number] | undefined;
  marked: [number, number] | undefined;
  scope: Scope;
  counted: Counted | undefined;
  volume: VolumeState | undefined;
  waiting: boolean;
  problem: string;
}

export const PLAIN: Tone = { palette: "", gamma: 1, below: undefined, opacity: 1 };

export const INITIAL: State = {
  operations: [],
  most: 8,
  chain: [],
  tone: PLAIN,
  side: "after",
  curtain: 0.5,
  behind: true,
  shown: undefined,
  limits: undefined,
  marked: undefined,
  scope: "slice",
  counted: undefined,
  volume: undefined,
  waiting: false,
  problem: "",
};

export function isPlain(tone: Tone): boolean {
  return tone.palette === "" && tone.gamma === 1 && tone.below === undefined && tone.opacity === 1;
}
