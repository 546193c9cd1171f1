/** What a series holds, told before any of it is fetched: pictures, raw data, a segmentation, words. */

export type Content = "image" | "raw" | "segmentation" | "document";

/** Raw Data Storage (PS3.3 A.37) */
export const RAW_DATA = "1.2.840.10008.5.1.4.1.1.66";

/** Modalities (PS3.3 C.7.3.1.1.1) whose instances hold no pixels. */
const DOCUMENTS: Record<string, string> = {
  ANN: "Annotations",
  ASMT: "Assessment",
  AU: "Audio",
  DOC: "Document",
  ECG: "Electrocardiogram",
  EEG: "Electroencephalogram",
  EMG: "Electromyogram",
  EPS: "Electrophysiology",
  FID: "Fiducials",
  HD: "Haemodynamics",
  KO: "Key objects",
  M3D: "Model",
  PLAN: "Plan",
  PR: "Presentation state",
  REG: "Registration",
  RESP: "Respiration",
  RTINTENT: "Treatment intent",
  RTPLAN: "Treatment plan",
  RTRECORD: "Treatment record",
  RTSEGANN: "Treatment segments",
  RTSTRUCT: "Structures",
  RWV: "Real world values",
  SMR: "Stereometric relation",
  SR: "Report",
  STAIN: "Staining",
};

export function contentOf(modality: string, raw: boolean): Content {
  if (raw) return "raw";
  if (modality === "SEG") return "segmentation";
  return modality in DOCUMENTS ? "document" : "image";
}

/** The word for it on a tile. */
export function contentName(content: Content, modality: string): string {
  if (content === "raw") return "Raw data";
  if (content === "segmentation") return "Segmentation";
  return DOCUMENTS[modality] ?? modality;
}
