/**
 * How the benches measure: percentiles, rates, and ratios to a floor of the same run.
 *
 * @module
 */

/** One line of the results. */
export interface Row {
  /** What was measured. */
  what: string;
  /** The median. */
  value: number;
  /** Its unit: `"µs"`, `"ms"`, `"/s"`, `"MB/s"`. */
  unit: string;
  /** What it is compared with, in the same run. */
  floor?: { what: string; value: number };
  /** What is to be reached, in words. */
  goal?: string;
}

/** The p-th percentile. */
export function percentile(values: number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p / 100))]!;
}

/**
 * Runs something many times, and gives each duration in microseconds. Both ends are warm by then: V8 goes on making the
 * code of a call faster until about the twenty thousandth.
 */
export async function latencies(
  once: () => Promise<unknown>,
  count = 5000,
  warmUp = 20_000,
): Promise<number[]> {
  for (let i = 0; i < warmUp; i++) await once();
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await once();
    times.push((performance.now() - start) * 1e3);
  }
  return times;
}

/** The median duration of a few runs, in milliseconds. */
export async function medianOf(runs: number, once: () => Promise<number>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < runs; i++) times.push(await once());
  return percentile(times, 50);
}

/**
 * The medians of several works that are done in turns, since a machine's own speed may change by the minute. What they
 * give in the first two rounds, while V8 still makes their code faster, is not counted. What one of them leaves to the
 * garbage collector is collected before the next begins, where that may be asked for (`--v8-flags=--expose-gc`).
 */
export async function inTurns(
  rounds: number,
  ...works: (() => Promise<number>)[]
): Promise<number[]> {
  const seen: number[][] = works.map(() => []);
  for (let round = -2; round < rounds; round++) {
    for (const [index, work] of works.entries()) {
      (globalThis as { gc?: () => void }).gc?.();
      const value = await work();
      if (round >= 0) seen[index]!.push(value);
    }
  }
  return seen.map((values) => percentile(values, 50));
}

/** Megabytes (10^6) a second. */
export function rate(bytes: number, milliseconds: number): number {
  return bytes / 1e3 / milliseconds;
}

/** Prints rows as a table. */
export function print(title: string, rows: Row[]): void {
  console.log(`\n### ${title}\n`);
  console.log("| what | here | floor in this run | ratio | goal |");
  console.log("|---|---|---|---|---|");
  for (const { what, value, unit, floor, goal } of rows) {
    const compared = floor ? `${floor.what}: ${show(floor.value)} ${unit}` : "";
    const ratio = floor ? (value / floor.value).toFixed(2) : "";
    console.log(`| ${what} | ${show(value)} ${unit} | ${compared} | ${ratio} | ${goal ?? ""} |`);
  }
}

function show(value: number): string {
  if (value >= 10_000) return Math.round(value).toLocaleString("en").replaceAll(",", " ");
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
