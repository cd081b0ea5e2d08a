import { assert, assertEquals } from "@std/assert";
import { connect, type Connection } from "../../mod.ts";
import { Popen } from "../../transport/local.ts";
import { type Descriptors, STANDARD, WidePipes } from "../../transport/wide_pipes.ts";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { outcome, startProgram } from "./program.ts";

const USUAL = 64 << 10;
const WIDE = [128 << 10, 256 << 10];
/** More than either. */
const MORE = 1 << 20;

const linux = requiresThat(Deno.build.os === "linux", "no /proc here", "run the tests on Linux");

/** How much a pipe of a process holds, or is to hold from now on. A program of its own could run this too. */
function pipeSize(pid: number, descriptor: number, wanted?: number): number {
  const libc = Deno.dlopen("libc.so.6", {
    open: { parameters: ["buffer", "i32"], result: "i32" },
    fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const { open, fcntl, close } = libc.symbols;
  const fd = open(new TextEncoder().encode(`/proc/${pid}/fd/${descriptor}\0`), 0o4000);
  // F_GETPIPE_SZ and F_SETPIPE_SZ of fcntl(2).
  const size = wanted === undefined ? fcntl(fd, 1032, 0) : fcntl(fd, 1031, wanted);
  close(fd);
  libc.close();
  return size;
}

const sizes = (pid: number, pair: Descriptors) => pair.map((each) => pipeSize(pid, each));

const LARGE = new Uint8Array(4 << 20).fill(1);

// deno-lint-ignore no-explicit-any
async function takesIn(con: Connection<any>): Promise<void> {
  const python = con.interpreter.runtime === "python";
  const code = python ? `b"\\1" * ${LARGE.length}` : `new Uint8Array(${LARGE.length}).fill(1)`;
  assertEquals((await con.eval(code) as Uint8Array).length, LARGE.length);
}

// deno-lint-ignore no-explicit-any
async function goesOut(con: Connection<any>): Promise<void> {
  const python = con.interpreter.runtime === "python";
  const length = await con.eval(python ? "len" : "(x) => x.length");
  assertEquals(await (length as (bytes: Uint8Array) => Promise<number>)(LARGE), LARGE.length);
}

const RUNTIMES = { deno: linux, node: requires("node"), python: requires("python3") };

for (const runtime of ["deno", "node", "python"] as const) {
  Deno.test({
    name: `much that comes from, or goes to, an agent of ${runtime} goes through wide pipes`,
    ...requiresAll(linux, RUNTIMES[runtime]),
    async fn() {
      await using guard = leakGuard({ grace: 5000 });
      for (const way of ["in", "out"]) {
        await using con = await connect("local:", { runtime, env: guard.env });
        const { pid } = con.interpreter;
        for (let i = 0; i < 1000; i++) await con.eval("1");
        assertEquals(sizes(pid, [3, 4]), [USUAL, USUAL]);
        if (way === "in") await takesIn(con);
        else await goesOut(con);
        // Python can do the same by itself, and does more.
        const now = sizes(pid, [3, 4]);
        if (runtime === "python") assert(now.every((size, i) => size >= WIDE[i]!), `${now}`);
        else assertEquals(now, WIDE);
      }
    },
  });
}

Deno.test({
  name: "without the permission ffi pipes are as they were",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const program = startProgram(
      guard,
      `await using con = await connect("local:");
      const bytes = await con.eval("new Uint8Array(${LARGE.length})");
      const size = await con.eval(${JSON.stringify(`(${pipeSize})`)});
      console.log(bytes.length, await size(con.interpreter.pid, 3), await size(con.interpreter.pid, 4));`,
      { flags: ["--allow-read", "--allow-run", "--allow-env"] },
    );
    const { code, stdout, stderr } = await outcome(program);
    assertEquals(
      { code, stdout, stderr },
      { code: 0, stdout: `${LARGE.length} ${USUAL} ${USUAL}\n`, stderr: "" },
    );
  },
});

/** A process that gives back what it reads, as its `pipes`; it runs when this resolves. */
async function startCat(guard: LeakGuard, processes: AsyncDisposableStack) {
  const child = new Deno.Command("cat", {
    env: guard.env,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const pipes = new WidePipes(child.pid, [[3, 4], STANDARD]);
  // Until it runs, its descriptors may still be this program's.
  const writer = child.stdin.getWriter();
  await writer.write(Uint8Array.of(1));
  const reader = child.stdout.getReader();
  await reader.read();
  processes.defer(async () => {
    await writer.close();
    pipes.release();
    await child.status;
    await reader.cancel();
  });
  return { pid: child.pid, pipes };
}

Deno.test({
  name: "a program has no more than 64 wide pipes, and gets them back from processes that ended",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    await using processes = new AsyncDisposableStack();
    const start = () => startCat(guard, processes);
    const all = await Promise.all(Array.from({ length: 34 }, start));
    for (const { pipes } of all) pipes.widen();
    const wide = () =>
      all.map(({ pid }) => sizes(pid, STANDARD).every((size, i) => size === WIDE[i]));
    assertEquals(wide(), all.map((_, index) => index < 32));
    all[0]!.pipes.release();
    all[1]!.pipes.release();
    // Once is all that is tried: another process may have what was given back.
    all[32]!.pipes.widen();
    assertEquals(wide()[32], false);
    const next = await start();
    next.pipes.widen();
    assertEquals(sizes(next.pid, STANDARD), WIDE);
  },
});

Deno.test({
  name: "what has not both pipes, or has ended, is left alone, and takes nothing from the others",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    await using processes = new AsyncDisposableStack();
    const child = new Deno.Command("cat", {
      env: guard.env,
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const pipes = new WidePipes(child.pid, [[3, 4], STANDARD]);
    pipes.widen();
    assertEquals(pipeSize(child.pid, 0), USUAL);
    pipes.release();
    await child.stdin.close();
    await child.status;
    for (let i = 0; i < 100; i++) new WidePipes(child.pid, [STANDARD]).widen();
    const { pid, pipes: others } = await startCat(guard, processes);
    others.widen();
    assertEquals(sizes(pid, STANDARD), WIDE);
  },
});

Deno.test({
  name:
    "a process that is no agent has its standard input and output widened when that is asked for",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const command = ["sh", "-c", "echo $$; exec cat"];
    await using transport = await Popen(command, { address: "", env: guard.env });
    const reader = transport.stdout.getReader();
    const pid = Number(new TextDecoder().decode((await reader.read()).value));
    assertEquals(sizes(pid, STANDARD), [USUAL, USUAL]);
    transport.expectMuch!();
    transport.expectMuch!();
    assertEquals(sizes(pid, STANDARD), WIDE);
    reader.releaseLock();
  },
});

Deno.test({
  name: "pipes that are not this program's, and pipes that hold more, are left as they are",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    await using processes = new AsyncDisposableStack();
    // What the second one reads is a pipe between the two, whatever it writes to.
    const command = ["sh", "-c", "sleep 60 | cat & echo $!; read x; kill $!"];
    await using transport = await Popen(command, { address: "", env: guard.env });
    const reader = transport.stdout.getReader();
    const foreign = Number(new TextDecoder().decode((await reader.read()).value));
    reader.releaseLock();
    new WidePipes(foreign, [STANDARD]).widen();
    assertEquals(sizes(foreign, STANDARD), [USUAL, USUAL]);
    const { pid, pipes } = await startCat(guard, processes);
    for (const descriptor of STANDARD) pipeSize(pid, descriptor, MORE);
    pipes.widen();
    assertEquals(sizes(pid, STANDARD), [MORE, MORE]);
  },
});
