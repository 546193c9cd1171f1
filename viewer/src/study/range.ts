/** The range of values in the image a pane shows now. */

import { cache } from "@cornerstonejs/core";

import { read } from "../viewport/readout";

export function valueRange(pane: string): [number, number] | undefined {
  const imageId = read(pane)?.imageId;
  const image = imageId ? cache.getImage(imageId) : undefined;
  if (!image) return undefined;
  const slope = image.preScale?.scaled ? 1 : image.slope || 1;
  const intercept = image.preScale?.scaled ? 0 : image.intercept || 0;
  return [image.minPixelValue * slope + intercept, image.maxPixelValue * slope + intercept];
}
