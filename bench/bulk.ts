/**
 * What a large value on its way costs the small calls beside it.
 *
 * @module
 */

import { connect } from "../mod.ts";
import { percentile, print, type Row } from "./measure.ts";

const SIZE = 2 ** 30;
/** How long it takes until new memory is there differs from one GiB to the next. */
const ROUNDS = 7;

async function calls(call: () => Promise<unknown>, during: Promise<unknown>): Promise<number[]> {
  let over = false;
  during.finally(() => over = true);
  const times: number[] = [];
  while (!over) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return times;
}

/** The 99th percentile of a call alone, and beside 1 GiB each way. */
export async function bulk(): Promise<Row[]> {
  await using con = await connect("local:");
  await con.execute(`const blob = new Uint8Array(${SIZE}).fill(1); const size = (b) => b.length;`);
  const call = () => con.globals.Math.abs(1);
  const alone = percentile(
    await calls(call, new Promise((resolve) => setTimeout(resolve, 2000))),
    99,
  );
  const size = await con.eval("size") as (bytes: Uint8Array) => Promise<number>;
  const seen: { into: number[]; out: number[] } = { into: [], out: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const into = con.eval("blob");
    seen.into.push(percentile(await calls(call, into), 99));
    const data = await into as Uint8Array;
    seen.out.push(percentile(await calls(call, Promise.resolve(size(data))), 99));
  }
  const row = (way: string, values: number[]): Row => {
    const shown = values.map((value) => value.toFixed(1)).join(", ");
    return {
      what: `call beside 1 GiB ${way}, p99, the median of ${shown}`,
      value: percentile(values, 50),
      unit: "ms",
      floor: { what: "alone", value: alone },
      goal: "under 5 ms more",
    };
  };
  return [row("in", seen.into), row("out", seen.out)];
}

if (import.meta.main) print("Small calls beside large values", await bulk());
