/**
 * How much memory both sides take while 4 GiB stream through, each way.
 *
 * @module
 */

import { connect } from "../mod.ts";
import { print, type Row } from "./measure.ts";
import { streamOut } from "./streams.ts";

const SIZE = 4 * 2 ** 30;
const PIECE = 64 << 10;

/** The growth of both sides' memory over a stream, in MiB. */
export async function streamMemory(): Promise<Row[]> {
  await using con = await connect("local:");
  await con.execute(`
    let peak = 0;
    const mib = () => Deno.memoryUsage().rss / 2 ** 20;
    const watch = () => { peak = Math.max(peak, mib()); };
    function start() { peak = mib(); return peak; }
    function end() { return peak; }
    const make = (size) => {
      let left = size;
      return new ReadableStream({ pull(c) {
        if (left <= 0) return c.close();
        left -= ${PIECE}; watch(); c.enqueue(new Uint8Array(${PIECE}));
      } });
    };
    async function drain(stream) { let n = 0; for await (const b of stream) { n += b.length; watch(); } return n; }
  `);
  const rows: Row[] = [];
  const measure = async (what: string, work: () => Promise<void>) => {
    const here = Deno.memoryUsage().rss / 2 ** 20;
    let most = here;
    const timer = setInterval(() => most = Math.max(most, Deno.memoryUsage().rss / 2 ** 20), 20);
    const there = await con.eval<number>("start()");
    await work();
    clearInterval(timer);
    const peak = await con.eval<number>("end()");
    rows.push({ what: `${what}: here`, value: most - here, unit: "MiB above", goal: "64 MiB" });
    rows.push({ what: `${what}: there`, value: peak - there, unit: "MiB above", goal: "64 MiB" });
  };
  // Once before, so that what is measured is growth and not the first use.
  for await (const _ of await con.eval(`make(${2 ** 26})`) as ReadableStream<Uint8Array>);
  await measure("4 GiB in", async () => {
    for await (const _ of await con.eval(`make(${SIZE})`) as ReadableStream<Uint8Array>);
  });
  await measure("4 GiB out", async () => {
    await streamOut(con, SIZE);
  });
  return rows;
}

if (import.meta.main) print("Memory while streaming", await streamMemory());
