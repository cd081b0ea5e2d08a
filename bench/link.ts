/**
 * The bench of a slow link, of 200 Mbit/s and a round trip of 50 ms: streams in both directions, and a call.
 *
 * @module
 */

import { connect } from "../mod.ts";
import { registerSlowLink } from "./delay.ts";
import { print, rate, type Row } from "./measure.ts";
import { streamIn, streamOut, STREAMS } from "./streams.ts";

const BANDWIDTH = 25_000; // bytes a millisecond: 200 Mbit/s
const DELAY = 25; // one way, so that a round trip takes 50 ms
const SIZE = 96 << 20;

/** Streams over the link, and the round trips that things take. */
export async function slowLink(): Promise<Row[]> {
  registerSlowLink({ delay: DELAY, bandwidth: BANDWIDTH });
  const floor = { what: "the link", value: BANDWIDTH / 1e3 };
  const rows: Row[] = [];
  const start = performance.now();
  await using con = await connect("slow:", { keepAlive: false });
  rows.push({ what: "connect", value: performance.now() - start, unit: "ms" });
  await con.execute(STREAMS);
  const timed = async (work: () => Promise<unknown>) => {
    const start = performance.now();
    await work();
    return performance.now() - start;
  };
  const call = await timed(() => con.eval("1"));
  rows.push({
    what: "a call",
    value: call,
    unit: "ms",
    floor: { what: "round trip", value: 2 * DELAY },
  });
  const into = await timed(() => streamIn(con, SIZE));
  rows.push({
    what: "96 MiB stream, in",
    value: rate(SIZE, into),
    unit: "MB/s",
    floor,
    goal: "0.9 × link",
  });
  const outOf = await timed(() => streamOut(con, SIZE));
  rows.push({
    what: "96 MiB stream, out",
    value: rate(SIZE, outOf),
    unit: "MB/s",
    floor,
    goal: "0.9 × link",
  });
  return rows;
}

if (import.meta.main) print("A link of 200 Mbit/s with a round trip of 50 ms", await slowLink());
