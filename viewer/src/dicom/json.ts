/** Read the DICOM JSON model (PS3.18 annex F). Missing and empty are both `undefined`. */

export interface Element {
  vr?: string;
  Value?: unknown[];
  InlineBinary?: string;
  BulkDataURI?: string;
}

export type Dataset = Record<string, Element | undefined>;

export function values(ds: Dataset | undefined, tag: string): unknown[] {
  return ds?.[tag]?.Value ?? [];
}

export function text(ds: Dataset | undefined, tag: string): string {
  const value = values(ds, tag)[0];
  if (value === undefined || value === null) return "";
  if (typeof value === "object") {
    const name = value as { Alphabetic?: string; Ideographic?: string };
    return name.Alphabetic ?? name.Ideographic ?? "";
  }
  return String(value);
}

export function texts(ds: Dataset | undefined, tag: string): string[] {
  return values(ds, tag).map(String);
}

export function numbers(ds: Dataset | undefined, tag: string): number[] {
  return values(ds, tag).map(Number).filter(Number.isFinite);
}

export function number(ds: Dataset | undefined, tag: string): number | undefined {
  return numbers(ds, tag)[0];
}

export function items(ds: Dataset | undefined, tag: string): Dataset[] {
  return values(ds, tag).filter((v): v is Dataset => typeof v === "object" && v !== null);
}

export function item(ds: Dataset | undefined, tag: string): Dataset | undefined {
  return items(ds, tag)[0];
}

export function inlineBytes(element: Element | undefined): Uint8Array | undefined {
  if (!element?.InlineBinary) return undefined;
  const raw = atob(element.InlineBinary);
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

/** `DOE^JOHN^^DR` as `DOE, John Dr` would guess too much: only the separators are made readable. */
export function personName(value: string): string {
  const [family = "", ...rest] = value.split("=")[0]?.split("^") ?? [];
  const others = rest.filter(Boolean).join(" ");
  return others ? `${family}, ${others}` : family;
}

/** `20260315` as `2026-03-15`; anything else unchanged. */
export function date(value: string): string {
  return /^\d{8}$/.test(value)
    ? `${value.slice(0, 4)}-${value.slice(4, 6)}-${value.slice(6)}`
    : value.replaceAll(".", "-");
}

/** `142233.5` as `14:22`. */
export function time(value: string): string {
  return /^\d{4}/.test(value) ? `${value.slice(0, 2)}:${value.slice(2, 4)}` : "";
}
