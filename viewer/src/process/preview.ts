/**
 * One stream of questions, the newest wins: while one is worked on, of all later ones only the last
 * is kept. Slices first; once nothing changes, the volume behind them.
 */

import { type Types, Enums, StackViewport, eventTarget } from "@cornerstonejs/core";
import { Enums as ToolEnums } from "@cornerstonejs/tools";

import type { Step } from "../api/application";
import { tell } from "../parts/console";
import type { Series } from "../study/series";
import { prettyUnit } from "../tools/lines";
import { frameOf } from "../viewport/provider";
import { viewportOf } from "../viewport/readout";
import { type Link, stepsOf } from "./chain";
import { type Ask, Connection, type Head, type Place, type Values, type VolumeState } from "./connection";
import { pictureOf, regionOf, windowOf } from "./source";
import { INITIAL, type Shown, type State } from "./state";

const REST = 700;
const COUNT_AFTER = 150;
const KEPT = 400;
const { ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED, ANNOTATION_SELECTION_CHANGE } = ToolEnums.Events;

const sameUnit = (a: string, b: string) => {
  const said = (u: string) => (u === "1" ? "" : prettyUnit(u));
  return said(a) === said(b);
};

class Preview {
  state: State = INITIAL;
  pane = "";
  private series: Series | undefined;
  private element: HTMLElement | undefined;
  private connection: Connection | undefined;
  private opened = "";
  private watchers = new Set<() => void>();
  private number = 0;
  private wanted: { at: number } | undefined;
  private going: (Ask & { at: number; imageId: string }) | undefined;
  private timers: Record<string, number> = {};
  private late: number[] = [];
  private drawn = new Map<number, number>();
  private seen = "";

  constructor() {
    tell({
      preview: () => ({
        latencies: this.late,
        stage: this.state.shown?.stage,
        imageId: this.state.shown?.imageId,
        waiting: this.going !== undefined || this.wanted !== undefined,
        volume: this.state.volume,
        ms: this.state.shown?.head?.ms,
        counted: this.state.counted,
      }),
    });
  }

  watch = (watcher: () => void) => {
    this.watchers.add(watcher);
    return () => void this.watchers.delete(watcher);
  };

  now = () => this.state;

  set(part: Partial<State>): void {
    this.state = { ...this.state, ...part };
    for (const watcher of [...this.watchers]) watcher();
  }

  get steps(): Step[] {
    return stepsOf(this.state.chain);
  }

  /** Milliseconds from the last changes of a slider to the end of the drawing that follows. */
  get latencies(): number[] {
    return this.late;
  }

  setChain(chain: Link[]): void {
    const steps = stepsOf(chain);
    const same = JSON.stringify(this.steps) === JSON.stringify(steps);
    // Said in one go: every change is a rendering of the page, and they come as fast as a hand moves.
    this.set({ chain, problem: "", ...(same ? {} : { limits: undefined, waiting: steps.length > 0 }) });
    if (!same) this.ask();
  }

  /** The same function for the life of the page. */
  readonly changeChain = (chain: Link[]): void => this.setChain(chain);

  /** Look at this pane, which shows a stack of the series; nothing where there is none. */
  attach(pane: string, series: Series | undefined): void {
    const viewport = pane ? viewportOf(pane) : undefined;
    const element = viewport instanceof StackViewport ? viewport.element : undefined;
    if (pane === this.pane && element === this.element && series === this.series) return;
    this.listen(false);
    if (series !== this.series) this.set({ shown: undefined, counted: undefined, marked: undefined, limits: undefined, volume: undefined, problem: "" });
    this.pane = pane;
    this.series = series;
    this.element = element;
    this.seen = "";
    this.listen(true);
    if (element && series) this.refresh();
    else this.set({ shown: undefined });
  }

  close(): void {
    this.listen(false);
    this.connection?.close();
    this.connection = undefined;
    this.opened = "";
    this.element = undefined;
    this.series = undefined;
    this.going = this.wanted = undefined;
    for (const timer of Object.values(this.timers)) window.clearTimeout(timer);
    this.pane = "";
    this.set({ ...INITIAL, operations: this.state.operations, most: this.state.most });
  }

  /** The picture is on the screen: how long after the change was that? */
  onScreen(id: number): void {
    const at = this.drawn.get(id);
    if (at === undefined) return;
    this.drawn.clear();
    this.late = [...this.late, performance.now() - at].slice(-KEPT);
  }

  private listen(on: boolean): void {
    const act = on ? "addEventListener" : "removeEventListener";
    this.element?.[act](Enums.Events.IMAGE_RENDERED, this.rendered);
    for (const name of [ANNOTATION_COMPLETED, ANNOTATION_MODIFIED, ANNOTATION_REMOVED, ANNOTATION_SELECTION_CHANGE]) {
      eventTarget[act](name, this.regions);
    }
  }

  private rendered = () => {
    const place = this.place();
    const seen = JSON.stringify([place?.imageId, place?.window]);
    if (seen === this.seen) return;
    const other = place?.imageId !== this.state.shown?.imageId;
    this.seen = seen;
    if (other) this.refresh();
    else this.later("window", 120, () => this.refresh());
  };

  private regions = () => {
    if (this.state.scope === "region") this.count();
  };

  private later(name: string, ms: number, act: () => void): void {
    window.clearTimeout(this.timers[name]);
    this.timers[name] = window.setTimeout(act, ms);
  }

  /** The image that is looked at. */
  private place(): (Place & { imageId: string; window: number[] | undefined }) | undefined {
    const viewport = this.pane ? viewportOf(this.pane) : undefined;
    if (!(viewport instanceof StackViewport)) return undefined;
    const imageId = viewport.getCurrentImageId();
    const frame = imageId ? frameOf(imageId) : undefined;
    if (!frame || !imageId) return undefined;
    return {
      imageId, sop: frame.sop, frame: frame.number, rows: frame.rows, columns: frame.columns,
      window: windowOf(viewport as Types.IStackViewport, frame),
    };
  }

  /** Another image, or the same one in another way. */
  refresh(): void {
    if (this.steps.length > 0) this.ask();
    else this.plain();
  }

  /** Without operations the layer has the image's own values; nobody is asked. */
  private plain(): void {
    this.wanted = this.going = undefined; // what is on its way is not wanted any more
    const place = this.place();
    const picture = place ? pictureOf(place.imageId) : undefined;
    const { columns, rows } = picture ?? { columns: 0, rows: 0 };
    const shown: Shown | undefined =
      place && picture
        ? {
            imageId: place.imageId, picture, stage: "source", unit: this.series?.unit ?? "", lower: 0, upper: 1,
            place: [-0.5, -0.5, columns - 0.5, -0.5, -0.5, rows - 0.5], alike: true, head: undefined,
          }
        : undefined;
    this.set({ shown, volume: undefined, waiting: false });
    this.count();
  }

  private ask(): void {
    if (this.steps.length === 0) return this.plain();
    this.wanted = { at: performance.now() };
    this.next();
  }

  private next(): void {
    const { wanted } = this;
    const place = this.place();
    if (!wanted || this.going || !place || !this.connect()) return;
    this.wanted = undefined;
    this.number += 1;
    const { imageId, window: part, ...rest } = place;
    const key = this.key;
    const whole = this.state.volume?.state === "ready" && this.state.volume.key === key;
    const ask: Ask = {
      ...rest, id: this.number, chain: this.steps,
      ...(part ? { window: part } : {}), ...(whole ? { whole, key } : {}),
    };
    this.going = { ...ask, at: wanted.at, imageId };
    this.connection?.send({ ask });
    if (!this.state.waiting) this.set({ waiting: true });
  }

  /** What a computed volume is good for. */
  private get key(): string {
    const volume = this.state.shown?.head?.volume ?? "";
    return JSON.stringify([this.opened, volume, this.steps]);
  }

  connect(): boolean {
    const uid = this.series?.row.uid;
    if (!uid) return false;
    if (this.connection && this.opened === uid) return true;
    this.connection ??= new Connection({
      ready: () => undefined,
      slice: (head, values) => this.arrived(head, values),
      histogram: (counted) => counted.id === this.number && this.set({ counted }),
      volume: (state) => this.volume(state),
      problem: (of, id, message, stale) => this.problem(of, id, message, stale),
      closed: (reason) => {
        this.connection = undefined;
        this.opened = "";
        this.going = undefined;
        this.set({ problem: reason, waiting: false });
      },
    });
    this.opened = uid;
    this.going = undefined;
    this.connection.send({ open: { series: uid } });
    return true;
  }

  private arrived(head: Head, values: Values): void {
    const asked = this.going;
    const { shown } = this.state;
    if (this.steps.length === 0) return;
    const late = !asked && shown?.head?.id === head.id; // what a draft was for
    if (asked?.id !== head.id && !late) return;
    const imageId = asked?.imageId ?? shown?.imageId ?? "";
    if (asked) {
      this.drawn.set(head.id, asked.at);
      this.going = undefined;
    }
    const { rows, columns, channels, unit, lower, upper, place } = head;
    const alike = channels === 3 || (sameUnit(unit, this.series?.unit ?? "") && this.near(lower, upper));
    this.set({
      shown: { imageId, picture: { values, rows, columns, channels }, stage: head.stage, unit, lower, upper, place, alike, head },
      waiting: this.wanted !== undefined,
      problem: "",
    });
    this.next();
    if (this.wanted || this.going) return;
    if (head.stage !== "draft") this.count();
    if (head.stage !== "volume") this.later("volume", REST, () => this.whole());
  }

  /** Whether values in these limits can be seen in the pane's window. */
  private near(lower: number, upper: number): boolean {
    const range = viewportOf(this.pane)?.getProperties()?.voiRange;
    if (!range) return true;
    const span = range.upper - range.lower;
    return upper - lower > 0.02 * span && lower < range.upper && upper > range.lower;
  }

  private whole(): void {
    const head = this.state.shown?.head;
    const { volume, behind } = this.state;
    if (!behind || !head || head.slices < 2 || this.steps.length === 0) return;
    const { key } = this;
    if (volume?.key === key && (volume.state === "ready" || volume.state === "running")) return;
    this.set({ volume: { key, state: "running", progress: 0 } });
    this.connection?.send({ volume: { chain: this.steps, volume: head.volume, key } });
  }

  private volume(state: VolumeState): void {
    if (state.key !== undefined && state.key !== this.state.volume?.key) return;
    this.set({ volume: { ...this.state.volume, ...state, key: this.state.volume?.key ?? "" } });
    if (state.state === "ready" && state.key === this.key) this.refresh();
  }

  private problem(of: string, id: number, message: string, stale: boolean): void {
    if (of === "histogram") {
      const quiet = stale || this.state.scope === "region"; // a region that is being drawn has no pixel yet
      if (id === this.number) this.set({ counted: undefined, ...(quiet ? {} : { problem: message }) });
      return;
    }
    if (this.going && (id === this.going.id || of === "")) {
      this.going = undefined;
      if (stale) this.set({ volume: undefined });
      this.set({ problem: stale ? "" : message, waiting: false, ...(stale ? {} : { shown: undefined }) });
      if (stale) this.wanted ??= { at: performance.now() };
      this.next();
    } else if (of === "") this.set({ problem: message });
  }

  /** Ask for the histogram of what is shown, once it has stood for a moment. */
  count(): void {
    if (!this.state.shown) return;
    this.later("count", COUNT_AFTER, () => {
      const place = this.place();
      const { scope, shown, volume } = this.state;
      const frame = place ? frameOf(place.imageId) : undefined;
      if (!place || !frame || !shown || this.going || !this.connect()) return;
      const shape = scope === "region" ? regionOf(place.imageId, frame) : undefined;
      if (scope === "region" && !shape) {
        this.set({ counted: undefined });
        return;
      }
      const { key } = this;
      const whole = volume?.state === "ready" && volume.key === key;
      if (scope === "volume" && this.steps.length > 0 && !whole) {
        this.set({ counted: undefined });
        return;
      }
      this.number += 1;
      const { imageId: _image, window: _window, ...rest } = place;
      this.connection?.send({
        histogram: {
          ...rest, id: this.number, chain: this.steps, scope: scope === "volume" ? "volume" : "slice",
          ...(shape ? { shape } : {}), ...(whole ? { whole, key } : {}),
        },
      });
    });
  }
}

export const preview = new Preview();
