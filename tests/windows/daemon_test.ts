import { assert, assertEquals, assertRejects } from "@std/assert";
import { AuthenticationError, connect } from "../../mod.ts";
import { run } from "../../server/run.ts";
import { converse, onWindows } from "./windows.ts";

Deno.test(onWindows("daemon: the token is found by itself, in the user's local data", async () => {
  await using server = await run({ port: 0, quiet: true });
  assert(server.addr.transport === "tcp");
  const { port } = server.addr;
  const file = `${Deno.env.get("LOCALAPPDATA")}\\pushy\\daemon-${port}.token`;
  try {
    assert((await Deno.readTextFile(file)).length >= 32);
    await using con = await connect(`daemon:localhost:${port}`);
    await converse(con);
    await assertRejects(
      () => connect(`daemon:localhost:${port}`, { token: "another".repeat(8) }),
      AuthenticationError,
    );
  } finally {
    await Deno.remove(file).catch(() => {});
  }
}));

Deno.test(onWindows("daemon: each with an interpreter of its own", async () => {
  const token = "0123456789abcdef".repeat(4);
  await using server = await run({ port: 0, token, quiet: true, isolate: "process" });
  assert(server.addr.transport === "tcp");
  await using con = await connect(`daemon:localhost:${server.addr.port}`, { token });
  assert(await con.globals.Deno.pid !== Deno.pid);
  assertEquals(await con.globals.Deno.build.os, "windows");
  await converse(con);
}));
