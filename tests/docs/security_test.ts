/**
 * What docs/security.md says of secrets and values: where they never stand.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { AuthenticationError, type TraceEvent } from "../../mod.ts";
import { daemon, Home, reach } from "../daemon/servers.ts";
import { leakGuard } from "../support/leaks.ts";

Deno.test("a token and values are in no trace, no error and no log", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  const [token, guess, value] = ["t0ken-of-the-server", "gu3ss-of-a-client", "v4lue-that-crosses"];
  await using server = await daemon({ token });
  const events: TraceEvent[] = [];
  const trace = (event: TraceEvent) => void events.push(event);
  {
    await using con = await reach(server.port, { token, trace });
    const echo = await con.eval("(x) => x") as (x: string) => Promise<string>;
    assertEquals(await echo(value), value);
    assertEquals(await echo(value.repeat(5000)), value.repeat(5000));
  }
  const error = await assertRejects(
    () => reach(server.port, { token: guess, trace }),
    AuthenticationError,
  );
  await server.logged(({ reason }) => reason === "wrong token");
  assert(events.some(({ kind }) => kind === "received"));
  const told = JSON.stringify([events, server.log]) + Deno.inspect(error, { showHidden: true });
  for (const secret of [token, guess, value]) assert(!told.includes(secret), secret);
});
