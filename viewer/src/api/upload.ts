/** Send files to /api/upload, one request per file, so that each has its own progress and outcome. */

export interface Outcome {
  name: string;
  outcome: string;
  reason?: string;
  study?: string;
}

export interface Sent {
  ok: boolean;
  text: string;
  stored: number;
  studies: string[];
}

function summarise(status: number, body: string): Sent {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return { ok: false, text: body.slice(0, 200) || `HTTP ${status}`, stored: 0, studies: [] };
  }
  const record = (parsed ?? {}) as Record<string, unknown>;
  if (status >= 400 && !Array.isArray(record["files"])) {
    return { ok: false, text: String(record["detail"] ?? body), stored: 0, studies: [] };
  }
  const list = (Array.isArray(parsed) ? parsed : (record["files"] ?? record["outcomes"] ?? [])) as
    | Record<string, unknown>[]
    | undefined;
  const counts = new Map<string, number>();
  const reasons: string[] = [];
  const studies = new Set<string>();
  for (const entry of list ?? []) {
    const outcome = String(entry["outcome"] ?? entry["state"] ?? "stored");
    counts.set(outcome, (counts.get(outcome) ?? 0) + Number(entry["instances"] ?? 1));
    const why = entry["reason"] ?? entry["detail"] ?? entry["message"];
    if (why) reasons.push(String(why));
    if (entry["study"]) studies.add(String(entry["study"]));
  }
  const good = ["stored", "duplicate"].reduce((n, k) => n + (counts.get(k) ?? 0), 0);
  const words = [...counts].map(([outcome, n]) => (n > 1 ? `${n} ${outcome}` : outcome));
  const why = [...new Set(reasons)].slice(0, 3).join("; ");
  return {
    ok: good > 0,
    text: [words.join(", ") || "nothing stored", why].filter(Boolean).join(": "),
    stored: counts.get("stored") ?? 0,
    studies: [...studies],
  };
}

/** Upload one file; `progress` hears a fraction in [0, 1]. */
export function upload(file: File, progress: (fraction: number) => void): Promise<Sent> {
  return new Promise((resolve) => {
    const form = new FormData();
    form.append("files", file, file.webkitRelativePath || file.name);
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/api/upload");
    xhr.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    xhr.onload = () => resolve(summarise(xhr.status, xhr.responseText));
    xhr.onerror = () =>
      resolve({ ok: false, text: "the server does not answer", stored: 0, studies: [] });
    xhr.send(form);
  });
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
      files.push(
        await new Promise<File>((ok, no) => (entry as FileSystemFileEntry).file(ok, no)),
      );
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
