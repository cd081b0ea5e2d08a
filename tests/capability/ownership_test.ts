import { assert, assertEquals, assertRejects } from "@std/assert";
import { release, RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";
import { until } from "./observe.ts";

capability("using and release give a reference back at once", async ({ con }) => {
  await con.execute("class Thing {}; thing = new Thing");
  {
    using thing = await con.eval("thing");
    assertEquals(con.stats.remoteRefs, 1);
    assert(thing);
  }
  assertEquals(con.stats.remoteRefs, 0);
  const again = await con.eval("thing");
  release(again);
  assertEquals(con.stats.remoteRefs, 0);
  await assertRejects(async () => await again.x, ReferenceError, "released");
  await assertRejects(async () => await con.compile("(x) => x")(again), Error, "was released");
  assertEquals(await con.eval("thing instanceof Thing"), true);
});

capability("one holder's using does not take a reference from another", async ({ con }) => {
  await con.execute("class Thing { n = 1 }; thing = new Thing");
  const kept = await con.eval("thing");
  {
    using _ = await con.eval("thing");
  }
  assertEquals(await kept.n, 1);
});

capability("await using lets the remote object dispose of itself", async ({ con }) => {
  const symbol = await con.eval("typeof Symbol.asyncDispose");
  if (symbol === "undefined") return;
  await con.execute(
    "log = []; class File { async [Symbol.asyncDispose]() { await 1; log.push('closed') } }",
  );
  {
    await using _ = await con.eval("new File");
  }
  assertEquals(await con.eval("log"), ["closed"]);
  assertEquals(con.stats.remoteRefs, 0);
});

capability("what was collected here is given back in batches", async ({ con }) => {
  con.gcInterval = 20;
  await con.execute("class Thing {}");
  const scope = await con.eval("() => Array.from({ length: 5000 }, () => new Thing)");
  await (async () => {
    assertEquals((await scope()).length, 5000);
    assertEquals(con.stats.remoteRefs, 5001);
  })();
  await until(con, () => {
    (globalThis as { gc?: () => void }).gc?.() ?? pressure();
    return con.stats.remoteRefs <= 1;
  });
});

capability("callbacks that the remote dropped are given back", async ({ con, make }) => {
  const drop = await make({ js: "(...fs) => fs.length" });
  await drop(...Array.from({ length: 100 }, () => () => {}));
  assertEquals(con.stats.localRefs, 100);
  const churn =
    "{ let s = 0; for (let i = 0; i < 200; i++) s += new Array(1e5).fill(i).length; s }";
  const collected = async () => {
    for (let i = 0; i < 100 && con.stats.localRefs > 0; i++) {
      await con.eval(churn);
      await con.eval("globalThis.Bun?.gc(true)");
      await con.eval("new Promise((resolve) => setTimeout(resolve, 100))");
    }
    return con.stats.localRefs;
  };
  assertEquals(await collected(), 0);
});

capability("gcEnabled = false keeps everything, release does not", async ({ con }) => {
  con.gcEnabled = false;
  assertEquals(con.gcEnabled, false);
  const one = await con.eval("new (class Thing {})");
  assertEquals(con.stats.remoteRefs, 1);
  release(one);
  assertEquals(con.stats.remoteRefs, 0);
});

capability(
  "references of another connection are refused where they mean nothing",
  async ({ con, row, guard }) => {
    await using other = await row.connect(guard);
    const foreign = await other.eval("new (class Foreign { n() { return 5 } })");
    // To this peer it is an object of this side: what may be called of it was never passed.
    const echo = await con.compile("(x) => x");
    assert(await echo(foreign) === foreign);
    await assertRejects(() => con.keys(foreign), TypeError, "this connection");
    await assertRejects(
      async () => await con.compile("async (x) => await x.n()")(foreign),
      RemoteError,
    );
  },
);

function pressure(): void {
  const kept: unknown[] = [];
  for (let i = 0; i < 50; i++) kept.push(new Array(100_000).fill(i));
}
