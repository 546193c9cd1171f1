/** One way to talk to the server: JSON in, JSON out, and an error that says what went wrong. */

export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly url: string,
    message: string,
  ) {
    super(message);
  }
}

async function reason(response: Response): Promise<string> {
  const body = await response.text().catch(() => "");
  try {
    const parsed: unknown = JSON.parse(body);
    if (parsed && typeof parsed === "object") {
      const record = parsed as Record<string, unknown>;
      const detail = record["detail"] ?? record["message"] ?? record["error"];
      if (typeof detail === "string") return detail;
      if (detail) return JSON.stringify(detail);
    }
  } catch {
    // not JSON: the text itself is the reason
  }
  return body.slice(0, 300) || response.statusText || `HTTP ${response.status}`;
}

export async function request(url: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new HttpError(0, url, "The server does not answer. Is `somascope serve` still running?");
  }
  if (!response.ok) throw new HttpError(response.status, url, await reason(response));
  return response;
}

export async function getJson<T>(url: string, init: RequestInit = {}): Promise<T> {
  const response = await request(url, {
    ...init,
    headers: { Accept: "application/json, application/dicom+json;q=0.9" },
  });
  if (response.status === 204) return [] as T;
  return (await response.json()) as T;
}

export async function postJson<T>(url: string, body?: unknown): Promise<T> {
  const response = await request(url, {
    method: "POST",
    headers: { Accept: "application/json", "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
}

export function says(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
