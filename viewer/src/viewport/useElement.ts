/** Enable a DOM element as a Cornerstone viewport for as long as its component lives. */

import { type Enums, type Types } from "@cornerstonejs/core";
import { useEffect, useState } from "react";

import { type Group, join, leave } from "../tools/groups";
import { ENGINE, currentEngine, getEngine, start } from "./engine";

export function useViewport(
  id: string,
  type: Enums.ViewportType,
  group: Group,
  options: Types.ViewportInputOptions = {},
): { attach: (element: HTMLDivElement | null) => void; element: HTMLDivElement | null; ready: boolean } {
  const [element, attach] = useState<HTMLDivElement | null>(null);
  const [ready, setReady] = useState(false);
  const orientation = options.orientation;
  useEffect(() => {
    if (!element) return;
    let live = true;
    let observer: ResizeObserver | undefined;
    void start().then(() => {
      if (!live) return;
      const engine = getEngine();
      engine.enableElement({
        viewportId: id,
        type,
        element,
        defaultOptions: {
          background: [0, 0, 0],
          ...(orientation === undefined ? {} : { orientation }),
        },
      });
      join(group, id, ENGINE);
      let timer = 0;
      observer = new ResizeObserver(() => {
        clearTimeout(timer);
        timer = window.setTimeout(() => live && currentEngine()?.resize(true, true), 60);
      });
      observer.observe(element);
      setReady(true);
    });
    return () => {
      live = false;
      observer?.disconnect();
      setReady(false);
      const engine = currentEngine();
      if (engine?.getViewport(id)) {
        leave(group, id, ENGINE);
        engine.disableElement(id);
      }
    };
  }, [element, id, type, group, orientation]);
  return { attach, element, ready };
}
