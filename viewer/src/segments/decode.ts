/** DICOM SEG (PS3.3 C.8.20): binary, fractional and labelmap, from Part 10 bytes to label images. */

import dicomParser from "dicom-parser";

import { getInstance } from "../api/dicomweb";
import { type Dataset, item, items, number, numbers, text } from "../dicom/json";
import { type Vec3, vec3 } from "../geometry/vector";

export interface Segment {
  number: number;
  label: string;
  colour: [number, number, number];
  algorithm: string;
  kind: string;
}

export interface SegFrame {
  /** segment number, or undefined in a labelmap, whose values are segment numbers */
  segment: number | undefined;
  position: Vec3 | undefined;
  row: Vec3 | undefined;
  column: Vec3 | undefined;
  spacing: [number, number];
  /** SOP Instance UID of the source image, where it is named */
  source: string;
  sourceFrame: number;
  values: Uint8Array | Uint16Array;
}

export interface Segmentation {
  segments: Segment[];
  frames: SegFrame[];
  rows: number;
  columns: number;
  /** series it was made on, where it is named */
  referenced: string | undefined;
  kind: string;
}

const PALETTE: [number, number, number][] = [
  [230, 102, 92], [108, 190, 128], [92, 160, 226], [226, 190, 84], [178, 126, 214],
  [86, 194, 194], [232, 140, 78], [206, 112, 164], [156, 190, 84], [132, 146, 216],
];

/** CIELab (white D50) as PS3.3 C.10.7.1.1 scales it to 16 bits, to sRGB (Bradford). */
export function labToRgb(scaled: number[]): [number, number, number] {
  const l = ((scaled[0] ?? 0) / 65535) * 100;
  const a = ((scaled[1] ?? 0) / 65535) * 255 - 128;
  const b = ((scaled[2] ?? 0) / 65535) * 255 - 128;
  const fy = (l + 16) / 116;
  const cube = (t: number) => (t > 6 / 29 ? t ** 3 : 3 * (6 / 29) ** 2 * (t - 4 / 29));
  const x = 0.964220 * cube(fy + a / 500);
  const y = cube(fy);
  const z = 0.825210 * cube(fy - b / 200);
  const gamma = (v: number) => {
    const c = Math.min(1, Math.max(0, v));
    return Math.round(255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055));
  };
  return [
    gamma(3.133856 * x - 1.616867 * y - 0.490615 * z),
    gamma(-0.978769 * x + 1.916142 * y + 0.033454 * z),
    gamma(0.071945 * x - 0.228991 * y + 1.405243 * z),
  ];
}

export function segmentsOf(ds: Dataset): Segment[] {
  const used = new Set<string>();
  return items(ds, "00620002").map((s, i) => {
    const lab = numbers(s, "0062000D");
    // One colour for several segments is a default nobody chose: tell them apart.
    const own = lab.length === 3 && !used.has(lab.join());
    used.add(lab.join());
    return {
      number: number(s, "00620004") ?? i + 1,
      label: text(s, "00620005") || `Segment ${i + 1}`,
      colour: own ? labToRgb(lab) : (PALETTE[i % PALETTE.length] ?? [230, 102, 92]),
      algorithm: [text(s, "00620008").toLowerCase(), text(s, "00620009")].filter(Boolean).join(", "),
      kind: text(item(s, "0062000F"), "00080104"),
    };
  });
}

/** One bit a pixel, least significant bit first, frames not padded to bytes (PS3.5 8.1.1). */
export function unpackBits(bytes: Uint8Array, start: number, count: number): Uint8Array {
  const values = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const bit = start + i;
    values[i] = ((bytes[bit >> 3] ?? 0) >> (bit & 7)) & 1;
  }
  return values;
}

/** RLE Lossless of one frame (PS3.5 annex G), for 8- and 16-bit samples. */
export function unpackRle(bytes: Uint8Array, size: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const planes = view.getUint32(0, true);
  const values = new Uint8Array(size * planes);
  for (let plane = 0; plane < planes; plane++) {
    let at = view.getUint32(4 * (plane + 1), true);
    let out = 0;
    // Segments come most significant byte first; samples here are little endian.
    const put = (byte: number) => {
      if (out < size) values[out++ * planes + (planes - 1 - plane)] = byte;
    };
    while (out < size && at < bytes.length) {
      const n = view.getInt8(at++);
      if (n >= 0) for (let k = 0; k <= n; k++) put(bytes[at++] ?? 0);
      else if (n !== -128) {
        const byte = bytes[at++] ?? 0;
        for (let k = 0; k < 1 - n; k++) put(byte);
      }
    }
  }
  return values;
}

async function inflate(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes.slice()]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The bytes of every frame, one array each; binary frames are unpacked to one byte a pixel. */
async function pixels(ds: Dataset, part10: Uint8Array, frames: number, size: number) {
  const parsed = dicomParser.parseDicom(part10);
  const element = parsed.elements["x7fe00010"];
  const syntax = parsed.string("x00020010") ?? "";
  if (!element) throw new Error("The segmentation has no pixel data.");
  const allocated = number(ds, "00280100") ?? 1;
  const shaped = (bytes: Uint8Array): Uint8Array | Uint16Array => {
    if (allocated === 1) return unpackBits(bytes, 0, size);
    if (allocated === 16) return new Uint16Array(bytes.slice().buffer, 0, size);
    return bytes.subarray(0, size);
  };
  if (element.encapsulatedPixelData) {
    const read = (i: number) =>
      element.basicOffsetTable && element.basicOffsetTable.length > 0
        ? dicomParser.readEncapsulatedImageFrame(parsed, element, i)
        : dicomParser.readEncapsulatedPixelDataFromFragments(parsed, element, i);
    const list: (Uint8Array | Uint16Array)[] = [];
    for (let i = 0; i < frames; i++) {
      const raw = read(i) as Uint8Array;
      if (syntax === "1.2.840.10008.1.2.5") list.push(shaped(unpackRle(raw, size)));
      else if (syntax === "1.2.840.10008.1.2.8.1") list.push(shaped(await inflate(raw)));
      else throw new Error(`Segmentations in transfer syntax ${syntax} are not read here.`);
    }
    return list;
  }
  const all = part10.subarray(element.dataOffset, element.dataOffset + element.length);
  return Array.from({ length: frames }, (_, i) => {
    if (allocated === 1) return unpackBits(all, i * size, size);
    const bytes = (allocated / 8) * size;
    return shaped(all.subarray(i * bytes, (i + 1) * bytes));
  });
}

/** Read one SEG instance; `ds` is its metadata. */
export async function decodeSegmentation(study: string, series: string, ds: Dataset): Promise<Segmentation> {
  const rows = number(ds, "00280010") ?? 0;
  const columns = number(ds, "00280011") ?? 0;
  const count = number(ds, "00280008") ?? 1;
  const kind = text(ds, "00620001") || "BINARY";
  const shared = item(ds, "52009229");
  const perFrame = items(ds, "52009230");
  const part10 = await getInstance(study, series, text(ds, "00080018"));
  const values = await pixels(ds, part10, count, rows * columns);
  const half = (number(ds, "0062000E") ?? 255) / 2;
  const frames = values.map((raw, i): SegFrame => {
    const own = perFrame[i];
    const group = (tag: string) => item(own, tag) ?? item(shared, tag);
    const orientation = numbers(group("00209116"), "00200037");
    const spacing = numbers(group("00289110"), "00280030");
    const source = item(item(group("00089124"), "00082112") ? group("00089124") : undefined, "00082112");
    const fractional = kind === "FRACTIONAL";
    return {
      segment: kind === "LABELMAP" ? undefined : (number(group("0062000A"), "0062000B") ?? 1),
      position: vec3(numbers(group("00209113"), "00200032")),
      row: vec3(orientation.slice(0, 3)),
      column: vec3(orientation.slice(3, 6)),
      spacing: [spacing[0] ?? 1, spacing[1] ?? 1],
      source: text(source, "00081155"),
      sourceFrame: number(source, "00081160") ?? 1,
      values: fractional ? Uint8Array.from(raw, (v) => (v > half ? 1 : 0)) : raw,
    };
  });
  return {
    segments: segmentsOf(ds).filter((s) => s.number !== 0),
    frames,
    rows,
    columns,
    referenced: text(item(ds, "00081115"), "0020000E") || undefined,
    kind,
  };
}
