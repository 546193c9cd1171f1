/** What was chosen last, for as long as the browser tab lives: change one figure and run again. */

import type { Content } from "../dicom/content";

type Values = Record<string, unknown>;

function get<T>(key: string): T | undefined {
  try {
    return JSON.parse(sessionStorage.getItem(`somascope:${key}`) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

function put(key: string, value: unknown): void {
  try {
    sessionStorage.setItem(`somascope:${key}`, JSON.stringify(value));
  } catch {
    // a full or forbidden store only means that nothing is remembered
  }
}

export const lastValues = (operation: string) => get<Values>(`values:${operation}`);
export const keepValues = (operation: string, values: Values) => put(`values:${operation}`, values);
export const lastOperation = (content: Content) => get<string>(`operation:${content}`);
export const keepOperation = (content: Content, name: string) => put(`operation:${content}`, name);
