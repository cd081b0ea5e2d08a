/**
 * The bench of `daemon:`: a server in another process, beside raw TCP of the same run.
 *
 * @module
 */

import { connect, type Connection } from "../mod.ts";
import { inTurns, latencies, medianOf, percentile, print, rate, type Row } from "./measure.ts";
import { streamIn, streamOut, STREAMS } from "./streams.ts";

const SIZE = 64 << 20;

/** A process that listens. */
export interface Child {
  readonly port: number;
  readonly pid: number;
  end(): Promise<void>;
}

async function start(args: string[], portOf: (line: string) => number | undefined): Promise<Child> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", ...args],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = process.stdout.getReader();
  let text = "";
  let port: number | undefined;
  while (port === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The server has ended");
    text += new TextDecoder().decode(value);
    if (text.endsWith("\n")) port = portOf(text);
  }
  return {
    port,
    pid: process.pid,
    async end() {
      process.kill("SIGKILL");
      await process.status;
      await reader.cancel();
    },
  };
}

function here(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}

function startRaw(): Promise<Child> {
  return start([here("./tcp_child.js")], (line) => Number(line));
}

const SERVER = `
import { run } from ${JSON.stringify(new URL("../server/run.ts", import.meta.url).href)};
const server = await run({ port: 0, quiet: true, ...JSON.parse(Deno.args[0]) });
console.log(server.addr.port);
`;

/** A server in a process of its own, with these options. */
export async function startServer(options: Record<string, unknown>): Promise<Child> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, SERVER);
  try {
    return await start([file, JSON.stringify(options)], (line) => Number(line));
  } finally {
    await Deno.remove(file);
  }
}

async function dial(port: number, what: string): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  conn.setNoDelay(true);
  await conn.write(new TextEncoder().encode(what));
  return conn;
}

function rawEcho(conn: Deno.Conn): () => Promise<unknown> {
  const bytes = new Uint8Array(64);
  const buffer = new Uint8Array(128 << 10);
  return async () => {
    await conn.write(bytes);
    await conn.read(buffer);
  };
}

/** With `kept`, the bytes end up in one array, as a value does: new memory costs more than the socket. */
async function rawReceive(port: number, kept: boolean): Promise<number> {
  const start = performance.now();
  using conn = await dial(port, "s");
  const buffer = new Uint8Array(128 << 10);
  const whole = kept ? new Uint8Array(SIZE) : undefined;
  for (let got = 0; got < SIZE;) {
    const length = (await conn.read(buffer))!;
    whole?.set(buffer.subarray(0, length), got);
    got += length;
  }
  return rate(SIZE, performance.now() - start);
}

/** The same as a stream of pieces that are the reader's own, as a stream of ours is. */
async function rawStream(port: number): Promise<number> {
  const start = performance.now();
  const conn = await dial(port, "s");
  let got = 0;
  for await (const bytes of conn.readable) {
    got += bytes.length;
    if (got >= SIZE) break;
  }
  return rate(SIZE, performance.now() - start);
}

/** `streamed`, the other side reads such a stream. */
async function rawSend(port: number, streamed: boolean): Promise<number> {
  const start = performance.now();
  using conn = await dial(port, streamed ? "d" : "r");
  const piece = new Uint8Array(64 << 10);
  for (let sent = 0; sent < SIZE; sent += piece.length) {
    for (let at = 0; at < piece.length;) at += await conn.write(piece.subarray(at));
  }
  await conn.read(piece);
  return rate(SIZE, performance.now() - start);
}

function reach(port: number, token?: string): Promise<Connection<"deno">> {
  return connect(`daemon:127.0.0.1:${port}`, {
    token,
    keepAlive: false,
    stdout: "null",
    stderr: "null",
  });
}

/** What one CPU for both processes shows best. */
export async function latency(): Promise<Row[]> {
  const raw = await startRaw();
  const server = await startServer({ allowInsecure: true });
  const con = await reach(server.port);
  using conn = await dial(raw.port, "e");
  const [floor, call] = await inTurns(
    9,
    ...[rawEcho(conn), () => con.globals.Math.abs(1)].map((once) => async () =>
      percentile(await latencies(once), 50)
    ),
  ) as [number, number];
  const first = async (port: number, token?: string) => {
    const start = performance.now();
    const con = await reach(port, token);
    await con.eval("1 + 1");
    const time = performance.now() - start;
    await con.close();
    return time;
  };
  await medianOf(10, () => first(server.port));
  const open = await medianOf(30, () => first(server.port));
  const guarded = await startServer({ token: "token" });
  await medianOf(10, () => first(guarded.port, "token"));
  const proven = await medianOf(30, () => first(guarded.port, "token"));
  await con.close();
  await Promise.all([raw.end(), server.end(), guarded.end()]);
  return [
    {
      what: "call over TCP, p50",
      value: call,
      unit: "µs",
      floor: { what: "raw echo over `Deno.connect`", value: floor },
      goal: "1.2 × floor",
    },
    { what: "connect + first result, open server", value: open, unit: "ms", goal: "3 ms" },
    { what: "connect + first result, with a token", value: proven, unit: "ms", goal: "3 ms" },
  ];
}

/** What two CPUs show best. */
export async function throughput(): Promise<Row[]> {
  const rows: Row[] = [];
  const raw = await startRaw();
  const server = await startServer({ allowInsecure: true });
  const con = await reach(server.port);
  await con.execute(`
    const blob = new Uint8Array(${SIZE}).fill(7);
    function take(bytes) { return bytes.length; }
    ${STREAMS}
  `);
  const take = await con.eval("take") as (bytes: Uint8Array) => Promise<number>;
  const data = new Uint8Array(SIZE).fill(7);
  const timed = (work: () => Promise<unknown>) => async () => {
    const start = performance.now();
    await work();
    return rate(SIZE, performance.now() - start);
  };
  const [arrayIn, arrayOut, into, out, received, kept, streamed, sent, drained] = await inTurns(
    15,
    timed(() => con.eval("blob")),
    timed(() => take(data)),
    timed(() => streamIn(con, SIZE)),
    timed(() => streamOut(con, SIZE)),
    () => rawReceive(raw.port, false),
    () => rawReceive(raw.port, true),
    () => rawStream(raw.port),
    () => rawSend(raw.port, false),
    () => rawSend(raw.port, true),
  ) as [number, number, number, number, number, number, number, number, number];
  const compared: [string, number, string, number][] = [
    ["one 64 MiB array, in", arrayIn, "a raw socket, its bytes kept", kept],
    ["one 64 MiB array, in", arrayIn, "a raw socket, thrown away", received],
    ["one 64 MiB array, out", arrayOut, "a raw socket, its bytes kept", kept],
    ["one 64 MiB array, out", arrayOut, "a raw socket, thrown away", sent],
    ["64 MiB by stream, in", into, "a raw socket's own stream", streamed],
    ["64 MiB by stream, in", into, "a raw socket, thrown away", received],
    ["64 MiB by stream, out", out, "a raw socket's own stream", drained],
    ["64 MiB by stream, out", out, "a raw socket, thrown away", sent],
  ];
  for (const [what, value, floor, than] of compared) {
    rows.push({
      what,
      value,
      unit: "MB/s",
      floor: { what: floor, value: than },
      // What is thrown away needs no memory: it says what a socket can do, and is no way to receive a value.
      goal: floor.endsWith("away") ? undefined : "0.8 × floor",
    });
  }
  await con.close();
  await server.end();

  const fresh = await startServer({ allowInsecure: true });
  const calls = async (clients: Connection<"deno">[], each: number) => {
    const start = performance.now();
    await Promise.all(clients.map(async ({ globals }) => {
      for (let i = 0; i < each; i++) await globals.Math.abs(i);
    }));
    return clients.length * each / (performance.now() - start) * 1e3;
  };
  const clients = await Promise.all(Array.from({ length: 64 }, () => reach(fresh.port)));
  await calls(clients, 50);
  const one = await medianOf(5, () => calls(clients.slice(0, 1), 3000));
  rows.push({
    what: "64 clients that call at once",
    value: await medianOf(5, () => calls(clients, 200)),
    unit: "/s",
    floor: { what: "one client", value: one },
    goal: "not below one",
  });
  await Promise.all(clients.map((client) => client.close()));
  await fresh.end();
  await raw.end();

  const idle = await startServer({ allowInsecure: true });
  const observer = await reach(idle.port);
  const memory = async () => {
    await observer.eval("globalThis.gc?.()");
    return await observer.eval<number>("Deno.memoryUsage().rss") as number;
  };
  const warm = await Promise.all(Array.from({ length: 100 }, () => reach(idle.port)));
  const before = await memory();
  const more = await Promise.all(Array.from({ length: 1000 }, () => reach(idle.port)));
  const after = await memory();
  rows.push({
    what: "memory of an idle client, at the server",
    value: (after - before) / 1000 / 1000,
    unit: "kB",
    goal: "100 kB",
  });
  await Promise.all([...warm, ...more, observer].map((client) => client.close()));
  await idle.end();
  return rows;
}

if (import.meta.main) {
  if (Deno.args.includes("--latency")) print("Latency, `daemon:`", await latency());
  else print("Throughput, `daemon:`", await throughput());
}
