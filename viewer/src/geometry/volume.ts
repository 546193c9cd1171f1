/** Can these frames be one volume? If not, say why in words a reader understands. */

import { type Frame, along, normal } from "./frames";
import { dot, norm, sub } from "./vector";
import { text } from "../dicom/json";

export type Volume =
  | { ok: true; frames: Frame[]; spacing: number; note: string }
  | { ok: false; reason: string };

const no = (reason: string): Volume => ({ ok: false, reason });

export function volumeOf(frames: Frame[]): Volume {
  const first = frames[0];
  if (!first) return no("The series has no images.");
  if (frames.length < 3) return no("A volume needs at least three slices.");
  if (text(first.instance, "00280004").match(/RGB|YBR|PALETTE/) !== null) {
    return no("Colour images are shown as a stack.");
  }
  const n = normal(first);
  if (!n || !first.position || !first.spacing) {
    return no("The images carry no position in space.");
  }
  for (const frame of frames) {
    const other = normal(frame);
    if (frame.rows !== first.rows || frame.columns !== first.columns) {
      return no("The images differ in size.");
    }
    if (!frame.position || !other || !frame.spacing) {
      return no("Some images carry no position in space.");
    }
    if (dot(n, other) < 0.9999 || dot(first.row ?? n, frame.row ?? n) < 0.9999) {
      return no("The images are not parallel.");
    }
    if (
      Math.abs(frame.spacing[0] - first.spacing[0]) > 1e-3 ||
      Math.abs(frame.spacing[1] - first.spacing[1]) > 1e-3
    ) {
      return no("The images differ in pixel spacing.");
    }
  }
  const sorted = [...frames].sort((a, b) => (along(a, first) ?? 0) - (along(b, first) ?? 0));
  const places = sorted.map((f) => along(f, first) ?? 0);
  const gaps = places.slice(1).map((p, i) => p - (places[i] ?? 0));
  const median = [...gaps].sort((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? 0;
  if (gaps.some((g) => g < 0.01)) {
    return no("Several images share one position (time, echo or b-value).");
  }
  if (gaps.some((g) => Math.abs(g - median) > Math.max(0.1, 0.05 * median))) {
    return no("Slices are missing or unevenly spaced.");
  }
  const last = sorted.at(-1);
  const start = sorted[0];
  if (last?.position && start?.position) {
    const path = sub(last.position, start.position);
    const lean = Math.acos(Math.min(1, dot(path, n) / (norm(path) || 1)));
    const degrees = (lean * 180) / Math.PI;
    if (degrees > 1) {
      return no(
        `The gantry is tilted by ${degrees.toFixed(1)}°: run process.correct_tilt to make an upright volume.`,
      );
    }
  }
  return { ok: true, frames: sorted, spacing: median, note: "" };
}
