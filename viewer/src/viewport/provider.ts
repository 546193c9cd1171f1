/** What Cornerstone asks about an image, answered from our frames (PS3.3 modules by its names). */

import { metaData } from "@cornerstonejs/core";

import { inlineBytes, item, items, number, numbers, text } from "../dicom/json";
import type { Frame } from "../geometry/frames";
import type { Vec3 } from "../geometry/vector";

const frames = new Map<string, Frame>();

export function register(list: Frame[]): void {
  for (const frame of list) frames.set(frame.imageId, frame);
}

export function frameOf(imageId: string): Frame | undefined {
  return frames.get(imageId);
}

export function forget(): void {
  frames.clear();
}

/** Where a frame lies as far as the drawing library knows. */
export function shownPlane(frame: Frame): { origin: Vec3; row: Vec3; column: Vec3; spacing: [number, number] } {
  return {
    origin: frame.position ?? [0, 0, frame.number - 1],
    row: frame.told?.row ?? frame.row ?? [1, 0, 0],
    column: frame.told?.column ?? frame.column ?? [0, 1, 0],
    spacing: frame.spacing ?? [1, 1],
  };
}

function plane(frame: Frame) {
  const { origin, row, column } = shownPlane(frame);
  const spacing = frame.spacing;
  return {
    frameOfReferenceUID: text(frame.instance, "00200052") || text(frame.instance, "0020000E"),
    rows: frame.rows,
    columns: frame.columns,
    imageOrientationPatient: [...row, ...column],
    rowCosines: row,
    columnCosines: column,
    imagePositionPatient: origin,
    sliceThickness: frame.thickness,
    sliceLocation: number(frame.instance, "00201041"),
    pixelSpacing: spacing ?? [1, 1],
    rowPixelSpacing: spacing?.[0] ?? 1,
    columnPixelSpacing: spacing?.[1] ?? 1,
    usingDefaultValues: !spacing,
  };
}

function palette(frame: Frame, descriptor: string, data: string) {
  const shape = numbers(frame.instance, descriptor);
  const element = frame.instance[data];
  const bytes = inlineBytes(element);
  if (!bytes) return element?.BulkDataURI ? { BulkDataURI: element.BulkDataURI } : undefined;
  const entries = shape[0] || 65536;
  return bytes.length >= 2 * entries ? new Uint16Array(bytes.slice().buffer, 0, entries) : bytes;
}

function pixel(frame: Frame) {
  const ds = frame.instance;
  const bits = number(ds, "00280100") ?? 16;
  const common = {
    samplesPerPixel: number(ds, "00280002") ?? 1,
    photometricInterpretation: text(ds, "00280004") || "MONOCHROME2",
    rows: frame.rows,
    columns: frame.columns,
    bitsAllocated: bits,
    bitsStored: number(ds, "00280101") ?? number(ds, "00280100") ?? 16,
    highBit: number(ds, "00280102") ?? (number(ds, "00280101") ?? 16) - 1,
    // Float Pixel Data has none (PS3.3 C.7.6.24), and the loader takes 32 bits without one for floats.
    pixelRepresentation: number(ds, "00280103") ?? (bits === 32 ? undefined : 0),
    planarConfiguration: number(ds, "00280006") ?? 0,
    pixelAspectRatio: text(ds, "00280034"),
  };
  if (common.photometricInterpretation !== "PALETTE COLOR") return common;
  return {
    ...common,
    redPaletteColorLookupTableDescriptor: numbers(ds, "00281101"),
    greenPaletteColorLookupTableDescriptor: numbers(ds, "00281102"),
    bluePaletteColorLookupTableDescriptor: numbers(ds, "00281103"),
    redPaletteColorLookupTableData: palette(frame, "00281101", "00281201"),
    greenPaletteColorLookupTableData: palette(frame, "00281102", "00281202"),
    bluePaletteColorLookupTableData: palette(frame, "00281103", "00281203"),
  };
}

function regions(frame: Frame) {
  return items(frame.instance, "00186011").map((r) => ({
    regionLocationMinX0: number(r, "00186018"),
    regionLocationMinY0: number(r, "0018601A"),
    regionLocationMaxX1: number(r, "0018601C"),
    regionLocationMaxY1: number(r, "0018601E"),
    referencePixelX0: number(r, "00186020") ?? 0,
    referencePixelY0: number(r, "00186022") ?? 0,
    physicalDeltaX: number(r, "0018602C"),
    physicalDeltaY: number(r, "0018602E"),
    physicalUnitsXDirection: number(r, "00186024"),
    physicalUnitsYDirection: number(r, "00186026"),
    regionSpatialFormat: number(r, "00186012"),
    regionDataType: number(r, "00186014"),
    regionFlags: number(r, "00186016"),
    transducerFrequency: number(r, "00186030"),
  }));
}

function answer(type: string, frame: Frame): unknown {
  const ds = frame.instance;
  switch (type) {
    case "imagePlaneModule":
      return plane(frame);
    case "imagePixelModule":
      return pixel(frame);
    case "generalSeriesModule":
      return {
        modality: text(ds, "00080060"),
        seriesInstanceUID: text(ds, "0020000E"),
        seriesDescription: text(ds, "0008103E"),
        seriesNumber: number(ds, "00200011"),
        studyInstanceUID: text(ds, "0020000D"),
        seriesDate: text(ds, "00080021"),
        seriesTime: text(ds, "00080031"),
      };
    case "generalImageModule":
      return { sopInstanceUID: frame.sop, instanceNumber: frame.instanceNumber };
    case "sopCommonModule":
      return { sopClassUID: text(ds, "00080016"), sopInstanceUID: frame.sop };
    case "patientModule":
      return { patientID: text(ds, "00100020"), patientName: text(ds, "00100010") };
    case "patientStudyModule":
      return { patientSex: text(ds, "00100040"), patientWeight: number(ds, "00101030") };
    case "modalityLutModule":
      return {
        rescaleIntercept: frame.intercept,
        rescaleSlope: frame.slope,
        rescaleType: frame.unit || "US",
      };
    case "voiLutModule":
      return frame.window
        ? {
            windowCenter: frame.window.center,
            windowWidth: frame.window.width,
            ...(frame.window.shape === "LINEAR" ? {} : { voiLUTFunction: [frame.window.shape] }),
          }
        : {};
    case "calibrationModule":
      return text(ds, "00080060") === "US" && items(ds, "00186011").length > 0
        ? { sequenceOfUltrasoundRegions: regions(frame) }
        : {};
    case "ultrasoundEnhancedRegionModule":
      return { sequenceOfUltrasoundRegions: regions(frame) };
    case "cineModule":
      return { cineRate: number(ds, "00180040"), numberOfFrames: frame.frames };
    case "multiframeModule":
      return { NumberOfFrames: frame.frames };
    case "petIsotopeModule":
      return { radiopharmaceuticalInfo: item(ds, "00540016") ?? {} };
    case "petSeriesModule":
      return { units: text(ds, "00541001") };
    // Values stay in the header's own unit; a SUV is an operation with a recorded result.
    case "scalingModule":
      return {};
    case "transferSyntax":
      return { transferSyntaxUID: text(ds, "00083002") };
    default:
      return undefined;
  }
}

export function install(): void {
  metaData.addProvider((type: string, query: unknown) => {
    const frame = typeof query === "string" ? frames.get(query) : undefined;
    return frame ? answer(type, frame) : undefined;
  }, 100_000);
}
