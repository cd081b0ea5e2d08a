/**
 * What a large value on its way costs the small calls beside it.
 *
 * @module
 */

import { connect } from "../mod.ts";
import { percentile, print, type Row } from "./measure.ts";

const SIZE = 2 ** 30;

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
  const floor = { what: "alone", value: alone };
  const rows: Row[] = [];
  const into = con.eval("blob");
  rows.push({
    what: "call beside 1 GiB in, p99",
    value: percentile(await calls(call, into), 99),
    unit: "ms",
    floor,
    goal: "under 5 ms more",
  });
  const data = await into as Uint8Array;
  const out = (con.eval("size") as unknown as (b: Uint8Array) => Promise<number>)(data);
  rows.push({
    what: "call beside 1 GiB out, p99",
    value: percentile(await calls(call, Promise.resolve(out)), 99),
    unit: "ms",
    floor,
    goal: "under 5 ms more",
  });
  return rows;
}

if (import.meta.main) print("Small calls beside large values", await bulk());
