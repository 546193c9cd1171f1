/** What the tests and a support engineer read in the console: nothing can be changed through it. */

const told: Record<string, () => unknown> = {};
(window as unknown as { somascope: unknown }).somascope = told;

export function tell(readings: Record<string, () => unknown>): void {
  Object.assign(told, readings);
}
