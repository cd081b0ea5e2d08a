import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";
import { until } from "./observe.ts";

capability("a function that was passed can be called, and gives a promise", async ({ make }) => {
  const twice = make({ js: "async (f) => await f(await f(1))", py: "lambda f: f(f(1))" });
  assertEquals(await twice((n: number) => n * 10), 100);
  assertEquals(await twice((n: number) => Promise.resolve(n + 1)), 3);
}, { needs: [] });

capability("functions inside data, at any depth", async ({ make }) => {
  const run = make({
    js: "async (o) => (await o.on.data[0]('x')) + await o.map.get('f')()",
    py: "lambda o: o['on']['data'][0]('x') + o['map']['f']()",
  });
  assertEquals(
    await run({ on: { data: [(s: string) => `${s}1`] }, map: new Map([["f", () => "2"]]) }),
    "x12",
  );
}, { needs: [] });

capability("callbacks nest to any depth", async ({ make }) => {
  const bounce = await make({
    js: "async (n, back) => n === 0 ? 'end' : await back(n - 1)",
    py: "lambda n, back: 'end' if n == 0 else back(n - 1)",
  });
  const back = async (n: number): Promise<unknown> => await bounce(n, back);
  assertEquals(await bounce(60, back), "end");
}, { needs: [] });

capability("a remote function that was handed through comes home", async ({ make }) => {
  const apply = make({ js: "async (f, x) => await f(x)", py: "lambda f, x: f(x)" });
  const add = await make({ js: "(a) => a + 1", py: "lambda a: a + 1" });
  assertEquals(await apply(add, 1), 2);
  assertEquals(await apply((x: number) => add(add(x)), 1), 3);
}, { needs: [] });

capability("a stored callback lives after the call that brought it", async ({ con, code }) => {
  const heard: number[] = [];
  const scope = con.scope();
  await con.execute(
    code({
      js: "function on(f) { stored = f }; async function fire(n) { await stored(n) }",
      py: "def on(f):\n global stored\n stored = f\ndef fire(n): stored(n)",
    }),
    scope,
  );
  await scope.on((n: number) => heard.push(n));
  await scope.fire(1);
  await scope.fire(2);
  assertEquals(heard, [1, 2]);
  assertEquals(con.stats.localRefs, 1);
}, { needs: [] });

capability("a callback on a timer is heard while nothing is called", async ({ con, make }) => {
  const heard: number[] = [];
  await make({
    js:
      "(f) => { let n = 0; const t = setInterval(() => { f(++n); if (n === 3) clearInterval(t) }, 1) }",
    py: `def start(f):
    import threading
    def run():
        for n in (1, 2, 3): f(n)
    threading.Thread(target=run).start()`,
  })(
    (n: number) => heard.push(n),
  );
  await until(con, () => heard.length === 3);
  assertEquals(heard, [1, 2, 3]);
}, { needs: [] });

capability("a class instance: its public methods, and nothing else", async ({ make, row }) => {
  class Account {
    #balance = 10;
    secret = "s";
    deposit(n: number) {
      return this.#balance += n;
    }
    _internal() {
      return "no";
    }
    get hidden() {
      return "no";
    }
  }
  const account = new Account();
  const call = await make({
    js: "async (o, name, ...args) => await o[name](...args)",
    py: "lambda o, name, *args: getattr(o, name)(*args)",
  });
  assertEquals(await call(account, "deposit", 5), 15);
  for (const name of ["_internal", "constructor", "toString", "hasOwnProperty", "hidden", "none"]) {
    const unasked = row.runtime === "python" && /^_|^constructor$/.test(name);
    await assertRejects(
      async () => await call(account, name),
      RemoteError,
      unasked ? name : "it was not passed",
    );
  }
  // Python asks for an attribute before it calls it, so reading a method cannot be refused there.
  if (row.runtime === "python") return;
  const read = await make({ js: "async (o, name) => await o[name]" });
  for (const name of ["secret", "hidden", "constructor", "__proto__", "deposit"]) {
    await assertRejects(async () => await read(account, name), RemoteError, "it was not passed");
  }
}, { needs: [] });

capability("a callback that throws is the remote's error, with both stacks", async ({ make }) => {
  const call = await make({ js: "async function outer(f) { await f() }", py: "def outer(f): f()" });
  const thrown = Object.assign(new RangeError("from here"), { code: "E_HERE" });
  const error = await assertRejects(
    async () =>
      await call(function thrower() {
        throw thrown;
      }),
    RemoteError,
  );
  assertEquals([error.type, error.message, error.code], ["RangeError", "from here", "E_HERE"]);
  assertStringIncludes(error.stack!, "callbacks_test.ts");
  assertStringIncludes(error.remoteStack, "outer");
  const seen = await make({
    js:
      "async (f) => { try { await f() } catch (e) { return [e instanceof Error, e.message, e.code, e.type] } }",
    py:
      "def call(f):\n try: f()\n except Exception as e: return [isinstance(e, Exception), str(e), e.code, e.type]",
  })(() => {
    throw thrown;
  });
  assertEquals(seen, [true, "from here", "E_HERE", "RangeError"]);
}, { needs: [] });

capability("a callback may throw what is no error, and reject late", async ({ make }) => {
  const caught = await make({
    js: "async (f) => { try { await f() } catch (e) { return ['caught', e] } }",
    py: "def caught(f):\n try: f()\n except Exception as e: return ['caught', e.args[0]]",
  });
  assertEquals(
    await caught(() => {
      throw "text";
    }),
    ["caught", "text"],
  );
  assertEquals(await caught(() => Promise.reject({ plain: 1 })), ["caught", { plain: 1 }]);
}, { needs: [] });

capability("many callbacks at once", async ({ make }) => {
  const map = await make({
    js: "(list, f) => Promise.all(list.map((x) => f(x)))",
    py: "lambda list, f: [f(x) for x in list]",
  });
  const list = Array.from({ length: 1000 }, (_, i) => i);
  assertEquals(await map(list, (n: number) => Promise.resolve(n * 2)), list.map((n) => n * 2));
}, { needs: [] });

capability("a promise that is passed is awaited by who takes it", async ({ make }) => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const sum = make({
    js: "async (p, q) => (await p.inner) + (await q)",
    py: "lambda p, q: p['inner'] + q",
  })(
    { inner: promise },
    promise,
  );
  resolve(20);
  assertEquals(await sum, 40);
}, { needs: [] });

capability("a promise inside a result crosses", async ({ con }) => {
  const box = await con.eval("({ later: new Promise((r) => setTimeout(() => r(5), 5)) })");
  assert(box.later instanceof Promise);
  assertEquals(await box.later, 5);
  const failing = await con.eval("({ later: Promise.reject(new RangeError('late')) })");
  await assertRejects(() => failing.later, RemoteError, "late");
});
