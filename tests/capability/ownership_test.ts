import { assert, assertEquals, assertRejects } from "@std/assert";
import { release, RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";
import { until } from "./observe.ts";

capability("using and release give a reference back at once", async ({ con, code, make }) => {
  await con.execute(
    code({ js: "class Thing {}; thing = new Thing", py: "class Thing: pass\nthing = Thing()" }),
  );
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
  await assertRejects(
    async () => await make({ js: "(x) => x", py: "lambda x: x" })(again),
    Error,
    "was released",
  );
  assertEquals(
    await con.eval(code({ js: "thing instanceof Thing", py: "isinstance(thing, Thing)" })),
    true,
  );
}, { needs: [] });

capability("one holder's using does not take a reference from another", async ({ con, code }) => {
  await con.execute(
    code({
      js: "class Thing { n = 1 }; thing = new Thing",
      py: "class Thing: n = 1\nthing = Thing()",
    }),
  );
  const kept = await con.eval("thing");
  {
    using _ = await con.eval("thing");
  }
  assertEquals(await kept.n, 1);
}, { needs: [] });

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

capability("await using leaves a context manager", async ({ con }) => {
  await con.execute(`log = []
class File:
    def __enter__(self): return self
    def __exit__(self, *error): log.append('closed')`);
  {
    await using _ = await con.eval("File()");
  }
  assertEquals(await con.eval("log"), ["closed"]);
  assertEquals(con.stats.remoteRefs, 0);
}, { needs: ["python"] });

capability("what was collected here is given back in batches", async ({ con, code }) => {
  con.gcInterval = 20;
  await con.execute(code({ js: "class Thing {}", py: "class Thing: pass" }));
  const scope = await con.eval(
    code({
      js: "() => Array.from({ length: 5000 }, () => new Thing)",
      py: "lambda: [Thing() for _ in range(5000)]",
    }),
  );
  await (async () => {
    assertEquals((await scope()).length, 5000);
    assertEquals(con.stats.remoteRefs, 5001);
  })();
  await until(con, () => {
    (globalThis as { gc?: () => void }).gc?.() ?? pressure();
    return con.stats.remoteRefs <= 1;
  });
}, { needs: [] });

capability("callbacks that the remote dropped are given back", async ({ con, make, row }) => {
  const drop = await make({ js: "(...fs) => fs.length", py: "lambda *fs: len(fs)" });
  await drop(...Array.from({ length: 100 }, () => () => {}));
  if (row.runtime === "python") return await until(con, () => con.stats.localRefs === 0);
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
}, { needs: [], connect: { gcInterval: 100 } });

capability("gcEnabled = false keeps everything, release does not", async ({ con, code }) => {
  con.gcEnabled = false;
  assertEquals(con.gcEnabled, false);
  const one = await con.eval(code({ js: "new (class Thing {})", py: "type('Thing', (), {})()" }));
  assertEquals(con.stats.remoteRefs, 1);
  release(one);
  assertEquals(con.stats.remoteRefs, 0);
}, { needs: [] });

capability(
  "references of another connection are refused where they mean nothing",
  async ({ con, row, guard, code, make }) => {
    await using other = await row.connect(guard);
    const foreign = await other.eval(
      code({
        js: "new (class Foreign { n() { return 5 } })",
        py: "type('Foreign', (), {'n': lambda self: 5})()",
      }),
    );
    // To this peer it is an object of this side: what may be called of it was never passed.
    const echo = await make({ js: "(x) => x", py: "lambda x: x" });
    assert(await echo(foreign) === foreign);
    await assertRejects(() => con.keys(foreign), TypeError, "this connection");
    await assertRejects(
      async () => await make({ js: "async (x) => await x.n()", py: "lambda x: x.n()" })(foreign),
      RemoteError,
    );
  },
  { needs: [] },
);

function pressure(): void {
  const kept: unknown[] = [];
  for (let i = 0; i < 50; i++) kept.push(new Array(100_000).fill(i));
}
