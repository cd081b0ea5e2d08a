import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { ConnectionClosedError, ConnectionLostError } from "../../mod.ts";
import { capability, type Row } from "../matrix.ts";

const own = { needs: ["javascript", "own process"] } as const;
/** A stopped process behind a daemon of SSH stays as long as the connection, which other tests share. */
const stoppable = { ...own, rows: (row: Row) => row.transport !== "ssh" } as const;

const event = (target: EventTarget, name: string) =>
  new Promise<void>((resolve) => target.addEventListener(name, () => resolve(), { once: true }));

/** How an error came about, for a promise that must fail with one. */
const failure = (promise: PromiseLike<unknown>) =>
  promise.then(() => undefined, (error: unknown) => error);

capability("killing the process rejects every pending call at once", async ({ con, row }) => {
  await con.modules.child_process.spawnSync("sh", ["-c", "echo last words >&2"], {
    stdio: "inherit",
  });
  const never = "new Promise(() => {})";
  const pending = [con.eval(never), con.eval(never), con.eval(never).a.b()].map(failure);
  const stream = await con.eval("new ReadableStream()") as ReadableStream;
  const reading = failure(stream.getReader().read());
  const iterating = failure((async () => {
    for await (const _ of con.eval("(async function* () { await new Promise(() => {}) })()"));
  })());
  await con.eval("1");
  Deno.kill(con.interpreter.pid, "SIGKILL");
  // OpenSSH's client has one number for all that a signal ended.
  const [status, words] = row.name.startsWith("ssh ×")
    ? [
      255,
      "exit status 255 (OpenSSH's client ends with 255 both where its connection broke and where",
    ]
    : ["SIGKILL", "the remote process was ended by SIGKILL"];
  for (const error of await Promise.all([...pending, reading, iterating])) {
    assertInstanceOf(error, ConnectionLostError);
    assertEquals(error.status, status);
    assertStringIncludes(error.stderr, "last words");
    assertStringIncludes(error.message, words);
    assertStringIncludes(error.message, "last words");
  }
  const reason = await con.closed;
  assertInstanceOf(reason, ConnectionLostError);
  const later = await failure(con.eval("1"));
  assert(later === reason);
  await con.close();
  assertEquals(con.stats.pending, 0);
  assertEquals([con.stats.localRefs, con.stats.remoteRefs], [0, 0]);
}, own);

capability("a process that exits gives its exit status", async ({ con }) => {
  const error = await failure(con.eval("process.exit(7)"));
  assertInstanceOf(error, ConnectionLostError);
  assertEquals(error.status, 7);
  assertStringIncludes(error.message, "ended with exit status 7");
}, own);

capability("calls after close, and calls that close cut off, say so", async ({ con }) => {
  const pending = failure(con.eval("new Promise(() => {})"));
  await con.eval("1");
  await con.close();
  assertInstanceOf(await pending, ConnectionClosedError);
  await assertRejects(async () => await con.eval("1"), ConnectionClosedError, "was closed");
  assertInstanceOf(await con.closed, ConnectionClosedError);
  assertStringIncludes(Deno.inspect(con), "closed");
  await con.close();
}, own);

capability("a stopped idle peer is lost within keepAlive", async ({ con }) => {
  await con.eval("1");
  Deno.kill(con.interpreter.pid, "SIGSTOP");
  const waiting = setTimeout(() => {}, 100_000);
  const reason = await con.closed;
  clearTimeout(waiting);
  assertInstanceOf(reason, ConnectionLostError);
  assertStringIncludes(reason.message, "no sign of life");
}, { ...stoppable, connect: { keepAlive: 400, closeTimeout: 100 } });

capability("a busy peer is only called unresponsive, until it answers", async ({ con }) => {
  const unresponsive = event(con as unknown as EventTarget, "unresponsive");
  const responsive = event(con as unknown as EventTarget, "responsive");
  const call = con.eval("new Promise((resolve) => setTimeout(() => resolve('done'), 1))").then((
    x: unknown,
  ) => x);
  Deno.kill(con.interpreter.pid, "SIGSTOP");
  await unresponsive;
  Deno.kill(con.interpreter.pid, "SIGCONT");
  await responsive;
  assertEquals(await call, "done");
}, { ...own, connect: { keepAlive: 300 } });

capability("a peer that computes for long is not lost", async ({ con }) => {
  const busy = con.eval(
    "(() => { const end = Date.now() + 1000; while (Date.now() < end); return 'ok' })()",
  );
  assertEquals(await busy, "ok");
  assertEquals(await con.eval("1"), 1);
}, { ...own, connect: { keepAlive: 200 } });

capability("with whileBusy a silent busy peer is lost", async ({ con }) => {
  const call = failure(con.eval("new Promise(() => {})"));
  await con.eval("1");
  Deno.kill(con.interpreter.pid, "SIGSTOP");
  assertInstanceOf(await call, ConnectionLostError);
}, { ...stoppable, connect: { keepAlive: { interval: 800, whileBusy: true }, closeTimeout: 100 } });

capability(
  "close returns for a stopped agent, and for one that spins",
  async ({ con, row, guard }) => {
    await con.eval("1");
    Deno.kill(con.interpreter.pid, "SIGSTOP");
    await con.close();
    await using other = await row.connect(guard, { closeTimeout: 100 });
    const spinning = failure(other.eval("(() => { for (;;); })()"));
    await other.close();
    assertInstanceOf(await spinning, ConnectionClosedError);
  },
  { ...stoppable, connect: { closeTimeout: 100 } },
);

capability("a peer is not lost because this side did not look", async ({ con }) => {
  await con.eval("1");
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setTimeout(resolve, 130));
    for (const end = Date.now() + 500; Date.now() < end;);
  }
  assertEquals(await con.eval("1"), 1);
}, { ...own, connect: { keepAlive: 400 } });
