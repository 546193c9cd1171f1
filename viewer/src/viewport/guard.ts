/**
 * Look at a frame's first bytes before a decoder does. A decoder given bytes that are no codestream
 * of its kind may hand back the picture it decoded last: a wrong slice that looks right.
 */

const refused = new Map<string, string>();

interface Kind {
  syntaxes: string[];
  name: string;
  starts: (b: Uint8Array) => boolean;
}

const head = (...bytes: number[]) => (b: Uint8Array) => bytes.every((v, i) => b[i] === v);
const codestream = head(0xff, 0x4f, 0xff, 0x51);
const jp2 = head(0, 0, 0, 0x0c, 0x6a, 0x50, 0x20, 0x20);

const KINDS: Kind[] = [
  {
    name: "JPEG 2000",
    syntaxes: ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"],
    starts: (b) => codestream(b) || jp2(b),
  },
  {
    name: "JPEG",
    syntaxes: ["50", "51", "57", "70", "80", "81"].map((n) => `1.2.840.10008.1.2.4.${n}`),
    starts: head(0xff, 0xd8),
  },
  {
    name: "RLE",
    syntaxes: ["1.2.840.10008.1.2.5"],
    starts: (b) => b.length >= 64 && (b[0] ?? 99) <= 15 && b[1] === 0 && b[4] === 64,
  },
];

/** Why these bytes cannot be of that transfer syntax, or nothing. */
export function complaint(syntax: string, frame: Uint8Array): string | undefined {
  const kind = KINDS.find((k) => k.syntaxes.includes(syntax));
  if (!kind || kind.starts(frame)) return undefined;
  return `its ${frame.length} bytes are not ${kind.name}, as the header says`;
}

function split(body: Uint8Array): { syntax: string; frame: Uint8Array } {
  const text = new TextDecoder("latin1").decode(body.subarray(0, 1024));
  const end = text.indexOf("\r\n\r\n");
  const syntax = /transfer-syntax="?([0-9.]+)"?/i.exec(text.slice(0, Math.max(end, 0)))?.[1] ?? "";
  return { syntax, frame: body.subarray(end < 0 ? 0 : end + 4) };
}

/** The loader's hook between the network and the decoder. */
export function beforeProcessing(xhr: XMLHttpRequest): Promise<ArrayBuffer> {
  const buffer = xhr.response as ArrayBuffer;
  const { syntax, frame } = split(new Uint8Array(buffer));
  const wrong = complaint(syntax, frame);
  if (!wrong) return Promise.resolve(buffer);
  refused.set(new URL(xhr.responseURL).pathname, wrong);
  return Promise.reject(new Error(wrong));
}

/** What went wrong with an image, in words. */
export function reasonOf(imageId: string, error: unknown): string {
  const known = refused.get(imageId.replace(/^wadors:/, ""));
  if (known) return known;
  const cause = (error as { error?: unknown } | undefined)?.error ?? error;
  if (cause instanceof XMLHttpRequest) {
    return cause.status === 0 ? "the server does not answer" : `the server says ${cause.status}`;
  }
  return cause instanceof Error ? cause.message : "it could not be decoded";
}
