/** Frames: every displayable image of a series, classic or multi-frame, with its place in space. */

import { type Dataset, item, items, number, numbers, text, texts } from "../dicom/json";
import { type Vec3, cross, dot, unit, vec3 } from "./vector";

export interface Frame {
  imageId: string;
  instance: Dataset;
  sop: string;
  number: number;
  frames: number;
  instanceNumber: number;
  rows: number;
  columns: number;
  position: Vec3 | undefined;
  row: Vec3 | undefined;
  column: Vec3 | undefined;
  /**
   * Directions that the drawing library is told where they differ from the frame's own: it takes
   * those of a stack for one and the same. The letters are the frame's own.
   */
  told: { row: Vec3; column: Vec3 } | undefined;
  /** mm between rows, mm between columns; undefined where the header has none that is measured */
  spacing: [number, number] | undefined;
  /** spacing of the detector, not of the patient: projections without calibration (PS3.3 10.7.1) */
  atDetector: boolean;
  thickness: number | undefined;
  slope: number;
  intercept: number;
  unit: string;
  window: { center: number[]; width: number[]; shape: string } | undefined;
  /** what tells frames at the same place apart: time, echo, b-value, phase */
  phase: string;
}

/** Secondary Capture Image Storage */
const CAPTURE = "1.2.840.10008.5.1.4.1.1.7";

function functional(groups: Dataset | undefined, shared: Dataset | undefined, tag: string) {
  return item(groups, tag) ?? item(shared, tag);
}

/** UCUM code of Rescale Type or Units, as far as it says one. */
export function unitOf(ds: Dataset, modality: string, mapped?: Dataset): string {
  const lut = text(mapped, "00281054") || text(ds, "00281054");
  const pet = text(ds, "00541001");
  if (pet === "BQML") return "Bq/ml";
  if (pet === "GML") return "g/ml";
  if (pet === "CNTS") return "counts";
  const coded = item(item(ds, "00409096"), "004008EA") ?? item(ds, "004008EA");
  const ucum = text(coded, "00080100");
  // A map of a CT (standard deviations, ratios) says that it has none.
  if (ucum) return ucum === "1" ? "" : ucum;
  if (lut && lut !== "US" && lut !== "UNSPECIFIED") return lut;
  return modality === "CT" ? "HU" : "";
}

function phaseOf(ds: Dataset, groups: Dataset | undefined): string {
  const content = item(groups, "00209111");
  const temporal = number(content, "00209128") ?? number(ds, "00200100");
  const echo = number(item(groups, "00189114"), "00189082") ?? number(ds, "00180081");
  const b = number(item(groups, "00189117"), "00189087") ?? number(ds, "00189087");
  const trigger = number(ds, "00181060");
  const type = (ds["00080008"]?.Value ?? []).slice(2).join(" ");
  return [temporal, echo, b, trigger, type].map((v) => v ?? "").join("|");
}

/** Distance of pixels in mm, and whether it is known at the patient or only at the detector. */
function spacingOf(ds: Dataset, measures: Dataset | undefined, placed: boolean) {
  const pair = (from: Dataset | undefined, tag: string): [number, number] | undefined => {
    const [rows, columns] = numbers(from, tag);
    return rows && columns && rows > 0 && columns > 0 ? [rows, columns] : undefined;
  };
  const own = pair(measures, "00280030") ?? pair(ds, "00280030");
  // 1\1 on a picture without a place in space is a converter's filler, not a measured millimetre.
  const filler = own?.[0] === 1 && own[1] === 1 && !placed && text(ds, "00080016") === CAPTURE;
  if (own && !filler) return { spacing: own, atDetector: false };
  const imager = pair(ds, "00181164");
  return { spacing: imager, atDetector: imager !== undefined };
}

/**
 * How far the detector has turned since the first view of a tomographic acquisition (PS3.3
 * C.8.4.11): radians, rising from the patient's back towards the left; undefined where the
 * instance is none.
 */
function turnOf(ds: Dataset, index: number): number | undefined {
  const kind = texts(ds, "00080008")[2] ?? "";
  if (text(ds, "00080060") !== "NM" || !/^(GATED )?TOMO$/.test(kind)) return undefined;
  const rotation = items(ds, "00540052")[(numbers(ds, "00540050")[index] ?? 1) - 1];
  const step = number(rotation, "00181144");
  if (step === undefined) return undefined;
  const view = numbers(ds, "00540090")[index] ?? index + 1;
  const sense = text(rotation, "00181140") === "CW" ? -1 : 1;
  return (sense * step * (view - 1) * Math.PI) / 180;
}

/** About the axis from feet to head, from the patient's back towards the left. */
function turned(v: Vec3, angle: number): Vec3 {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [c * v[0] + s * v[1], c * v[1] - s * v[0], v[2]];
}

/** The frames of one instance. `root` is the WADO-RS address of the instance. */
export function framesOf(ds: Dataset, root: string): Frame[] {
  const rows = number(ds, "00280010");
  const columns = number(ds, "00280011");
  if (!rows || !columns) return [];
  const count = number(ds, "00280008") ?? 1;
  const shared = item(ds, "52009229");
  const perFrame = items(ds, "52009230");
  const modality = text(ds, "00080060");
  const nmSpacing = number(ds, "00180088");
  const detectors = items(ds, "00540022");
  const frames: Frame[] = [];
  for (let index = 0; index < count; index++) {
    const own = perFrame[index];
    const detector = detectors[(numbers(ds, "00540020")[index] ?? 1) - 1] ?? detectors[0];
    const measures = functional(own, shared, "00289110");
    const lut = functional(own, shared, "00289145");
    const voi = functional(own, shared, "00289132") ?? ds;
    const orientation =
      numbers(functional(own, shared, "00209116"), "00200037").length === 6
        ? numbers(functional(own, shared, "00209116"), "00200037")
        : numbers(ds, "00200037").length === 6
          ? numbers(ds, "00200037")
          : numbers(detector, "00200037");
    let row = vec3(orientation.slice(0, 3));
    let column = vec3(orientation.slice(3, 6));
    let position =
      vec3(numbers(functional(own, shared, "00209113"), "00200032")) ??
      vec3(numbers(ds, "00200032")) ??
      vec3(numbers(detector, "00200032"));
    if (position && row && column && count > 1 && perFrame.length === 0 && nmSpacing) {
      const n = unit(cross(row, column));
      position = [0, 1, 2].map((k) => (position?.[k] ?? 0) + (n[k] ?? 0) * nmSpacing * index) as Vec3;
    }
    const turn = row && column ? turnOf(ds, index) : undefined;
    let told: Frame["told"];
    if (turn !== undefined && row && column) {
      const first = frames[0]?.told;
      told = first ?? { row, column };
      row = turned(row, turn);
      column = turned(column, turn);
      position = undefined; // where the detector stands is known by its radius only
    }
    const { spacing, atDetector } = spacingOf(ds, measures, row !== undefined);
    const center = numbers(voi, "00281050");
    const width = numbers(voi, "00281051");
    frames.push({
      imageId: `wadors:${root}/frames/${index + 1}`,
      instance: ds,
      sop: text(ds, "00080018"),
      number: index + 1,
      frames: count,
      instanceNumber: number(ds, "00200013") ?? 0,
      rows,
      columns,
      position,
      row,
      column,
      told,
      spacing,
      atDetector,
      thickness: number(measures, "00180050") ?? number(ds, "00180050"),
      slope: number(lut, "00281053") ?? number(ds, "00281053") ?? 1,
      intercept: number(lut, "00281052") ?? number(ds, "00281052") ?? 0,
      unit: unitOf(ds, modality, lut),
      window:
        center.length > 0 && width.length > 0
          ? { center, width, shape: text(voi, "00281056") || "LINEAR" }
          : undefined,
      phase: phaseOf(ds, own),
    });
  }
  return frames;
}

/** A direction in the stack as it is drawn, as the frame has it in the patient. */
export function inPatient(frame: Frame | undefined, direction: Vec3): Vec3 {
  const { told, row, column } = frame ?? {};
  if (!told || !row || !column) return direction;
  const [a, b] = [dot(direction, told.row), dot(direction, told.column)];
  return [0, 1, 2].map((k) => a * (row[k] ?? 0) + b * (column[k] ?? 0)) as Vec3;
}

export function normal(frame: Frame): Vec3 | undefined {
  return frame.row && frame.column ? unit(cross(frame.row, frame.column)) : undefined;
}

/** Place along the slice normal of `reference`, in mm. */
export function along(frame: Frame, reference: Frame): number | undefined {
  const n = normal(reference);
  return n && frame.position ? dot(frame.position, n) : undefined;
}

/** Frames in reading order: by place where every frame has one, else by number. */
export function ordered(frames: Frame[]): Frame[] {
  const first = frames[0];
  const byNumber = (a: Frame, b: Frame) =>
    a.instanceNumber - b.instanceNumber || a.sop.localeCompare(b.sop) || a.number - b.number;
  if (!first) return [];
  const n = normal(first);
  const parallel = frames.every((f) => {
    const other = normal(f);
    return n && other && f.position && dot(n, other) > 0.999;
  });
  if (!parallel || frames.length < 2) return [...frames].sort(byNumber);
  return [...frames].sort((a, b) => {
    const distance = (along(a, first) ?? 0) - (along(b, first) ?? 0);
    return Math.abs(distance) > 1e-3 ? distance : byNumber(a, b);
  });
}
