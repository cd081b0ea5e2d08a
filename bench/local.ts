/**
 * The bench of the core: `local:` with the Deno runtime, beside the raw floors of the same run.
 *
 * Latency means something only with both processes on one CPU: `taskset -c 0 deno task bench`.
 *
 * @module
 */

import { connect } from "../mod.ts";
import { agentBytes, agentRest } from "../runtime/bootstrap.ts";
import { runtimeOf } from "../runtime/runtimes.ts";
import { echo, firstEcho, receive, send } from "./floor.ts";
import { inTurns, latencies, medianOf, percentile, print, rate, type Row } from "./measure.ts";
import { streamIn, streamOut, STREAMS } from "./streams.ts";

const MIB = 1 << 20;

/** Latency: what one CPU for both processes shows best. */
export async function latency(): Promise<Row[]> {
  const raw = await echo();
  await using con = await connect("local:");
  const call = percentile(await latencies(() => con.globals.Math.abs(1)), 50);
  const path = percentile(await latencies(() => con.modules.path.join("a", "b")), 50);
  const loop = await con.compile(async (callback: (n: number) => unknown, count: number) => {
    const times: number[] = [];
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      await callback(i);
      times.push((performance.now() - start) * 1e3);
    }
    return times.slice(-5000).sort((a, b) => a - b)[2500]!;
  });
  const callback = await loop((n: number) => n, 25_000) as number;
  return [
    {
      what: "sequential call, p50",
      value: call,
      unit: "µs",
      floor: { what: "raw 32-byte echo", value: raw.p50 },
      goal: "25 µs",
    },
    {
      what: '`modules.path.join("a", "b")` from scratch, p50',
      value: path,
      unit: "µs",
      floor: { what: "a call", value: call },
      goal: "1.3 × a call",
    },
    {
      what: "callback, p50",
      value: callback,
      unit: "µs",
      floor: { what: "a call", value: call },
      goal: "1.2 × a call",
    },
  ];
}

const SIZE = 64 * MIB;

/** What is sent one way and the other, each in turns with the raw pipe. `kept` is how the raw one keeps its bytes. */
async function bothWays(
  what: string,
  into: () => Promise<unknown>,
  out: () => Promise<unknown>,
  kept: "pieces" | "whole",
  goal: string,
): Promise<Row[]> {
  const timed = (work: () => Promise<unknown>) => async () => {
    const start = performance.now();
    await work();
    return rate(SIZE, performance.now() - start);
  };
  const rounds = 9;
  const [valueIn, floorIn, floorKept] = await inTurns(
    rounds,
    timed(into),
    () => receive(SIZE),
    () => receive(SIZE, kept),
  );
  const [valueOut, floorOut] = await inTurns(rounds, timed(out), () => send(SIZE));
  const row = (way: string, value: number, floor: string, than: number): Row => ({
    what: `${what}, ${way}`,
    value,
    unit: "MB/s",
    floor: { what: floor, value: than },
    goal,
  });
  return [
    row("in", valueIn!, "raw pipe", floorIn!),
    row("in", valueIn!, "one that keeps its bytes", floorKept!),
    row("out", valueOut!, "raw pipe", floorOut!),
  ];
}

/** One large value. New memory decides: see `HUGE_PAGES` in `main.ts`. */
export async function arrays(): Promise<Row[]> {
  await using con = await connect("local:");
  const data = new Uint8Array(SIZE).fill(7);
  await con.execute(`
    const blob = new Uint8Array(${SIZE}).fill(7);
    function take(bytes) { return bytes.length; }
  `);
  const take = await con.eval("take") as (bytes: Uint8Array) => Promise<number>;
  return await bothWays(
    "one 64 MiB array",
    async () => await con.eval("blob"),
    () => take(data),
    "whole",
    "0.7 × floor",
  );
}

/** Throughput and start: two CPUs. */
export async function throughput(): Promise<Row[]> {
  const rows: Row[] = [];
  const first = await medianOf(9, firstEcho);
  const connected = await medianOf(9, async () => {
    const start = performance.now();
    const con = await connect("local:");
    await con.eval("1 + 1");
    const time = performance.now() - start;
    await con.close();
    return time;
  });
  rows.push({
    what: "connect + first result",
    value: connected,
    unit: "ms",
    floor: { what: "spawn, first echo", value: first },
    goal: "1.5 × floor",
  });
  const raw = await echo();
  await using con = await connect("local:");
  const abs = con.globals.Math.abs;
  const atOnce = await medianOf(15, async () => {
    const start = performance.now();
    await Promise.all(Array.from({ length: 10_000 }, () => abs(1)));
    return 10_000 / (performance.now() - start) * 1e3;
  });
  rows.push({
    what: "10,000 calls at once",
    value: atOnce,
    unit: "/s",
    floor: { what: "raw pipelined echo", value: raw.atOnce },
    goal: "200 000/s",
  });

  rows.push(...await arrays());
  await con.execute(`
    ${STREAMS}
    function* count(n) { for (let i = 0; i < n; i++) yield i; }
  `);
  rows.push(
    ...await bothWays(
      "bytes by stream",
      () => streamIn(con, SIZE),
      () => streamOut(con, SIZE),
      "pieces",
      "0.8 × floor",
    ),
  );
  const items = await medianOf(5, async () => {
    const start = performance.now();
    let n = 0;
    for await (const _ of con.eval("count(100000)")) n++;
    return n / (performance.now() - start) * 1e3;
  });
  rows.push({
    what: "100,000 integers from a remote generator",
    value: items,
    unit: "items/s",
    goal: "2 M items/s",
  });
  const agent = agentBytes(runtimeOf("deno"), true);
  rows.push({
    what: "JavaScript agent on the wire, compressed",
    value: agent.length / 1000,
    unit: "kB",
    goal: "16 kB",
  });
  rows.push({
    what: "what follows when it is first needed, compressed, in base64",
    value: agentRest(runtimeOf("deno"), true)[1].length / 1000,
    unit: "kB",
  });
  return rows;
}

if (import.meta.main) {
  if (Deno.args.includes("--latency")) print("Latency, `local:`", await latency());
  else if (Deno.args.includes("--arrays")) print("Arrays in huge pages, `local:`", await arrays());
  else print("Throughput, `local:`", await throughput());
}
