/**
 * A named pipe of Windows: the server on `\\.\pipe\NAME`, and the client that opens it by its path.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { connect, ConnectionError, ConnectionLostError, RemoteError } from "../../mod.ts";
import { run, type RunOptions } from "../../server/run.ts";
import { collect, converse, onWindows } from "./windows.ts";

let last = 0;

/** A server in this process, on a pipe of its own. */
async function serve(options: RunOptions = {}) {
  const pipe = `pushy-test-${Deno.pid}-${++last}`;
  const server = await run({ pipe, quiet: true, ...options });
  return { server, pipe, path: `\\\\.\\pipe\\${pipe}` };
}

Deno.test(onWindows("pipe: a whole conversation", async () => {
  const { server, pipe, path } = await serve();
  await using _ = server;
  assertEquals(server.addr, { transport: "pipe", path });
  await using con = await connect("smb:localhost", { pipe });
  await converse(con);
  assertEquals(server.connections, 1);
  assertEquals((con.transport as { security?: unknown }).security, null);
}));

Deno.test(onWindows("pipe: an address may have its name, and several come at once", async () => {
  const { server, pipe } = await serve();
  await using _ = server;
  const numbers = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
    await using con = await connect(`smb:\\\\localhost\\pipe\\${pipe}`);
    return await con.eval<number>(`${i} + 1`);
  }));
  assertEquals(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}));

Deno.test(onWindows("pipe: no more than it can have, and afterwards as before", async () => {
  const { server, pipe } = await serve();
  await using _ = server;
  const opened = await Promise.allSettled(
    Array.from({ length: 210 }, () => connect("smb:localhost", { pipe })),
  );
  try {
    assertEquals(opened.filter(({ status }) => status === "fulfilled").length, 200);
    assertEquals(server.connections, 200);
  } finally {
    for (const attempt of opened) {
      if (attempt.status === "fulfilled") await attempt.value.close();
    }
  }
  await using con = await connect("smb:localhost", { pipe });
  assertEquals(await con.eval("1 + 2"), 3);
}));

Deno.test(onWindows("pipe: each with an interpreter of its own, in a sandbox", async () => {
  const { server, pipe } = await serve({ isolate: "process", permissions: {} });
  await using _ = server;
  const stdout = collect();
  {
    await using con = await connect("smb:localhost", { pipe, stdout: stdout.stream });
    await using other = await connect("smb:localhost", { pipe });
    const pids = [await con.globals.Deno.pid, await other.globals.Deno.pid];
    assertEquals(new Set([...pids, Deno.pid]).size, 3);
    await converse(con);
    await con.eval("console.log('printed')");
    const error = await assertRejects(
      async () => await con.eval("Deno.readTextFileSync('C:\\\\windows\\\\win.ini')"),
      RemoteError,
    );
    assertEquals(error.type, "NotCapable");
  }
  assertEquals(stdout.text(), "printed\n");
}));

Deno.test(onWindows("pipe: the server's program, in a process of its own", async () => {
  const pipe = `pushy-test-${Deno.pid}-${++last}`;
  const main = new URL("../../server/main.ts", import.meta.url).href;
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", "--no-lock", "--no-check", main, "--pipe", pipe],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const lines = server.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes('"listening"')) {
    const { value, done } = await lines.read();
    if (done) throw new Error(`The server ended: ${said}`);
    said += value;
  }
  {
    await using con = await connect("smb:localhost", { pipe });
    assertEquals(await con.globals.Deno.pid, server.pid);
    await converse(con);
    const waiting = assertRejects(
      async () => await con.eval("new Promise(() => {})"),
      ConnectionLostError,
    );
    server.kill("SIGKILL");
    await waiting;
  }
  await lines.cancel();
}));

Deno.test(onWindows("pipe: the server is stopped, and its clients are told", async () => {
  const { server, pipe } = await serve();
  await using con = await connect("smb:localhost", { pipe });
  assertEquals(await con.eval("1 + 2"), 3);
  const reason = con.closed;
  await server.shutdown();
  assert(await reason instanceof Error);
  await assertRejects(() => connect("smb:localhost", { pipe }), ConnectionError);
}));

Deno.test(
  onWindows("pipe: one that is not there, or taken, or that cannot be asked for", async () => {
    const error = await assertRejects(
      () => connect("smb:localhost", { pipe: "pushy-absent" }),
      ConnectionError,
    );
    assertStringIncludes(error.message, "\\\\.\\pipe\\pushy-absent");
    assertStringIncludes(error.message, "Is the Pushy server running there?");

    const { server, pipe, path } = await serve();
    await using _ = server;
    await assertRejects(() => run({ pipe, quiet: true }), Deno.errors.AddrInUse, path);
    await assertRejects(() => run({ pipe: "a\\b", quiet: true }), TypeError);
    await assertRejects(() => run({ pipe, allowUsers: ["me"] }), TypeError, "allowUsers");
    await assertRejects(() => connect("smb:localhost", { pipe, encrypt: true }), TypeError);
  }),
);
