/** What is being drawn: an outline to be kept, or scribbles for an operation. One at a time. */

import { useSyncExternalStore } from "react";

import { tell } from "../parts/console";
import type { Laid } from "../segments/lay";
import type { Series } from "../study/series";
import type { Point } from "./pen";

export type Purpose = "outline" | "scribbles";
export type Colour = [number, number, number];

export interface Drawing {
  series: Series;
  purpose: Purpose;
  /** what the label values 1, 2, ... are */
  names: string[];
  colours: Colour[];
  /** label image (row-major) by image ID; of images that nobody drew on there is none */
  labels: Map<string, Uint8Array>;
  /** series of the segmentation it began with */
  from: string;
  changed: boolean;
  /** the last stroke of the first label: its image, and pixels (x, y) in their order */
  path: { imageId: string; places: Point[] } | undefined;
}

export interface Pen {
  /** label that is drawn; 0 takes away */
  label: number;
  /** mm */
  radius: number;
}

interface State {
  drawing: Drawing | undefined;
  pen: Pen;
  /** changes with every stroke */
  version: number;
}

interface Before {
  imageId: string;
  labels: Uint8Array | undefined;
}

/** Strokes that can be taken back. */
const MOST = 60;
const INSIDE: Colour = [108, 200, 130];
const OUTSIDE: Colour = [232, 112, 100];
const COLOURS: Colour[] = [
  [230, 102, 92], [108, 190, 128], [92, 160, 226], [226, 190, 84], [178, 126, 214], [86, 194, 194],
];

let state: State = { drawing: undefined, pen: { label: 1, radius: 3 }, version: 0 };
let past: Before[] = [];
const watchers = new Set<() => void>();

function set(part: Partial<State>): void {
  state = { ...state, ...part, version: state.version + 1 };
  for (const watcher of watchers) watcher();
}

export const drawn = (): State => state;

export function watchDrawing(watcher: () => void): () => void {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

export const useDrawing = (): State => useSyncExternalStore(watchDrawing, drawn);

function begin(drawing: Drawing): void {
  past = [];
  const mm = drawing.series.frames[0]?.spacing?.[0] ?? 1;
  set({ drawing, pen: { label: 1, radius: Number((2 * mm).toPrecision(2)) } });
}

export function newOutline(series: Series): void {
  const colours = COLOURS.slice(0, 1);
  begin({ series, purpose: "outline", names: ["Object"], colours, labels: new Map(), from: "", changed: false, path: undefined });
}

export function scribble(series: Series): void {
  begin({
    series, purpose: "scribbles", names: ["Inside", "Outside"], colours: [INSIDE, OUTSIDE],
    labels: new Map(), from: "", changed: false, path: undefined,
  });
}

/** Go on with a segmentation that is laid on its source. */
export function edit({ uid, segmentation, source, placed, indexOf }: Laid): void {
  const segments = [...segmentation.segments].filter((s) => indexOf.has(s.number));
  const labels = new Map([...placed.labels].map(([id, values]) => [id, Uint8Array.from(values)]));
  begin({
    series: source, purpose: "outline", names: segments.map((s) => s.label),
    colours: segments.map((s) => s.colour), labels, from: uid, changed: false, path: undefined,
  });
}

export function discard(): void {
  past = [];
  set({ drawing: undefined });
}

export function setPen(part: Partial<Pen>): void {
  set({ pen: { ...state.pen, ...part } });
}

export function rename(label: number, name: string): void {
  const { drawing } = state;
  if (drawing) set({ drawing: { ...drawing, names: drawing.names.map((n, i) => (i === label - 1 ? name : n)) } });
}

export function addLabel(): void {
  const { drawing, pen } = state;
  if (!drawing || drawing.names.length >= 255) return;
  const number = drawing.names.length + 1;
  const colour = COLOURS[(number - 1) % COLOURS.length] ?? INSIDE;
  set({
    drawing: { ...drawing, names: [...drawing.names, `Object ${number}`], colours: [...drawing.colours, colour] },
    pen: { ...pen, label: number },
  });
}

/** The labels of an image, to be drawn on; what they were is kept, to be taken back. */
export function opened(imageId: string, size: number): Uint8Array | undefined {
  const { drawing } = state;
  if (!drawing) return undefined;
  const before = drawing.labels.get(imageId);
  past = [...past.slice(1 - MOST), { imageId, labels: before && Uint8Array.from(before) }];
  const labels = before ?? new Uint8Array(size);
  drawing.labels.set(imageId, labels);
  return labels;
}

/** A stroke has ended. */
export function touched(imageId: string, places: Point[]): void {
  const { drawing, pen } = state;
  if (!drawing) return;
  const path = pen.label === 1 ? { imageId, places } : drawing.path;
  set({ drawing: { ...drawing, changed: true, path } });
}

export const canUndo = (): boolean => past.length > 0;

export function undo(): void {
  const { drawing } = state;
  const last = past.at(-1);
  if (!drawing || !last) return;
  past = past.slice(0, -1);
  if (last.labels) drawing.labels.set(last.imageId, last.labels);
  else drawing.labels.delete(last.imageId);
  set({ drawing: { ...drawing, changed: true } });
}

/** Pixels of every label. */
export function counts(drawing: Drawing): number[] {
  const found = drawing.names.map(() => 0);
  for (const labels of drawing.labels.values()) {
    for (const label of labels) if (label > 0) found[label - 1] = (found[label - 1] ?? 0) + 1;
  }
  return found;
}

tell({ drawn: () => (state.drawing ? counts(state.drawing) : undefined) });
