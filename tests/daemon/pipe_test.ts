/**
 * A server behind a named pipe of Samba's.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect, ConnectionLostError } from "../../mod.ts";
import { PASSWORD, Samba, SAMBA_MISSING, USER } from "../smb/samba.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { daemon, Home } from "./servers.ts";

const requirement = requiresAll(
  requires("smbd"),
  requiresThat(SAMBA_MISSING === undefined, SAMBA_MISSING ?? "", "run the tests as root on Linux"),
);

function over(samba: Samba) {
  return connect("smb:127.0.0.1", {
    port: samba.port,
    username: USER,
    password: PASSWORD,
    stdout: "null",
    stderr: "null",
  });
}

Deno.test({
  name: "smb: an interpreter behind a pipe",
  ...requirement,
  async fn() {
    await using _guard = leakGuard({ grace: 3000 });
    await using _home = new Home();
    await using samba = await Samba.start({ silent: true });
    const sambaFolder = samba.socket.slice(0, samba.socket.lastIndexOf("/"));
    await using server = await daemon({ pipe: "pushy", sambaFolder });
    assertEquals(server.server.addr, { transport: "pipe", path: samba.socket });
    {
      await using con = await over(samba);
      assertEquals(await con.eval("6 * 7"), 42);
      assertEquals(con.interpreter.pid, Deno.pid);
      const text = "x".repeat(1_000_000);
      assertEquals(await con.compile((text: string) => text.length).then((f) => f(text)), 1e6);
      const { peer } = await server.logged(({ event }) => event === "connected");
      assertEquals(peer, `PUSHYSRV\\${USER}@127.0.0.1`);
    }
    await server.logged(({ event }) => event === "disconnected");
    await using con = await over(samba);
    const told = con.closed;
    await server.server.shutdown(0);
    assert(await told instanceof ConnectionLostError);
  },
});

Deno.test({
  name: "smb: only the users that are named come in",
  ...requirement,
  async fn() {
    await using _guard = leakGuard({ grace: 3000 });
    await using _home = new Home();
    await using samba = await Samba.start({ silent: true });
    const sambaFolder = samba.socket.slice(0, samba.socket.lastIndexOf("/"));
    {
      await using server = await daemon({ pipe: "pushy", sambaFolder, allowUsers: ["somebody"] });
      await assertRejects(() => over(samba));
      const { reason } = await server.logged(({ event }) => event === "refused");
      assertEquals(reason, `PUSHYSRV\\${USER} (${USER}) from 127.0.0.1 is not allowed`);
    }
    await using _server = await daemon({
      pipe: "pushy",
      sambaFolder,
      allowUsers: [`PUSHYSRV\\${USER}`],
    });
    await using con = await over(samba);
    assertEquals(await con.eval("1"), 1);
    await Deno.chmod(sambaFolder, 0o755);
    await assertRejects(
      () => daemon({ pipe: "other", sambaFolder }),
      TypeError,
      "mode must be 0700",
    );
    await Deno.chmod(sambaFolder, 0o700);
    await assertRejects(() => daemon({ pipe: "a/b", sambaFolder }), TypeError, "not a name");
    await assertRejects(
      () => daemon({ pipe: "pushy", sambaFolder: `${sambaFolder}/none` }),
      Error,
      "Is Samba running",
    );
  },
});
