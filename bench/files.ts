/**
 * The bench of file copies: a file over a connection's streams, beside bytes from memory over the same streams.
 *
 * Each round measures both, one right after the other, each way; the bytes are made in new pieces of 64 KiB. The files
 * are in memory: a disk has a speed of its own.
 *
 * @module
 */

import { connect, type Connection, type FileOptions } from "../mod.ts";
import { startServer } from "./daemon.ts";
import { registerSlowLink } from "./delay.ts";
import { percentile, print, rate, type Row } from "./measure.ts";
import { streamIn, streamOut, STREAMS } from "./streams.ts";

const SIZE = 256 << 20;
const ROUNDS = 5;
const SMALL = 1000;
/** What no transport copies by its own means: so it goes over the connection's streams. */
const STREAMED: FileOptions = { preserve: true };

// deno-lint-ignore no-explicit-any
type Anything = any;

/** A folder in memory, where the system has one. */
async function memoryFolder(): Promise<string | undefined> {
  try {
    return (await Deno.stat("/dev/shm")).isDirectory ? "/dev/shm" : undefined;
  } catch {
    // The usual place has to do.
    return undefined;
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** One connection's rows: a large file, and a folder of small ones, each way. */
export async function files(name: string, con: Connection<Anything>): Promise<Row[]> {
  const folder = await Deno.makeTempDir({ dir: await memoryFolder(), prefix: "pushy_bench_" });
  const times = { in: [], get: [], out: [], put: [], putMany: [], getMany: [], call: [] } as Record<
    "in" | "get" | "out" | "put" | "putMany" | "getMany" | "call",
    number[]
  >;
  try {
    await con.execute(STREAMS);
    const piece = crypto.getRandomValues(new Uint8Array(64 << 10));
    {
      using file = await Deno.open(`${folder}/big`, { write: true, create: true });
      for (let at = 0; at < SIZE; at += piece.length) await file.write(piece);
    }
    await Deno.mkdir(`${folder}/many`);
    for (let i = 0; i < SMALL; i++) {
      await Deno.writeFile(`${folder}/many/${i}`, piece.subarray(0, 1000));
    }
    const remove = (path: string) => Deno.remove(`${folder}/${path}`, { recursive: true });
    for (let round = 0; round < ROUNDS; round++) {
      times.in.push(await timed(() => streamIn(con, SIZE, true)));
      times.get.push(
        await timed(() => con.getfile(`${folder}/big`, `${folder}/got`, STREAMED)),
      );
      await remove("got");
      times.out.push(await timed(() => streamOut(con, SIZE, true)));
      times.put.push(
        await timed(() => con.putfile(`${folder}/big`, `${folder}/put`, STREAMED)),
      );
      await remove("put");
      const many: FileOptions = { recursive: true };
      times.call.push(await timed(() => con.eval("1")));
      times.putMany.push(
        await timed(() => con.putfile(`${folder}/many`, `${folder}/there`, many)),
      );
      times.getMany.push(
        await timed(() => con.getfile(`${folder}/there`, `${folder}/back`, many)),
      );
      await remove("there");
      await remove("back");
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const median = (of: keyof typeof times) => percentile(times[of], 50);
  const bytes = (what: string, copy: "get" | "put", stream: "in" | "out"): Row => ({
    what: `${name}: a file of 256 MiB, ${what}`,
    value: rate(SIZE, median(copy)),
    unit: "MB/s",
    floor: { what: `bytes by stream, ${stream}`, value: rate(SIZE, median(stream)) },
    goal: "0.8 × floor",
  });
  const many = (what: string, copy: "getMany" | "putMany"): Row => ({
    what: `${name}: ${SMALL} files of 1 kB, ${what}`,
    value: SMALL / median(copy) * 1e3,
    unit: "files/s",
  });
  return [
    bytes("`getfile`", "get", "in"),
    bytes("`putfile`", "put", "out"),
    many("`getfile`", "getMany"),
    many("`putfile`", "putMany"),
  ];
}

/** What a round trip of 50 ms costs a folder of small files, and a large file. */
async function slowLink(): Promise<Row[]> {
  const bandwidth = 25_000; // bytes a millisecond: 200 Mbit/s
  const delay = 25;
  registerSlowLink({ delay, bandwidth });
  const folder = await Deno.makeTempDir({ dir: await memoryFolder(), prefix: "pushy_bench_" });
  try {
    await using con = await connect("slow:", { keepAlive: false });
    await con.eval("1");
    await Deno.mkdir(`${folder}/many`);
    const piece = crypto.getRandomValues(new Uint8Array(1000));
    for (let i = 0; i < SMALL; i++) await Deno.writeFile(`${folder}/many/${i}`, piece);
    await Deno.writeFile(`${folder}/big`, new Uint8Array(SIZE / 4));
    const rows: Row[] = [];
    for (const copy of ["getfile", "putfile"] as const) {
      rows.push({
        what: `a link of 50 ms: ${SMALL} files of 1 kB, \`${copy}\``,
        value: await timed(() =>
          con[copy](`${folder}/many`, `${folder}/${copy}`, { recursive: true })
        ) / SMALL,
        unit: "ms a file",
        floor: { what: "a round trip", value: 2 * delay },
      });
      rows.push({
        what: `a link of 200 Mbit/s: a file of 64 MiB, \`${copy}\``,
        value: rate(
          SIZE / 4,
          await timed(() => con[copy](`${folder}/big`, `${folder}/${copy} big`, STREAMED)),
        ),
        unit: "MB/s",
        floor: { what: "the link", value: bandwidth / 1e3 },
        goal: "0.9 × link",
      });
    }
    return rows;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The connections that are measured, by name. */
const CONNECTIONS: Record<string, () => Promise<Row[]>> = {
  "local × deno": async () => {
    await using con = await connect("local:");
    return await files("local × deno", con);
  },
  "local × node": async () => {
    await using con = await connect("local:", { runtime: "node" });
    return await files("local × node", con);
  },
  "daemon tcp": async () => {
    const server = await startServer({ allowInsecure: true });
    try {
      await using con = await connect(`daemon:127.0.0.1:${server.port}`);
      return await files("daemon tcp", con);
    } finally {
      await server.end();
    }
  },
  "slow link": slowLink,
};

if (import.meta.main) {
  const rows: Row[] = [];
  for (const name of Deno.args.length > 0 ? Deno.args : Object.keys(CONNECTIONS)) {
    rows.push(...await CONNECTIONS[name]!());
  }
  print("File copies", rows);
}
