/** Cine: steps the active pane at a chosen rate and wraps at the end. */

import { useEffect, useState } from "react";

import { scrollTo } from "../viewport/commands";
import { read } from "../viewport/readout";

export function useCine(pane: string, rate: number | undefined) {
  const [playing, setPlaying] = useState(false);
  const [fps, setFps] = useState(15);
  useEffect(() => {
    if (rate) setFps(Math.min(60, Math.max(1, Math.round(rate))));
  }, [rate]);
  useEffect(() => setPlaying(false), [pane]);
  useEffect(() => {
    if (!playing) return;
    const timer = window.setInterval(() => {
      const now = read(pane);
      if (now && now.slices > 1) scrollTo(pane, now.slice % now.slices);
    }, 1000 / fps);
    return () => window.clearInterval(timer);
  }, [playing, fps, pane]);
  return { playing, fps, setFps, toggle: () => setPlaying((p) => !p), stop: () => setPlaying(false) };
}
