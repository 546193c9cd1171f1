/** Send files to /api/upload; each has its own progress and outcome. */

export interface Sent {
  ok: boolean;
  text: string;
}

interface Outcome {
  name?: string;
  outcome?: string;
  reason?: string;
  instances?: number;
}

const PARTS = /\.(mhd|raw|zraw|nhdr|hdr|img|png|jpe?g|tiff?|bmp)(\.gz)?$/i;

/** Files that may belong together (a header and its data, numbered pictures) travel together. */
export function batches(files: File[]): File[][] {
  const folders = new Map<string, File[]>();
  const alone: File[][] = [];
  for (const file of files) {
    if (!PARTS.test(file.name)) {
      alone.push([file]);
      continue;
    }
    const folder = file.webkitRelativePath.split("/").slice(0, -1).join("/");
    folders.set(folder, [...(folders.get(folder) ?? []), file]);
  }
  return [...alone, ...folders.values()];
}

function one(outcome: Outcome): Sent {
  const ok = outcome.outcome === "stored" || outcome.outcome === "duplicate";
  const many = (outcome.instances ?? 1) > 1 ? `${outcome.instances} images ` : "";
  const word = outcome.outcome === "duplicate" ? "already there" : (outcome.outcome ?? "no outcome");
  return { ok, text: [many + word, outcome.reason].filter(Boolean).join(": ") };
}

function outcomes(status: number, body: string, files: File[]): Sent[] {
  const failed = (text: string) => files.map(() => ({ ok: false, text }));
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return failed(body.slice(0, 200) || `HTTP ${status}`);
  }
  const record = (parsed ?? {}) as Record<string, unknown>;
  const list = (Array.isArray(parsed) ? parsed : (record["files"] ?? record["outcomes"])) as
    | Outcome[]
    | undefined;
  if (!list) return failed(String(record["message"] ?? record["detail"] ?? `HTTP ${status}`));
  if (files.length === 1) {
    const good = list.filter((o) => one(o).ok);
    if (list.length > 1) {
      const bad = list.length - good.length;
      const text = `${good.length} files added${bad ? `, ${bad} not: ${list.find((o) => !one(o).ok)?.reason ?? ""}` : ""}`;
      return [{ ok: good.length > 0, text }];
    }
    return list.map(one);
  }
  return files.map((file) => {
    const found = list.find((o) => o.name === file.name || o.name?.endsWith(`/${file.name}`));
    if (found) return one(found);
    const whole = list.find((o) => one(o).ok);
    return whole ? { ok: true, text: `part of ${whole.name ?? "the volume"}` } : { ok: false, text: "not used" };
  });
}

/** Send files in one request; `progress` hears a fraction in [0, 1]; one answer a file. */
export function upload(files: File[], progress: (fraction: number) => void): Promise<Sent[]> {
  return new Promise((resolve) => {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.webkitRelativePath || file.name);
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/api/upload");
    xhr.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    xhr.onload = () => resolve(outcomes(xhr.status, xhr.responseText, files));
    xhr.onerror = () => resolve(files.map(() => ({ ok: false, text: "the server does not answer" })));
    xhr.send(form);
  });
}

/** A dropped file with its place in the dropped folder, as a chosen folder's files have it. */
function placed(file: File, entry: FileSystemEntry): File {
  Object.defineProperty(file, "webkitRelativePath", { value: entry.fullPath.replace(/^\//, "") });
  return file;
}

/** Every file of a drop, folders opened. */
export async function droppedFiles(transfer: DataTransfer): Promise<File[]> {
  const entries = [...transfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter((entry): entry is FileSystemEntry => entry !== null && entry !== undefined);
  if (entries.length === 0) return [...transfer.files];
  const files: File[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((ok, no) => (entry as FileSystemFileEntry).file(ok, no));
      files.push(placed(file, entry));
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    for (;;) {
      const batch = await new Promise<FileSystemEntry[]>((ok, no) => reader.readEntries(ok, no));
      if (batch.length === 0) return;
      for (const child of batch) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return files;
}
