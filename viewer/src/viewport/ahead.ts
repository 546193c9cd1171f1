/**
 * Ready before a study is chosen. Graphics contexts, compiled shaders and the first draw cost more
 * than fetching and decoding an image, and do not depend on it: an empty picture is drawn out of
 * sight while the list is read.
 */

import { Enums, type Types, cache, imageLoader } from "@cornerstonejs/core";

import { type Dataset } from "../dicom/json";
import { framesOf } from "../geometry/frames";
import { currentEngine, getEngine, start } from "./engine";
import { register } from "./provider";

const ID = "ahead";
const SIDE = 16;
const HEADER: Dataset = {
  "00080060": { Value: ["CT"] },
  "00200032": { Value: [0, 0, 0] },
  "00200037": { Value: [1, 0, 0, 0, 1, 0] },
  "00280010": { Value: [SIDE] },
  "00280011": { Value: [SIDE] },
  "00280030": { Value: [1, 1] },
  "00280100": { Value: [16] },
  "00280103": { Value: [1] },
};

const idle = () =>
  new Promise<void>((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(() => resolve(), { timeout: 1000 });
    else setTimeout(resolve);
  });

/** Nothing happens where an engine is there already; a failure here is told when a study opens. */
export async function warm(): Promise<void> {
  await idle();
  await start();
  await idle();
  if (currentEngine()) return;
  const engine = getEngine();
  const element = document.createElement("div");
  element.style.cssText = "position:fixed;left:-999px;width:64px;height:64px;visibility:hidden";
  document.body.append(element);
  const done = () => {
    performance.mark("ahead");
    element.remove();
    if (currentEngine()?.getViewport(ID)) engine.disableElement(ID);
    if (cache.getImageLoadObject(ID)) cache.removeImageLoadObject(ID, { force: true });
  };
  try {
    engine.enableElement({ viewportId: ID, type: Enums.ViewportType.STACK, element });
    register(framesOf(HEADER, "").map((frame) => ({ ...frame, imageId: ID })));
    const viewport = engine.getViewport(ID) as Types.IStackViewport;
    const scalarData = new Int16Array(SIDE * SIDE).map((_, i) => i);
    const image = imageLoader.createAndCacheLocalImage(ID, {
      scalarData,
      dimensions: [SIDE, SIDE],
      spacing: [1, 1],
    });
    element.addEventListener(Enums.Events.IMAGE_RENDERED, done, { once: true });
    viewport.renderImageObject(image);
    viewport.render();
  } catch {
    done();
  }
}
