/**
 * How fast the ssh transport is, beside OpenSSH's own programs and npm:ssh2's own ways, over an
 * sshd of its own on a loopback port. Every row's floor is measured in the same run, in turns.
 *
 *     deno run -A bench/ssh.ts [MiB of the file, default 256] [connect | link | echo | bytes | files …]
 *
 * @module
 */

import { connect } from "../mod.ts";
import { Popen, type SshOptions } from "../transport/ssh.ts";
import { loadLibraries, type Ssh2Client } from "../transport/ssh/ssh2_library.ts";
import { lacking, reach, run, startSshd, whoami } from "../tests/ssh/servers.ts";
import { startSlowProxy } from "../tests/ssh/slow_proxy.ts";

if (lacking("sshd", "ssh", "scp", "sftp", "ssh-keygen")) Deno.exit(1);

const MIB = Number(Deno.args[0] ?? 256);
const SIZE = MIB * 1_048_576;
const CHOSEN = Deno.args.slice(1);
const wanted = (part: string) => CHOSEN.length === 0 || CHOSEN.includes(part);
/** A login, and a copy, may take a quarter longer than the one before. */
const ROUNDS = 9;
const CALLS = 2000;
const USER = await whoami();
const DENO_EVAL = `${Deno.execPath()} eval 'console.log(1)'`;

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Runs each of the works in turn, some rounds, and gives the medians of what they return. */
async function turns<K extends string>(
  works: Record<K, () => Promise<number>>,
): Promise<Record<K, number>> {
  const seen = {} as Record<K, number[]>;
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of Object.keys(works) as K[]) (seen[name] ??= []).push(await works[name]());
  }
  const result = {} as Record<K, number>;
  for (const name of Object.keys(works) as K[]) result[name] = median(seen[name]);
  return result;
}

function row(name: string, value: number, unit: string, floor?: number, goal?: string): void {
  const ratio = floor === undefined ? "" : `${(value / floor).toFixed(2)} × the floor`;
  console.log(
    `${name.padEnd(44)}${value.toFixed(value < 10 ? 2 : 0).padStart(8)} ${unit.padEnd(5)} ` +
      `${ratio.padEnd(18)} ${goal ?? ""}`,
  );
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

const rate = async (work: () => Promise<unknown>) => SIZE / 1000 / await timed(work);

await using server = await startSshd();
const options: SshOptions = reach(server);
const connection = [
  ...["-F", "none", "-i", server.key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"],
  ...["-o", `UserKnownHostsFile=${server.knownHosts}`, "-o", "LogLevel=ERROR"],
];
const port = String(server.port);
const source = `${server.folder}/source`, target = `${server.folder}/target`;
{
  using file = await Deno.open(source, { write: true, create: true });
  const block = new Uint8Array(1_048_576);
  for (let i = 0; i < block.length; i += 65536) {
    crypto.getRandomValues(block.subarray(i, i + 65536));
  }
  for (let i = 0; i < MIB; i++) {
    for (let done = 0; done < block.length;) done += await file.write(block.subarray(done));
  }
}

interface Pair {
  read(buffer: Uint8Array): Promise<number | null>;
  write(chunk: Uint8Array): Promise<void>;
}

async function echo({ read, write }: Pair, calls = CALLS): Promise<number> {
  const chunk = new Uint8Array(64).fill(65), buffer = new Uint8Array(65536);
  const times: number[] = [];
  for (let i = 0; i < calls + 100; i++) {
    const start = performance.now();
    await write(chunk);
    for (let got = 0; got < chunk.length;) got += (await read(buffer))!;
    if (i >= 100 || calls < 100) times.push(performance.now() - start);
  }
  return median(times) * 1000;
}

async function transportEcho(more: Partial<SshOptions>): Promise<number> {
  await using transport = await Popen(["cat"], { ...options, ...more });
  const { channel } = transport;
  return await echo({ read: (b) => channel!.read(b), write: (c) => channel!.write(c) });
}

// The floor: the same calls on a child that is ssh itself.
async function plainSsh<T>(
  command: string,
  work: (pair: Pair, end: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const child = new Deno.Command("ssh", {
    args: ["-T", ...connection, "-p", port, "127.0.0.1", command],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader({ mode: "byob" });
  const writer = child.stdin.getWriter();
  let spare = new ArrayBuffer(65536);
  const read = async () => {
    const { value, done } = await reader.read(new Uint8Array(spare));
    if (value) spare = value.buffer as ArrayBuffer;
    return done ? null : value.length;
  };
  const result = await work({ read, write: (chunk) => writer.write(chunk) }, async () => {
    await writer.close();
    await child.status;
  });
  await writer.close().catch(() => {});
  while (await read() !== null);
  await child.status;
  return result;
}

// The library by itself: its own socket, its own choice of cipher.
async function bareLibrary(noDelay = true): Promise<BareClient> {
  const { ssh2 } = await loadLibraries();
  const { Buffer } = await import("node:buffer");
  const client = new ssh2.Client() as BareClient;
  await new Promise((resolve, reject) => {
    client.on("ready", () => resolve(undefined)).on("error", reject);
    client.connect({
      host: "127.0.0.1",
      port: server.port,
      username: USER,
      privateKey: Buffer.from(Deno.readTextFileSync(server.key)),
    });
  });
  if (noDelay) client.setNoDelay(true);
  return client;
}

interface BareClient extends Ssh2Client {
  setNoDelay(on: boolean): void;
  sftp(callback: (error: Error | undefined, sftp: FastSftp) => void): void;
}

interface FastSftp {
  fastGet(from: string, to: string, callback: (error?: Error) => void): void;
  fastPut(from: string, to: string, callback: (error?: Error) => void): void;
}

async function libraryEcho(noDelay: boolean, calls: number): Promise<number> {
  const client = await bareLibrary(noDelay);
  const closed = new Promise<void>((done) => client.on("close", () => done()));
  const pair = await new Promise<Pair>((resolve, reject) => {
    client.exec("cat", (error, channel) => {
      if (error) return reject(error);
      let have = 0;
      let wake: (() => void) | undefined;
      channel.on("data", (data: Uint8Array) => {
        have += data.length;
        wake?.();
      });
      resolve({
        read: async () => {
          while (have === 0) await new Promise<void>((done) => wake = done);
          const count = have;
          have = 0;
          return count;
        },
        write: (chunk) => {
          channel.write(chunk, () => {});
          return Promise.resolve();
        },
      });
    });
  });
  const result = await echo(pair, calls);
  client.end();
  await closed;
  return result;
}

console.log(`ssh over loopback, medians of ${ROUNDS} rounds, ${MIB} MiB\n`);

if (wanted("connect")) {
  const seen = await turns({
    floor: () => timed(() => plainSsh("echo x", ({ read }) => read(new Uint8Array(9)))),
    native: () =>
      timed(async () => {
        await using transport = await Popen(["echo", "x"], { ...options, useNative: true });
        await transport.channel!.read(new Uint8Array(9));
      }),
    ssh2: () =>
      timed(async () => {
        await using transport = await Popen(["echo", "x"], { ...options, useNative: false });
        await transport.channel!.read(new Uint8Array(9));
      }),
  });
  await using _held = await Popen(["cat"], { ...options, useNative: true, controlMaster: true });
  const reused = await turns({
    native: () =>
      timed(async () => {
        await using transport = await Popen(["echo", "x"], {
          ...options,
          useNative: true,
          controlMaster: true,
        });
        await transport.channel!.read(new Uint8Array(9));
      }),
  });
  row("connect, first byte and end: ssh host echo", seen.floor, "ms");
  row("  native", seen.native, "ms", seen.floor);
  row("  ssh2", seen.ssh2, "ms", seen.floor);
  row("  native, shared connection", reused.native, "ms", seen.floor);
}
// Until a program on the other side has written a byte; its end is not measured.
async function firstByte(words: string[], to = server.port, command = DENO_EVAL): Promise<number> {
  const start = performance.now();
  const child = new Deno.Command("ssh", {
    // The first value of an option counts.
    args: ["-T", ...words, ...connection, "-p", String(to), "127.0.0.1", command],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new Uint8Array(1));
  const reader = child.stdout.getReader();
  await reader.read();
  const time = performance.now() - start;
  await writer.close().catch(() => {});
  while (!(await reader.read()).done);
  await child.status;
  return time;
}

// Until an interpreter on the other side has given the first result.
async function firstResult(more: Partial<SshOptions>, to = server.port): Promise<number> {
  const { address: _address, ...rest } = { ...options, ...more };
  const start = performance.now();
  await using con = await connect(`ssh:127.0.0.1:${to}`, {
    ...rest,
    interpreter: Deno.execPath(),
  });
  await con.eval("1");
  return performance.now() - start;
}

if (wanted("connect")) {
  const socket = `${server.folder}/master`;
  const master = new Deno.Command("ssh", {
    args: ["-M", "-N", "-S", socket, ...connection, "-p", port, "127.0.0.1"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await using _held = await Popen(["cat"], { ...options, useNative: true, controlMaster: true });
  while (await Deno.lstat(socket).then(() => false, () => true));
  const seen = await turns({
    floor: () => firstByte([]),
    native: () => firstResult({ useNative: true }),
    ssh2: () => firstResult({ useNative: false }),
    sharedFloor: () => firstByte(["-S", socket]),
    shared: () => firstResult({ useNative: true, controlMaster: true }),
  });
  master.kill();
  await master.status;
  row("first byte: ssh host deno eval", seen.floor, "ms");
  row("  connect + first result, native", seen.native, "ms", seen.floor, "goal 1.1");
  row("  connect + first result, ssh2", seen.ssh2, "ms", seen.floor);
  row("the same through a ControlMaster", seen.sharedFloor, "ms");
  row("  connect + first result, native, shared", seen.shared, "ms", seen.sharedFloor, "goal 1.2");
}
if (wanted("link")) {
  const known = `${server.folder}/every_port`;
  const [type, blob] = (await Deno.readTextFile(`${server.hostKey}.pub`)).split(" ");
  await Deno.writeTextFile(known, `* ${type} ${blob}\n`);
  const far = async (work: (port: number) => Promise<unknown>) => {
    await using proxy = startSlowProxy(server.port, 25);
    await work(proxy.port);
    return proxy.turns();
  };
  const words = ["-o", `UserKnownHostsFile=${known}`];
  const seen = await turns({
    floor: () => far((to) => firstByte(words, to, "cat")),
    native: () => far((to) => firstResult({ useNative: true, knownHosts: known }, to)),
    ssh2: () => far((to) => firstResult({ useNative: false, knownHosts: known }, to)),
  });
  row("round trips: echo through ssh host cat", seen.floor, "");
  row("  connect + first result, native", seen.native - seen.floor, "more");
  row("  connect + first result, ssh2", seen.ssh2 - seen.floor, "more");
}
if (wanted("echo")) {
  const seen = await turns({
    floor: () => plainSsh("cat", (pair) => echo(pair)),
    native: () => transportEcho({ useNative: true }),
    ssh2: () => transportEcho({ useNative: false }),
    library: () => libraryEcho(true, CALLS),
    nagle: () => libraryEcho(false, 20),
  });
  row("echo of 64 bytes, p50: ssh host cat", seen.floor, "µs");
  row("  native", seen.native, "µs", seen.floor, "goal 1.2");
  row("  npm:ssh2 by itself", seen.library, "µs");
  row("  ssh2", seen.ssh2, "µs", seen.library, "goal 1.2 of npm:ssh2 by itself");
  row("  npm:ssh2 with Nagle's algorithm", seen.nagle, "µs", undefined, "why it is off");
}
if (wanted("bytes")) {
  const drain = async ({ read }: { read: Pair["read"] }) => {
    const buffer = new Uint8Array(262_144);
    while (await read(buffer) !== null);
  };
  const fill = async ({ write }: { write: Pair["write"] }) => {
    const block = new Uint8Array(262_144);
    for (let sent = 0; sent < SIZE; sent += block.length) await write(block);
  };
  const both = (useNative: boolean) => ({
    in: () =>
      rate(async () => {
        await using transport = await Popen(["cat", source], { ...options, useNative });
        await drain({ read: (buffer) => transport.channel!.read(buffer) });
      }),
    out: () =>
      rate(async () => {
        await using transport = await Popen(["sh", "-c", "cat > /dev/null"], {
          ...options,
          useNative,
        });
        await fill({ write: (chunk) => transport.channel!.write(chunk) });
      }),
  });
  const native = both(true), own = both(false);
  const seen = await turns({
    floorIn: () => rate(() => plainSsh(`cat ${source}`, drain)),
    nativeIn: native.in,
    ssh2In: own.in,
    floorOut: () =>
      rate(() =>
        plainSsh("cat > /dev/null", async (pair, end) => {
          await fill(pair);
          await end();
        })
      ),
    nativeOut: native.out,
    ssh2Out: own.out,
  });
  row("bytes in, with the connect: ssh host cat", seen.floorIn, "MB/s");
  row("  native", seen.nativeIn, "MB/s", seen.floorIn, "goal 0.85");
  row("  ssh2", seen.ssh2In, "MB/s", seen.floorIn);
  row("bytes out, with the connect: ssh host cat", seen.floorOut, "MB/s");
  row("  native", seen.nativeOut, "MB/s", seen.floorOut, "goal 0.85");
  row("  ssh2", seen.ssh2Out, "MB/s", seen.floorOut);
}
if (wanted("files")) {
  const fresh = async (work: () => Promise<unknown>) => {
    await Deno.remove(target).catch(() => {});
    return await rate(work);
  };
  const batch = async (line: string) => {
    const file = `${server.folder}/batch`;
    await Deno.writeTextFile(file, line);
    await run("sftp", "-q", ...connection, "-P", port, "-b", file, "127.0.0.1");
  };
  // Until its own command runs, so that its login is not measured with the copy's.
  const connected = async (useNative: boolean) => {
    const transport = await Popen(["cat"], { ...options, useNative });
    await transport.channel!.write(new Uint8Array(1));
    await transport.channel!.read(new Uint8Array(1));
    return transport;
  };
  const copy = (useNative: boolean) => ({
    get: async () => {
      await using transport = await connected(useNative);
      return await fresh(() => transport.getfile!(source, target));
    },
    put: async () => {
      await using transport = await connected(useNative);
      return await fresh(() => transport.putfile!(source, target));
    },
  });
  const fast = (name: "fastGet" | "fastPut") => async () => {
    const client = await bareLibrary();
    const closed = new Promise<void>((done) => client.on("close", () => done()));
    const sftp = await new Promise<FastSftp>((resolve, reject) =>
      client.sftp((error, made) => error ? reject(error) : resolve(made))
    );
    const result = await fresh(() =>
      new Promise<void>((resolve, reject) =>
        sftp[name](source, target, (error) => error ? reject(error) : resolve())
      )
    );
    client.end();
    await closed;
    return result;
  };
  const native = copy(true), own = copy(false);
  for (const way of ["get", "put"] as const) {
    const get = way === "get";
    const seen = await turns({
      scp: () =>
        fresh(() =>
          run(
            "scp",
            "-q",
            ...connection,
            "-P",
            port,
            ...get ? [`127.0.0.1:${source}`, target] : [source, `127.0.0.1:${target}`],
          )
        ),
      sftp: () => fresh(() => batch(`${way} ${source} ${target}\n`)),
      native: native[way],
      fast: fast(get ? "fastGet" : "fastPut"),
      ssh2: own[way],
    });
    const best = Math.max(seen.scp, seen.sftp);
    row(`${way}file: scp`, seen.scp, "MB/s");
    row(`${way}file: sftp`, seen.sftp, "MB/s");
    row("  native, with its own connect", seen.native, "MB/s", best, "goal 1.0 of the better");
    row(`  npm:ssh2's ${get ? "fastGet" : "fastPut"}`, seen.fast, "MB/s");
    row("  ssh2", seen.ssh2, "MB/s", seen.fast, "goal 1.3");
  }
}
