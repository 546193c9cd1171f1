/** How late and how often: of the frames that were drawn lately. */

const LATELY = 250;

export interface Figures {
  /** frames drawn since the start */
  drawn: number;
  /** frames per second, over the last two seconds */
  rate: number;
  p50: number;
  p99: number;
  /** beats of the source's clock left out, and frames overtaken by newer ones */
  skipped: number;
  overtaken: number;
  /** milliseconds of each stage, mean of the last frames */
  stages: [string, number][];
}

export class Statistics {
  private late: number[] = [];
  private when: number[] = [];
  private stages = new Map<string, number>();
  private skipped = 0;
  drawn = 0;
  overtaken = 0;

  /** `latency` in ms from capture to drawn, `at` in ms. */
  add(latency: number, at: number, stages: Record<string, number>, skipped: number): void {
    this.drawn += 1;
    this.late = [...this.late, latency].slice(-LATELY);
    this.when = [...this.when, at].slice(-LATELY);
    this.skipped = skipped;
    const before = this.stages;
    this.stages = new Map(
      Object.entries(stages).map(([name, ms]) => [name, 0.85 * (before.get(name) ?? ms) + 0.15 * ms]),
    );
  }

  /** All latencies kept, oldest first. */
  get latencies(): number[] {
    return this.late;
  }

  figures(at: number): Figures {
    const recent = this.when.filter((t) => at - t < 2000);
    const span = recent.length > 1 ? (at - (recent[0] ?? at)) / 1000 : 0;
    const sorted = [...this.late].sort((a, b) => a - b);
    const part = (p: number) => sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0;
    return {
      drawn: this.drawn,
      rate: span > 0 ? recent.length / span : 0,
      p50: part(0.5),
      p99: part(0.99),
      skipped: this.skipped,
      overtaken: this.overtaken,
      stages: [...this.stages],
    };
  }
}
