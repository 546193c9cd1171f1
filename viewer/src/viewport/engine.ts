/** The one rendering engine: started when a study opens, taken down with everything it holds. */

import {
  Enums,
  RenderingEngine,
  cache,
  imageLoadPoolManager,
  imageRetrievalPoolManager,
  init as initCore,
} from "@cornerstonejs/core";
import { init as initLoader } from "@cornerstonejs/dicom-image-loader";
import { annotation, init as initTools, segmentation } from "@cornerstonejs/tools";

import { tell } from "../parts/console";
import { createGroups, destroyGroups, registerTools } from "../tools/groups";
import { registerColormaps } from "./colormaps";
import { beforeProcessing } from "./guard";
import { forget, install } from "./provider";

export const ENGINE = "somascope";
const HALF_GIB = 512 * 1024 * 1024;

let started: Promise<void> | undefined;
let engine: RenderingEngine | undefined;

/** Whether WebGL is drawn by the CPU (no GPU, a remote desktop, a test machine). */
export function software(): boolean {
  cpuDrawn ??= askRenderer();
  return cpuDrawn;
}

let cpuDrawn: boolean | undefined;

function askRenderer(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return true;
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software/i.test(name);
}

/** Start Cornerstone once for the life of the page. */
export function start(): Promise<void> {
  started ??= (async () => {
    initCore({ debug: {}, rendering: { webGlContextCount: 2 } });
    initLoader({
      beforeProcessing,
      maxWebWorkers: Math.max(1, Math.min(6, Math.ceil((navigator.hardwareConcurrency || 2) / 2))),
    });
    initTools();
    registerTools();
    registerColormaps();
    install();
    // The loader leaves a second, unheard promise behind each failed image; the pane has told of it.
    window.addEventListener("unhandledrejection", (event) => {
      const cause = (event.reason as { error?: unknown } | undefined)?.error ?? event.reason;
      if (cause instanceof XMLHttpRequest) event.preventDefault();
    });
    const memory = (navigator as { deviceMemory?: number }).deviceMemory ?? 4;
    cache.setMaxCacheSize(Math.max(2, memory) * HALF_GIB);
    imageRetrievalPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Interaction, 4);
    imageRetrievalPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, 4);
    imageLoadPoolManager.setMaxSimultaneousRequests(Enums.RequestType.Prefetch, 4);
  })();
  return started;
}

export function getEngine(): RenderingEngine {
  if (!engine) {
    engine = new RenderingEngine(ENGINE);
    createGroups(ENGINE);
  }
  return engine;
}

export function currentEngine(): RenderingEngine | undefined {
  return engine;
}

/** Free everything a study held: textures, volumes, images, annotations, segmentations, metadata. */
export function release(): void {
  imageLoadPoolManager.clearRequestStack(Enums.RequestType.Prefetch);
  imageRetrievalPoolManager.clearRequestStack(Enums.RequestType.Prefetch);
  imageRetrievalPoolManager.clearRequestStack(Enums.RequestType.Interaction);
  if (engine) {
    segmentation.removeAllSegmentationRepresentations();
    segmentation.removeAllSegmentations();
    annotation.state.removeAllAnnotations();
    destroyGroups();
    engine.destroy();
    engine = undefined;
    cache.purgeCache();
  }
  forget();
}

/** Bytes and pieces Cornerstone still holds; the tests watch it. */
export function held(): { bytes: number; volumes: number; viewports: number } {
  return {
    bytes: cache.getCacheSize(),
    volumes: cache.getVolumes().length,
    viewports: engine?.getViewports().length ?? 0,
  };
}

tell({ held });
