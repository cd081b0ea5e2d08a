/**
 * A conversation over every transport that breaks off: after every n-th byte, or by standing still.
 */

import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import {
  AuthenticationError,
  BootstrapError,
  ConnectionError,
  ConnectionLostError,
  type ConnectOptions,
  RemoteError,
} from "../../mod.ts";
import { type Anything, type Row, SERVERS } from "../matrix.ts";
import { CONVERSATION, converse } from "../protocol/conversation.ts";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";
import { requiresAll, requiresThat } from "../support/requirement.ts";
import {
  type Address,
  type Break,
  type Direction,
  type Fault,
  faultyInterpreter,
  FaultyLink,
} from "./link.ts";
import { PLACES } from "./places.ts";

/** Connects over a link that breaks, or does not. */
async function connectOver(
  row: Row,
  guard: LeakGuard,
  options: ConnectOptions,
  how?: Break,
): Promise<{ opening: Promise<Anything>; link?: FaultyLink }> {
  if (row.transport === "local") {
    const program = row.runtime === "deno" ? Deno.execPath() : findProgram(PROGRAMS[row.runtime])!;
    const never: Break = { direction: "to client", after: 1e9, fault: "cut" };
    const interpreter = await faultyInterpreter(guard, program, how ?? never);
    return { opening: row.connect(guard, { interpreter, ...options }) };
  }
  const link = new FaultyLink(addressOf(row), guard, how);
  const { port, path } = link.address as { port: number; path: string };
  const { tls, smb, ssh } = SERVERS;
  const servers = {
    ...SERVERS,
    tcp: port,
    unix: path,
    tls: tls && { ...tls, port },
    smb: smb && { ...smb, port },
    ssh: ssh && { ...ssh, port, knownHosts: `${guard.folder}/known_hosts_${port}` },
  };
  if (ssh) {
    const known = await Deno.readTextFile(ssh.knownHosts);
    await Deno.writeTextFile(servers.ssh!.knownHosts, known.replace(`:${ssh.port} `, `:${port} `));
  }
  return { link, opening: row.connect(guard, options, servers) };
}

const PROGRAMS = { deno: "node", node: "node", bun: "bun", python: "python3" } as const;

function addressOf({ name, transport }: Row): Address {
  if (name.includes("unix")) return { path: SERVERS.unix };
  const port = name.includes("tls")
    ? SERVERS.tls!.port
    : transport === "smb"
    ? SERVERS.smb!.port
    : transport === "ssh"
    ? SERVERS.ssh!.port
    : SERVERS.tcp;
  return { port };
}

/** Holds the conversation over a connection. */
function converseOver(row: Row, con: Anything): Promise<unknown>[] {
  let root: Anything;
  if (row.runtime === "python") {
    root = con.scope();
    con.execute(CONVERSATION.python, root).catch(() => {});
  } else {
    root = con.eval(CONVERSATION.javascript);
    root.catch(() => {});
  }
  return converse({ root, client: { ping: async () => await con.eval("1 + 1") } });
}

/** The conversation over a link that breaks: everything settles, and nothing is left of the connection. */
async function breakOff(row: Row, guard: LeakGuard, options: ConnectOptions, how: Break) {
  const { opening, link } = await connectOver(row, guard, options, how);
  await using _ = link;
  let con: Anything;
  try {
    con = await opening;
  } catch (error) {
    const expected = [BootstrapError, ConnectionError, ConnectionLostError, AuthenticationError];
    assert(expected.some((type) => error instanceof type), `${error}`);
    return;
  }
  for (const result of await settled(converseOver(row, con))) {
    if (result.status === "rejected") assertInstanceOf(result.reason, Error);
  }
  await con.close();
  const { pending, localRefs, remoteRefs } = con.stats;
  assertEquals([pending, localRefs, remoteRefs], [0, 0, 0]);
}

/** What became of them; it fails where one never settles. */
async function settled(promises: Promise<unknown>[]): Promise<PromiseSettledResult<unknown>[]> {
  const open = new Set(promises.keys());
  for (const [index, promise] of promises.entries()) {
    const done = () => open.delete(index);
    promise.then(done, done);
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`never settled: ${[...open]}`)), 20_000);
  });
  try {
    return await Promise.race([Promise.allSettled(promises), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** How many places a link is broken in, each way: a login and a start take their time. */
function placesOf({ name, transport }: Row): number {
  if (transport === "ssh" || /local × (node|bun)/.test(name)) return 3;
  return transport === "local" || name.includes("unix") ? 8 : transport === "smb" ? 10 : 30;
}

/** Breaks the conversation in so many places each way, a few at a time. */
async function eachBreak(
  row: Row,
  fault: Fault,
  places: number,
  options: ConnectOptions,
): Promise<void> {
  await using guard = leakGuard({ grace: 5000 });
  await using honest = await row.connect(guard);
  const whole = await connectOver(row, guard, {});
  const sizes: Record<Direction, number> = { "from client": 120_000, "to client": 60_000 };
  {
    await using _ = whole.link;
    await using con = await whole.opening;
    await settled(converseOver(row, con));
    if (whole.link) Object.assign(sizes, whole.link.passed);
    else {
      sizes["from client"] = con.stats.bytesSent;
      sizes["to client"] = con.stats.bytesReceived;
    }
  }
  const left: Break[] = [];
  for (const direction of ["from client", "to client"] as const) {
    for (let i = 0; i < places; i++) {
      left.push({ direction, fault, after: Math.floor(i * sizes[direction] / places) + i });
    }
  }
  const failed: string[] = [];
  const one = async () => {
    for (let how = left.shift(); how; how = left.shift()) {
      await breakOff(row, guard, options, how).catch((error) =>
        failed.push(`${JSON.stringify(how)}: ${error.stack}`)
      );
    }
  };
  await Promise.all(Array.from({ length: 6 }, one));
  assertEquals(failed, []);
  assertEquals(await (honest as Anything).eval("1 + 1"), 2);
}

/** A silence is waited for in two places each way. */
const SILENT = { connectTimeout: 1500, keepAlive: { interval: 300, whileBusy: true } };

for (const row of PLACES) {
  const test = (name: string, fault: Fault, places: number, options: ConnectOptions) =>
    Deno.test({
      name: `${row.name}: ${name}: all settles, and nothing is left`,
      ignore: row.requirement.ignore,
      fn: () => eachBreak(row, fault, places, options),
    });
  test("cut after every n-th byte", "cut", placesOf(row), {});
  test("standing still after every n-th byte", "stalled", 2, SILENT);
  if (row.transport === "local") {
    test("its output closed after every n-th byte", "closed", 2, { closeTimeout: 100 });
  }
}

/** A file system that is full after 64 KiB. */
class FullDisk implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async mount(folder: string): Promise<FullDisk> {
    await Deno.mkdir(folder);
    const args = ["-t", "tmpfs", "-o", "size=64k", "full", folder];
    const { success, stderr } = await new Deno.Command("mount", { args }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return new FullDisk(folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { success, stderr } = await new Deno.Command("umount", { args: ["-l", this.#folder] })
      .output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  }
}

async function mayMount(): Promise<boolean> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const { success } = await new Deno.Command("unshare", { args: ["-m", "true"] }).output()
    .catch(() => ({ success: false }));
  return success;
}

const disks = requiresThat(
  await mayMount(),
  "no file system can be mounted here: a full one is",
  "run the tests as root, with CAP_SYS_ADMIN",
);

for (const row of PLACES) {
  Deno.test({
    name: `${row.name}: a full disk fails what writes to it, and nothing else`,
    ignore: requiresAll(row.requirement, disks).ignore,
    async fn() {
      await using guard = leakGuard();
      const full = `${guard.folder}/full`;
      await using _ = await FullDisk.mount(full);
      await using con: Anything = await row.connect(guard);
      const path = `${guard.folder}/large`;
      await Deno.writeFile(path, new Uint8Array(1 << 20));
      await assertRejects(() => con.putfile(path, `${full}/copy`));
      assertEquals([...Deno.readDirSync(full)], []);
      const write = row.runtime === "python"
        ? con.eval(`open(${JSON.stringify(`${full}/x`)}, "wb").write(bytes(1 << 20))`)
        : con.modules.fs.writeFileSync(`${full}/x`, new Uint8Array(1 << 20));
      const error = await assertRejects(async () => await write, RemoteError);
      assert(/No space left|ENOSPC|os error 28/.test(error.message), error.message);
      assertEquals(await con.eval("1 + 1"), 2);
    },
  });
}
