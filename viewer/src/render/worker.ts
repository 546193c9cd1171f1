/** The worker that draws volumes: the newest wish counts, an older picture is dropped half way. */

import { LOOKS } from "./presets";
import { Rays, type View, type Voxels } from "./rays";

export type Wish = { voxels: Voxels } | { draw: number; view: View; look: string };
export interface Picture {
  draw: number;
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

const ROWS = 24;
let rays: Rays | undefined;
let newest = 0;

/** Let waiting messages in. */
const breathe = () =>
  new Promise<void>((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done();
    channel.port2.postMessage(0);
  });

async function draw(id: number, view: View, lookId: string): Promise<void> {
  const look = LOOKS.find((l) => l.id === lookId);
  if (!rays || !look) return;
  const pixels = new Uint8ClampedArray(4 * view.width * view.height);
  for (let row = 0; row < view.height; row += ROWS) {
    rays.draw(view, look, row, Math.min(view.height, row + ROWS), pixels);
    await breathe();
    if (newest !== id) return;
  }
  const picture: Picture = { draw: id, width: view.width, height: view.height, pixels };
  self.postMessage(picture, { transfer: [pixels.buffer] });
}

self.onmessage = (event: MessageEvent<Wish>) => {
  const wish = event.data;
  if ("voxels" in wish) {
    rays = new Rays(wish.voxels);
    return;
  }
  newest = wish.draw;
  void draw(wish.draw, wish.view, wish.look);
};
