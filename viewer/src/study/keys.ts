/** The keyboard map, said once: the help page shows it, `useKeys` obeys it. */

export interface Section {
  title: string;
  keys: [string, string][];
}

export const KEYS: Section[] = [
  {
    title: "Mouse",
    keys: [
      ["left", "the chosen tool; window and level at first"],
      ["middle", "pan (also Ctrl and left)"],
      ["right", "zoom"],
      ["wheel", "scroll through slices"],
    ],
  },
  {
    title: "Look",
    keys: [
      ["1 … 9", "window presets of the modality"],
      ["0", "window of the header"],
      ["i", "invert"],
      ["h v", "flip left-right, top-bottom"],
      ["r", "rotate by 90°"],
      ["+ −", "zoom in, out"],
      ["Home", "reset the view"],
      ["o", "corner text on, off"],
    ],
  },
  {
    title: "Move",
    keys: [
      ["↑ ↓", "previous, next slice"],
      ["PgUp PgDn", "ten slices"],
      ["Space", "cine: play, pause"],
      [", .", "previous, next phase (time, echo, b-value)"],
      ["[ ]", "previous, next series"],
    ],
  },
  {
    title: "Left button",
    keys: [
      ["w", "window and level"],
      ["p", "pan"],
      ["z", "zoom"],
      ["q", "scroll"],
      ["x", "crosshair (three planes)"],
      ["l", "length"],
      ["a", "angle"],
      ["e", "ellipse: mean, SD, area"],
      ["b", "rectangle: mean, SD, area"],
      ["n", "probe: the value at a point"],
      ["t", "draw (while an outline or scribbles are drawn)"],
      ["u", "take the last stroke back"],
      ["Del", "remove the selected measurement"],
    ],
  },
  {
    title: "Layout",
    keys: [
      ["s", "stack"],
      ["m", "three planes"],
      ["d", "volume rendering"],
      ["c", "compare two series"],
      ["f", "follow-up: prior and current, lesion by lesion"],
    ],
  },
  {
    title: "Everywhere",
    keys: [
      ["?", "this page"],
      ["j", "jobs"],
      ["Esc", "close what is open, then back to the worklist"],
    ],
  },
];
