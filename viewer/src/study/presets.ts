/** Window presets by modality, reached by the number keys in this order. */

export interface Preset {
  label: string;
  width: number;
  center: number;
}

const CT: Preset[] = [
  { label: "Lung", width: 1500, center: -600 },
  { label: "Soft tissue", width: 400, center: 40 },
  { label: "Bone", width: 2000, center: 400 },
  { label: "Brain", width: 80, center: 40 },
  { label: "Liver", width: 150, center: 90 },
  { label: "Mediastinum", width: 350, center: 50 },
  { label: "Angio", width: 600, center: 300 },
  { label: "Stroke", width: 40, center: 40 },
];

const SUV: Preset[] = [
  { label: "SUV 0 to 5", width: 5, center: 2.5 },
  { label: "SUV 0 to 10", width: 10, center: 5 },
  { label: "SUV 0 to 20", width: 20, center: 10 },
];

/** Presets for values of known meaning; for the rest, parts of the value range actually there. */
export function presetsFor(modality: string, unit: string, range: [number, number] | undefined): Preset[] {
  if (modality === "CT" && (unit === "HU" || unit === "[hnsf'U]")) return CT;
  if (modality === "PT" && unit.startsWith("g/ml")) return SUV;
  if (!range || range[1] <= range[0]) return [];
  const [low, high] = range;
  const span = high - low;
  const part = (label: string, from: number, to: number): Preset => ({
    label,
    width: (to - from) * span,
    center: low + ((from + to) / 2) * span,
  });
  return [
    part("Full range", 0, 1),
    part("Lower half", 0, 0.5),
    part("Lower quarter", 0, 0.25),
    part("Middle", 0.25, 0.75),
    part("Upper half", 0.5, 1),
  ];
}
