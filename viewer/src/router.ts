/** Three places: `/`, `/study/UID` and `/live`. The address can be bookmarked, and the browser's back works. */

import { useSyncExternalStore } from "react";

const watchers = new Set<() => void>();
const tell = () => watchers.forEach((w) => w());
window.addEventListener("popstate", tell);

export function go(path: string): void {
  if (path === location.pathname + location.search) return;
  history.pushState(null, "", path);
  tell();
}

export function usePath(): string {
  return useSyncExternalStore(
    (watcher) => {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
    () => location.pathname + location.search,
  );
}

export function studyOf(path: string): string | undefined {
  return /^\/study\/([0-9.]+)/.exec(path)?.[1];
}

export function isLive(path: string): boolean {
  return /^\/live(\?|$)/.test(path);
}
