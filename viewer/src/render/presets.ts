/** Looks of a rendered volume: opacity and colour by value, in HU for CT, else in parts of the range. */

export interface Look {
  id: string;
  label: string;
  /** `mip`: the largest value along the ray; `solid`: opacity and colour gathered along it */
  mode: "solid" | "mip";
  /** HU, or parts of the range of values that is there */
  scale: "HU" | "part";
  /** value, opacity of `UNIT` millimetres, red, green, blue in [0, 1]; rising values */
  points: [number, number, number, number, number][];
}

/** Millimetres that an opacity is meant for. */
export const UNIT = 3;

const GREY: Look["points"] = [
  [0, 0, 0, 0, 0],
  [1, 1, 1, 1, 1],
];

export const LOOKS: Look[] = [
  {
    id: "ct-bone", label: "Bone", mode: "solid", scale: "HU",
    points: [
      [150, 0, 0.72, 0.46, 0.36], [260, 0.25, 0.86, 0.68, 0.52], [420, 0.75, 0.95, 0.88, 0.76],
      [1200, 0.95, 1, 0.98, 0.94],
    ],
  },
  {
    id: "ct-skin", label: "Skin", mode: "solid", scale: "HU",
    points: [
      [-500, 0, 0.6, 0.4, 0.32], [-250, 0.5, 0.84, 0.64, 0.53], [0, 0.8, 0.9, 0.72, 0.6],
      [400, 0.95, 1, 0.93, 0.84],
    ],
  },
  {
    id: "ct-organs", label: "Organs", mode: "solid", scale: "HU",
    points: [
      [20, 0, 0.55, 0.2, 0.16], [45, 0.006, 0.66, 0.26, 0.2], [75, 0.05, 0.82, 0.4, 0.3],
      [150, 0.3, 0.9, 0.55, 0.42], [300, 0.6, 0.96, 0.86, 0.72], [1000, 0.9, 1, 0.98, 0.94],
    ],
  },
  {
    id: "ct-lung", label: "Lung", mode: "solid", scale: "HU",
    points: [
      [-960, 0, 0.2, 0.35, 0.5], [-850, 0.012, 0.36, 0.6, 0.78], [-650, 0.06, 0.6, 0.8, 0.92],
      [-400, 0.02, 0.8, 0.9, 0.95], [-250, 0, 0.8, 0.9, 0.95], [200, 0, 1, 0.95, 0.88],
      [600, 0.25, 1, 0.97, 0.92],
    ],
  },
  {
    id: "ct-vessels", label: "Vessels", mode: "solid", scale: "HU",
    points: [
      [90, 0, 0.6, 0.08, 0.08], [150, 0.16, 0.8, 0.16, 0.13], [260, 0.5, 0.9, 0.3, 0.22],
      [420, 0.7, 0.96, 0.86, 0.74], [1500, 0.95, 1, 0.98, 0.95],
    ],
  },
  {
    id: "ct-mip", label: "MIP", mode: "mip", scale: "HU",
    points: [[-100, 0, 0, 0, 0], [900, 1, 1, 1, 1]],
  },
  {
    id: "surface", label: "Surface", mode: "solid", scale: "part",
    points: [
      [0.12, 0, 0.5, 0.5, 0.52], [0.25, 0.35, 0.78, 0.76, 0.74], [0.6, 0.8, 0.92, 0.89, 0.85],
      [1, 0.95, 1, 1, 1],
    ],
  },
  {
    id: "inside", label: "Translucent", mode: "solid", scale: "part",
    points: [
      [0.15, 0, 0.3, 0.4, 0.55], [0.4, 0.02, 0.45, 0.58, 0.72], [0.7, 0.14, 0.86, 0.78, 0.66],
      [1, 0.6, 1, 0.96, 0.9],
    ],
  },
  {
    id: "hot", label: "Hot spots", mode: "solid", scale: "part",
    points: [
      [0.1, 0, 0.3, 0.02, 0.02], [0.35, 0.02, 0.7, 0.1, 0.02], [0.65, 0.25, 1, 0.5, 0.05],
      [1, 0.8, 1, 1, 0.85],
    ],
  },
  { id: "mip", label: "MIP", mode: "mip", scale: "part", points: GREY },
];

/** The looks for values of this meaning, the usual one first. */
export function looksFor(modality: string, unit: string): Look[] {
  if (modality === "CT" && (unit === "HU" || unit === "[hnsf'U]")) {
    return LOOKS.filter((l) => l.scale === "HU");
  }
  const parts = LOOKS.filter((l) => l.scale === "part");
  const nuclear = modality === "PT" || modality === "NM";
  return nuclear ? [...parts].reverse() : parts;
}

/** Points of a look in the values of the volume itself. */
export function pointsIn(look: Look, range: [number, number]): Look["points"] {
  if (look.scale === "HU") return look.points;
  const [low, high] = range;
  return look.points.map(([part, ...rest]) => [low + part * (high - low), ...rest]);
}
