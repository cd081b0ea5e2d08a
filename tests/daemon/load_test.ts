/**
 * A thousand idle clients, and two hundred busy ones at once.
 */

import { assertEquals } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";
import { daemon, Home, reach } from "./servers.ts";

Deno.test("1000 idle clients and 200 busy ones", async () => {
  await using _guard = leakGuard({ grace: 5000 });
  await using _home = new Home();
  await using server = await daemon({ token: "t" });
  const cons: Awaited<ReturnType<typeof reach>>[] = [];
  const connectMany = async (count: number) => {
    cons.push(
      ...await Promise.all(
        Array.from({ length: count }, () => reach(server.port, { token: "t", keepAlive: false })),
      ),
    );
  };
  for (let i = 0; i < 12; i++) await connectMany(100);
  assertEquals(server.server.connections, 1200);
  const busy = cons.slice(1000);
  await Promise.all(busy.map(async (con, i) => {
    const add = await con.compile((a: number, b: number) => a + b);
    for (let n = 0; n < 50; n++) assertEquals(await add(n, i), n + i);
  }));
  // The idle ones are still there.
  assertEquals(await cons[0]!.eval("1 + 1"), 2);
  assertEquals(await cons[999]!.eval("1 + 1"), 2);
  await Promise.all(cons.map((con) => con.close()));
  for (let gone = 0; gone < 1200;) {
    gone = server.log.filter(({ event }) => event === "disconnected").length;
    const seen = server.log.length;
    if (gone < 1200) await server.logged((event) => server.log.indexOf(event) >= seen);
  }
  assertEquals(server.server.connections, 0);
});
