/**
 * What clients of one server share, and what they do not.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectionLostError, RemoteError } from "../../mod.ts";
import { leakGuard } from "../support/leaks.ts";
import { daemon, Home, Printed, reach } from "./servers.ts";

Deno.test("a module's state is seen by all", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  await Deno.writeTextFile(
    home.path("counter.mjs"),
    "let n = 0; export const next = () => ++n; export const seen = new Map();",
  );
  await using server = await daemon();
  await using one = await reach(server.port);
  await using two = await reach(server.port);
  const first = await one.import<{ next(): number }>(home.path("counter.mjs"));
  const second = await two.import<{ next(): number }>(home.path("counter.mjs"));
  assertEquals(await first.next(), 1);
  assertEquals(await second.next(), 2);
  assertEquals(await first.next(), 3);
  await one.execute("globalThis.shared = { by: 'one' }");
  assertEquals(await two.eval("shared.by"), "one");
  await two.execute("delete globalThis.shared");
  // What is declared in a connection's own scope is its own.
  await one.execute("let mine = 1");
  await assertRejects(async () => await two.eval("mine"), RemoteError, "mine is not defined");
});

Deno.test("what a call prints goes to the client that made it", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  const printed = [new Printed(), new Printed()] as const;
  const errors = new Printed();
  await using one = await reach(server.port, { stdout: printed[0].stream, stderr: errors.stream });
  await using two = await reach(server.port, { stdout: printed[1].stream });
  const print = `async (text) => {
    console.log(text, 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await Deno.stdout.write(new TextEncoder().encode(text + " 2\\n"));
    (await import("node:process")).default.stdout.write(text + " 3\\n");
    console.error("to stderr");
  }`;
  await Promise.all([
    one.compile(print).then((f: unknown) => (f as (text: string) => Promise<void>)("one")),
    two.compile(print).then((f: unknown) => (f as (text: string) => Promise<void>)("two")),
  ]);
  // A generator runs on behalf of who iterates.
  for await (const _ of one.eval("(function*() { console.log('generated'); yield 1; })()")) break;
  await one.eval("0");
  await two.eval("0");
  assertEquals(printed[0].text, "one 1\none 2\none 3\ngenerated\n");
  assertEquals(printed[1].text, "two 1\ntwo 2\ntwo 3\n");
  assertEquals(errors.text, "to stderr\n");
});

Deno.test("what nobody's call prints is the server's own", async () => {
  await using guard = leakGuard();
  const script = `
    import { run } from ${JSON.stringify(new URL("../../server/run.ts", import.meta.url).href)};
    import { connect } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
    const before = console.log;
    const server = await run({ port: 0, quiet: true, allowInsecure: true });
    console.log("own");
    const con = await connect("daemon:127.0.0.1:" + server.addr.port, { stdout: "null" });
    await con.execute("console.log('theirs'); globalThis.later = () => console.log('of nobody')");
    await con.execute("globalThis.left = new Promise((r) => setTimeout(r, 50)).then(later)");
    await con.close();
    await globalThis.left;
    await server.shutdown();
    console.log("restored", console.log === before, Object.hasOwn(Deno.stdout, "writeSync"));
  `;
  const file = `${guard.folder}/script.ts`;
  await Deno.writeTextFile(file, script);
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", file],
    env: guard.env,
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals(new TextDecoder().decode(stdout), "own\nof nobody\nrestored true false\n");
});

Deno.test("errors that a client's program leaves behind do not end the server", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  const errors = new Printed();
  await using one = await reach(server.port, { stderr: errors.stream });
  await one.execute(`Promise.reject(new Error("nobody looks"))`);
  await one.execute(`setTimeout(() => { throw new Error("thrown late") })`);
  await server.logged(({ event, reason }) =>
    event === "error" && String(reason).includes("thrown late")
  );
  assertEquals(await one.eval("1 + 1"), 2);
  assert(errors.text.includes("nobody looks"), errors.text);
});

Deno.test("an endless loop of callbacks ends with its client", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  const one = await reach(server.port);
  let calls = 0;
  const enough = Promise.withResolvers<void>();
  const loop = one.eval("async (f) => { for (;;) await f(); }")
    .then((f: unknown) =>
      (f as (f: () => void) => Promise<void>)(() => {
        if (++calls === 500) enough.resolve();
      })
    );
  const stray = one.eval("(f) => { (async () => { for (;;) await f(); })(); }")
    .then((f: unknown) => (f as (f: () => void) => Promise<void>)(() => {}));
  await stray;
  await enough.promise;
  await using two = await reach(server.port);
  assertEquals(await two.eval("1 + 1"), 2);
  await one.close();
  await assertRejects(() => loop);
  await server.logged(({ event }) => event === "disconnected");
  assertEquals(await two.eval("1 + 1"), 2);
});

Deno.test("isolate: each client has an interpreter of its own, with its permissions", async () => {
  await using guard = leakGuard({ grace: 3000 });
  await using home = new Home();
  await Deno.writeTextFile(home.path("readable"), "text");
  await using server = await daemon({
    isolate: "process",
    permissions: { read: [home.path("readable")] },
    env: guard.env,
  });
  const out = new Printed();
  await using one = await reach(server.port, { stdout: out.stream });
  await using two = await reach(server.port);
  await one.execute("globalThis.mine = 1; console.log('printed')");
  assertEquals(await two.eval("typeof mine"), "undefined");
  assertEquals(out.text, "printed\n");
  assert(one.interpreter.pid !== two.interpreter.pid && one.interpreter.pid !== Deno.pid);
  assertEquals(
    await one.eval(`Deno.readTextFile(${JSON.stringify(home.path("readable"))})`),
    "text",
  );
  const refused = await assertRejects(
    async () => await one.eval(`Deno.readTextFile("/etc/passwd")`),
    RemoteError,
  );
  assertEquals(refused.type, "NotCapable");
  const big = "z".repeat(2_000_000);
  assertEquals(await two.compile((text: string) => text + text).then((f) => f(big)), big + big);
  const gone = two.closed;
  await two.execute("setTimeout(() => Deno.exit(3), 10)");
  assert(await gone instanceof ConnectionLostError);
  await server.logged(({ reason }) => reason === "The interpreter ended with exit status 3");
  assertEquals(await one.eval("1"), 1);
  const told = one.closed;
  await server.server.shutdown(0);
  assertEquals(
    (await told).message.split("\n")[0],
    "The remote side ended the connection: The server is shutting down",
  );
});

Deno.test("isolate: an interpreter that cannot be started is the client's error", async () => {
  await using _guard = leakGuard({ grace: 3000 });
  await using _home = new Home();
  await using server = await daemon({ isolate: "process", interpreter: "/nowhere/deno" });
  const error = await assertRejects(() => reach(server.port));
  assert((error as Error).message.includes("127"), (error as Error).message);
});
