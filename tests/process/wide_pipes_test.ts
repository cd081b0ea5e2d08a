import { assert, assertEquals } from "@std/assert";
import { connect, type Connection } from "../../mod.ts";
import { Popen } from "../../transport/local.ts";
import { type Descriptors, STANDARD, WidePipes } from "../../transport/wide_pipes.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires, requiresThat } from "../support/requirement.ts";
import { outcome, startProgram } from "./program.ts";

const USUAL = 64 << 10;
const WIDE = 256 << 10;

const linux = requiresThat(Deno.build.os === "linux", "no /proc here", "run the tests on Linux");
const python = requires("python3");

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

for (const runtime of ["deno", "node", "python"] as const) {
  Deno.test({
    name: `much that comes from, or goes to, an agent of ${runtime} goes through wide pipes`,
    ...linux,
    ignore: linux.ignore || runtime === "python" && python.ignore ||
      runtime === "node" && requires("node").ignore,
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
        assert(now.every((size) => runtime === "python" ? size >= WIDE : size === WIDE), `${now}`);
      }
    },
  });
}

Deno.test({
  name: "without the permission ffi pipes are as they were, and nobody is asked",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const program = startProgram(
      guard,
      `await using con = await connect("local:");
      const bytes = await con.eval("new Uint8Array(${LARGE.length})");
      const size = await con.eval(${JSON.stringify(`(${pipeSize})`)});
      console.log(bytes.length, await size(con.interpreter.pid, 3), await size(con.interpreter.pid, 4));`,
      { flags: ["--allow-read", "--allow-run", "--allow-env", "--no-prompt"] },
    );
    const { code, stdout, stderr } = await outcome(program);
    assertEquals(
      { code, stdout, stderr },
      { code: 0, stdout: `${LARGE.length} ${USUAL} ${USUAL}\n`, stderr: "" },
    );
  },
});

Deno.test({
  name: "a program has no more than 64 wide pipes, and gets them back from processes that ended",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    await using processes = new AsyncDisposableStack();
    const start = async () => {
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
    };
    const all = await Promise.all(Array.from({ length: 34 }, start));
    for (const { pipes } of all) pipes.widen();
    const wide = () => all.map(({ pid }) => sizes(pid, STANDARD).every((size) => size === WIDE));
    assertEquals(wide(), all.map((_, index) => index < 32));
    all[0]!.pipes.release();
    all[1]!.pipes.release();
    // Once is all that is tried: another process may have what was given back.
    all[32]!.pipes.widen();
    assertEquals(wide()[32], false);
    const next = await start();
    next.pipes.widen();
    assertEquals(sizes(next.pid, STANDARD), [WIDE, WIDE]);
  },
});

Deno.test({
  name: "what has no pipes, or has ended, is left alone",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const child = new Deno.Command("sleep", {
      args: ["60"],
      env: guard.env,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const pipes = new WidePipes(child.pid, [[3, 4], STANDARD]);
    pipes.widen();
    pipes.release();
    child.kill();
    await child.status;
    const gone = new WidePipes(child.pid, [STANDARD]);
    gone.widen();
    gone.release();
    gone.release();
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
    assertEquals(sizes(pid, STANDARD), [WIDE, WIDE]);
    reader.releaseLock();
  },
});

Deno.test({
  name: "pipes that are not this program's, and pipes that hold more, are left as they are",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    // Its standard input is a pipe between the two, whatever its output is.
    const command = ["sh", "-c", "sleep 60 | { echo; exec cat; } & echo $!; read x; kill $!"];
    await using transport = await Popen(command, { address: "", env: guard.env });
    const reader = transport.stdout.getReader();
    let text = "";
    while (!/\d+\n/.test(text)) text += new TextDecoder().decode((await reader.read()).value);
    const pid = Number(/\d+/.exec(text)![0]);
    const foreign = new WidePipes(pid, [STANDARD]);
    foreign.widen();
    assertEquals(sizes(pid, STANDARD), [USUAL, USUAL]);
    reader.releaseLock();
    const more = new Deno.Command("cat", {
      env: guard.env,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    for (const descriptor of STANDARD) pipeSize(more.pid, descriptor, 4 * WIDE);
    const pipes = new WidePipes(more.pid, [STANDARD]);
    pipes.widen();
    assertEquals(sizes(more.pid, STANDARD), [4 * WIDE, 4 * WIDE]);
    pipes.release();
    await more.stdin.close();
    await more.stdout.cancel();
    await more.status;
  },
});
