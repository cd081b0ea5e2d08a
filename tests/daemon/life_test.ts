/**
 * A server's life: how it starts, serves and ends, as a part of a program and as a program of its own.
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect, ConnectionError, ConnectionLostError, registerTransport } from "../../mod.ts";
import { run } from "../../server/run.ts";
import { probe } from "../../transport/daemon.ts";
import { Popen as openLocal } from "../../transport/local.ts";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { daemon, Home, makeCertificates, reach } from "./servers.ts";

const MAIN = decodeURIComponent(new URL("../../server/main.ts", import.meta.url).pathname);

Deno.test("shutdown lets calls finish", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  await using con = await reach(server.port);
  await using idle = await reach(server.port);
  await con.execute("globalThis.gate = Promise.withResolvers()");
  const call = con.eval<string>("gate.promise.then(() => 'finished')").then((text) => text);
  await con.eval("0");
  const ended = server.server.shutdown(60_000);
  // Who has nothing to wait for is told at once.
  const reason = await idle.closed;
  assert(reason instanceof ConnectionLostError);
  assertEquals(
    reason.message.split("\n")[0],
    "The remote side ended the connection: The server is shutting down",
  );
  await assertRejects(() => reach(server.port), ConnectionError);
  assertEquals(server.server.connections, 1);
  (globalThis as unknown as { gate: PromiseWithResolvers<void> }).gate.resolve();
  assertEquals(await call, "finished");
  await ended;
  await server.server.finished;
  assertEquals(server.server.connections, 0);
  Reflect.deleteProperty(globalThis, "gate");
});

Deno.test("shutdown ends what does not finish within its grace", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  await using con = await reach(server.port);
  const call = con.eval("new Promise(() => {})").then(() => {});
  await con.eval("0");
  const slow = server.server.shutdown(60_000);
  const error = assertRejects(() => call, ConnectionLostError, "The server is shutting down");
  await server.server.shutdown(50);
  await slow;
  await error;
});

Deno.test("a signal shuts it down; callbacks see what happens", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  const controller = new AbortController();
  const seen: string[] = [];
  const closed = Promise.withResolvers<void>();
  const server = await run({
    port: 0,
    quiet: true,
    signal: controller.signal,
    onListen: (address) => seen.push(`listen ${address.transport}`),
    onConnect: ({ id }) => {
      seen.push(`connect ${id}`);
      throw new Error("a callback that fails");
    },
    onClose: ({ id }, { message }) => {
      seen.push(`close ${id}: ${message}`);
      closed.resolve();
    },
  });
  const { port } = server.addr as { port: number };
  const con = await reach(port);
  await con.eval("1");
  assertEquals(server.connections, 1);
  await con.close();
  await closed.promise;
  controller.abort();
  await server.finished;
  assertEquals(seen, [
    "listen tcp",
    "connect 1",
    "close 1: The remote side closed the connection",
  ]);
  const aborted = AbortSignal.abort(new Error("before"));
  await assertRejects(() => run({ port: 0, signal: aborted }), Error, "before");
});

Deno.test("a restart on the same port works at once, with clients still there", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  let port = 0;
  for (let i = 0; i < 5; i++) {
    await using server = await daemon({ port });
    port = server.port;
    await using con = await reach(port);
    assertEquals(await con.eval("1"), 1);
    await assertRejects(() => run({ port, quiet: true }), Deno.errors.AddrInUse);
    // An idle connection does not hold a program until it is closed; a call does.
    const cut = assertRejects(async () => await con.eval("new Promise(() => {})"));
    await server.server.shutdown(0);
    await Promise.all([con.closed, cut]);
  }
});

Deno.test("a probe", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "t", maxConnections: 1 });
  await using _con = await reach(server.port, { token: "t" });
  await probe({ address: `127.0.0.1:${server.port}` });
  await server.server.shutdown(0);
  await assertRejects(() => probe({ address: `127.0.0.1:${server.port}` }), ConnectionError);
});

/** A server that runs as a program; its log is read line by line. */
class Program implements AsyncDisposable {
  readonly child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly port: number;
  /** Every line so far. */
  text = "";

  private constructor(child: Deno.ChildProcess, lines: AsyncIterator<string>, first: string) {
    this.child = child;
    this.#lines = lines;
    this.port = JSON.parse(first).port;
    this.text = first;
  }

  static async start(
    guard: LeakGuard,
    args: string[],
    env: Record<string, string> = {},
  ): Promise<Program> {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-config", MAIN, ...args],
      env: { ...guard.env, XDG_STATE_HOME: guard.folder, ...env },
      stderr: "piped",
      stdout: "null",
    }).spawn();
    const lines = readLines(child.stderr);
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error("The server has ended");
      if (JSON.parse(value).event === "listening") return new Program(child, lines, value);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.child.kill("SIGTERM");
    } catch {
      // It has ended by itself.
    }
    for (;;) {
      const { done, value } = await this.#lines.next();
      if (done) break;
      this.text += value;
    }
    const { code } = await this.child.status;
    assertEquals(code, 0);
  }
}

async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const bytes of stream) {
    text += decoder.decode(bytes, { stream: true });
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}

Deno.test("the program: flags, the environment, and its end", async () => {
  await using guard = leakGuard();
  await using home = new Home();
  Deno.env.set("XDG_STATE_HOME", guard.folder);
  await using byFlag = await Program.start(guard, ["--port", "0", "--max-connections", "1"]);
  await using byVariable = await Program.start(guard, [], {
    PUSHY_PORT: "0",
    PUSHY_TOKEN: "from the environment",
    PUSHY_ISOLATE: "1",
  });
  {
    await using con = await reach(byFlag.port);
    assert(await con.eval("Deno.pid") !== Deno.pid);
    await assertRejects(() => reach(byFlag.port), ConnectionError, "as many connections");
  }
  {
    await using con = await reach(byVariable.port, { token: "from the environment" });
    assert(await con.eval("Deno.pid") !== byVariable.child.pid);
  }
  const asked = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", MAIN, "--probe", `127.0.0.1:${byFlag.port}`],
  }).output();
  assertEquals(asked.code, 0);
  void home;
});

Deno.test("the program: what it refuses", async () => {
  await using guard = leakGuard();
  const attempt = async (...args: string[]) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-config", MAIN, ...args],
      env: { ...guard.env, XDG_STATE_HOME: guard.folder },
    }).output();
    const decoder = new TextDecoder();
    return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
  };
  const help = await attempt("--help");
  assertEquals(help.code, 0);
  assertStringIncludes(help.text, "--tls-client-ca PATH");
  assertEquals((await attempt("--no-such")).code, 2);
  const open = await attempt("--hostname", "0.0.0.0", "--port", "0");
  assertEquals(open.code, 1);
  assertStringIncludes(open.text, "Cannot listen on 0.0.0.0: without TLS");
  assertEquals((await attempt("--port", "x")).code, 1);
  assertEquals((await attempt("--probe", "127.0.0.1:1")).code, 1);
});

Deno.test("stdio: whoever starts it is its client", async () => {
  await using guard = leakGuard();
  registerTransport("served", {
    Popen: (_command, options) =>
      openLocal([Deno.execPath(), "run", "-A", "--no-config", MAIN, "stdio", "--quiet"], {
        ...options,
        address: "",
        env: guard.env,
      }),
    reaches: "interpreter",
  });
  let text = "";
  const stdout = new WritableStream<Uint8Array>({
    write: (bytes) => {
      text += new TextDecoder().decode(bytes);
    },
  });
  await using con = await connect("served:", { stdout });
  await con.execute("console.log('printed')");
  assertEquals(await con.eval("1 + 1"), 2);
  assertEquals(text, "printed\n");
  await con.close();
  assertEquals((await con.transport.status).code, 0);
});

Deno.test({
  name: "a socket that systemd has opened",
  ...requires("python3"),
  async fn() {
    await using guard = leakGuard();
    await using home = new Home();
    Deno.env.set("XDG_STATE_HOME", guard.folder);
    const script = `
import os, socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(64)
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.argv[1], sys.argv[1:])
`;
    const child = new Deno.Command("python3", {
      args: ["-c", script, Deno.execPath(), "run", "-A", "--no-config", MAIN],
      env: { ...guard.env, XDG_STATE_HOME: guard.folder },
      stderr: "piped",
      stdout: "null",
    }).spawn();
    const lines = readLines(child.stderr);
    let port = 0;
    while (port === 0) {
      const { value } = await lines.next();
      const line = JSON.parse(value!);
      if (line.event === "listening") port = line.port;
    }
    {
      await using con = await reach(port);
      assertEquals(await con.eval("Deno.pid"), child.pid);
    }
    child.kill("SIGTERM");
    for (;;) if ((await lines.next()).done) break;
    assertEquals((await child.status).code, 0);
    void home;
  },
});

Deno.test({
  name: "the program over TLS, from two terminals",
  ...requires("openssl"),
  async fn() {
    await using guard = leakGuard();
    await using home = new Home();
    const { ca, cert, key } = await makeCertificates(home.folder);
    const tokenFile = home.path("token");
    await Deno.writeTextFile(tokenFile, "a token for both", { mode: 0o600 });
    await using server = await Program.start(guard, [
      ...["--hostname", "0.0.0.0", "--port", "0", "--token-file", tokenFile],
      ...["--tls-cert", cert, "--tls-key", key],
    ]);
    const client = `
      import { connect } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
      await using con = await connect("daemon:localhost:${server.port}", {
        tls: { caCerts: ${JSON.stringify(ca)} },
        tokenFile: ${JSON.stringify(tokenFile)},
      });
      console.log(await con.eval("1 + 2"));
    `;
    const file = home.path("client.ts");
    await Deno.writeTextFile(file, client);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-config", file],
      env: guard.env,
    }).output();
    assertEquals(new TextDecoder().decode(stderr), "");
    assertEquals(new TextDecoder().decode(stdout), "3\n");
  },
});
