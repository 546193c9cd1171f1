/** The record of how a series was made where it is long: deflated, in an element of its own. */

import { request } from "../api/http";
import { type Dataset, type Element, inlineBytes, text } from "./json";

/** No record is longer than this once it is inflated. */
const MOST = 8 * 1024 * 1024;

async function inflated(element: Element): Promise<string> {
  let bytes = inlineBytes(element);
  if (!bytes && element.BulkDataURI) {
    const answer = await request(element.BulkDataURI, { headers: { Accept: "application/octet-stream" } });
    bytes = new Uint8Array(await answer.arrayBuffer());
  }
  if (!bytes) return "";
  const reader = new Blob([bytes.slice()]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    size += part.value.length;
    if (size > MOST) return "";
  }
  return new TextDecoder().decode(await new Blob(parts.map((p) => p.slice())).arrayBuffer());
}

/**
 * The data sets with the first one's record as text, where it was deflated (group 5353, creator
 * SOMASCOPE: element 02 stands for element 01). One that cannot be read is left as it is.
 */
export async function withRecord(list: Dataset[]): Promise<Dataset[]> {
  const first = list[0];
  for (let block = 0x10; first && block <= 0x1f; block++) {
    const at = block.toString(16).toUpperCase();
    if (text(first, `535300${at}`) !== "SOMASCOPE") continue;
    const packed = first[`5353${at}02`];
    if (!packed || first[`5353${at}01`]) break;
    try {
      first[`5353${at}01`] = { vr: "UT", Value: [await inflated(packed)] };
    } catch {
      // The series is shown all the same, without its history.
    }
    break;
  }
  return list;
}
