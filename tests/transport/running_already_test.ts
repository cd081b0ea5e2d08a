/**
 * Options where the interpreter runs already: nothing that is asked for is left out in silence.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { BootstrapError, connect, type ConnectOptions, registerTransport } from "../../mod.ts";
import { Popen as openDaemon } from "../../transport/daemon.ts";
import { daemon, Home, listener, reach } from "../daemon/servers.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";

const OF_A_START: [ConnectOptions, advice: string][] = [
  [{ permissions: { read: ["/etc"] } }, 'run({ permissions, isolate: "process" })'],
  [{ interpreter: "/opt/deno/bin/deno" }, 'run({ interpreter, isolate: "process" })'],
  [{ cwd: "/" }, 'run({ cwd, isolate: "process" })'],
  [{ env: {} }, 'run({ env, isolate: "process" })'],
  [{ platform: "unix" }, "leave it out"],
];

Deno.test("what only a start could honour is refused before a byte is sent", async () => {
  await using _guard = leakGuard();
  let came = 0;
  await using place = listener((conn) => {
    came++;
    conn.close();
    return Promise.resolve();
  });
  registerTransport("behind", { Popen: openDaemon, reaches: "interpreter" });
  for (const name of ["daemon", "smb", "behind"]) {
    const target = `${name}:127.0.0.1:${place.port}`;
    for (const [options, advice] of OF_A_START) {
      const [option] = Object.keys(options);
      const error = await assertRejects(() => connect(target, options), TypeError);
      const begin = `Cannot use option "${option}" with "${target}": `;
      assert(error.message.startsWith(begin), error.message);
      assert(error.message.includes(advice), error.message);
    }
  }
  // Whoever comes now was not kept waiting by the ones before.
  await assertRejects(() => connect(`behind:127.0.0.1:${place.port}`, { permissions: undefined }));
  assertEquals(came, 1);
});

Deno.test({
  name: "a server's runtime is the one that was asked for, or whatever answers",
  ...requires("python3"),
  fn: async () => {
    await using _guard = leakGuard();
    await using _home = new Home();
    await using server = await daemon({ isolate: "process", runtime: "python" });
    {
      await using con = await reach(server.port, { runtime: "python" });
      assertEquals(await con.eval("1 + 2"), 3);
    }
    await using con = await reach(server.port);
    assertEquals(con.interpreter.runtime, "python");
    // A lock's holder is still the thread that waits here, so a call inside the callback may take it again.
    const lock = await con.modules.threading.RLock();
    const held = await con.eval("lambda lock, f: lock.acquire() and f()") as (
      lock: unknown,
      f: () => unknown,
    ) => Promise<unknown>;
    assertEquals(await held(lock, () => lock.acquire(false)), true);
    for (const runtime of ["deno", "node"] as const) {
      const error = await assertRejects(() => reach(server.port, { runtime }), BootstrapError);
      assert(error.message.includes(`python answers there, not ${runtime}`), error.message);
      assert(error.hint?.includes("leave runtime out"), error.message);
    }
  },
});
