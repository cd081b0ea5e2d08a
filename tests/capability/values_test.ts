import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { byRef, copy, isRemote, UncrossableError } from "../../mod.ts";
import { capability } from "../matrix.ts";

const ECHO = { js: "(x) => x", py: "lambda x: x" };

const VALUES: [name: string, value: unknown][] = [
  ["null", null],
  ["true", true],
  ["an empty string", ""],
  ["text beyond ASCII", "grüße 🎉 \u0000 \u2028"],
  ["a lone surrogate", "a\ud800b"],
  ["an integer", 42],
  ["the largest safe integer", Number.MAX_SAFE_INTEGER],
  ["a fraction", 0.1],
  ["a tiny number", 5e-324],
  ["minus zero", -0],
  ["NaN", NaN],
  ["infinities", [Infinity, -Infinity]],
  ["big integers", [2n ** 53n, -(2n ** 64n), BigInt("9".repeat(10_000))]],
  ["an array", [1, "a", [], [[]]]],
  ["an object", { a: 1, "b c": { d: [] } }],
  ["a key of __proto__", JSON.parse('{"__proto__": {"x": 1}, "y": 2}')],
  ["a Map", new Map<unknown, unknown>([["a", 1], [2, new Map([[true, null]])]])],
  ["a Set", new Set([1, "a", new Set([2])])],
  ["a Date", new Date(1234567890123)],
  ["bytes", new Uint8Array([0, 1, 255])],
  ["an empty array of bytes", new Uint8Array(0)],
  ["floats", new Float64Array([1.5, -0, NaN])],
  ["big integers of 64 bits", new BigUint64Array([2n ** 63n])],
];

const JAVASCRIPT_VALUES: [name: string, value: unknown][] = [
  ["undefined", undefined],
  ["small bigints", [0n, -1n]],
  ["an ArrayBuffer", new Uint8Array([1, 2]).buffer],
  ["an invalid Date", new Date(NaN)],
  ["a Map whose keys are objects", new Map([[{ k: 1 }, new Map()]])],
  ["a Map whose keys are texts", new Map([["a", 1]])],
  ["undefined in an object", { a: undefined, b: [undefined] }],
  ["a RegExp", /a\/b[/]"/giu],
  ["a URL", new URL("https://user@example.com/ä?q#h")],
  ["a DataView", new DataView(new Uint8Array([1, 2, 3]).buffer)],
  ["symbols", [Symbol.for("key"), Symbol.iterator]],
  ["a key that is a symbol", { [Symbol.for("key")]: 1, a: 2 }],
];

capability("plain data of every kind crosses both ways", async ({ make }) => {
  const echo = await make(ECHO);
  for (const [name, value] of VALUES) assertEquals(await echo(value), value, name);
}, { needs: [] });

capability("data of JavaScript's own crosses both ways", async ({ make }) => {
  const echo = await make(ECHO);
  for (const [name, value] of JAVASCRIPT_VALUES) assertEquals(await echo(value), value, name);
});

capability("values are what they say they are, over there", async ({ make }) => {
  const kinds = make({
    js: `(...all) => all.map((x) => Object.prototype.toString.call(x).slice(8, -1) +
      (x instanceof Object ? "" : " of no class"))`,
  });
  assertEquals(
    await kinds([], {}, new Map(), new Date(), /x/, new Uint8Array(1), new ArrayBuffer(1)),
    ["Array", "Object", "Map", "Date", "RegExp", "Uint8Array", "ArrayBuffer"],
  );
});

capability("values are what they say they are, in Python", async ({ make }) => {
  const kinds = make({ py: "lambda *all: [type(x).__name__ for x in all]" });
  assertEquals(
    await kinds([], {}, new Map(), new Set(), new Date(), new Uint8Array(1), new ArrayBuffer(1)),
    ["list", "dict", "dict", "set", "datetime", "bytes", "bytearray"],
  );
  assertEquals(await kinds(1, 1.5, -0, 2n ** 70n, "a", true, null, undefined), [
    "int",
    "float",
    "float",
    "int",
    "str",
    "bool",
    "NoneType",
    "NoneType",
  ]);
}, { needs: ["python"] });

capability("what Python has no value for arrives as the nearest", async ({ make }) => {
  const echo = await make(ECHO);
  // deno-lint-ignore no-sparse-arrays
  assertEquals(await echo([undefined, , 1]), [null, null, 1]);
  assertEquals(await echo([0n, new URL("https://a.example/b?c")]), [0, "https://a.example/b?c"]);
  assertEquals(await echo(new DataView(new Uint8Array([1, 2]).buffer)), new Uint8Array([1, 2]));
  assertEquals(await echo({ [Symbol.for("key")]: 1, a: 2 }), { a: 2 });
  assertEquals(await echo(new Map([["a", 1]])), { a: 1 });
  assertEquals(await echo(new Date(NaN)), null);
  assertEquals(await echo(new Uint8Array([1, 2]).buffer), new Uint8Array([1, 2]));
}, { needs: ["python"] });

capability("cycles and shared references are kept", async ({ make }) => {
  const shared = { n: 1 };
  const cycle: Record<string, unknown> = { list: [shared, shared] };
  cycle.self = cycle;
  const back = await make(ECHO)(cycle);
  assertStrictEquals(back.self, back);
  assertStrictEquals(back.list[0], back.list[1]);
  const seen = make({
    js: "(x) => [x.self === x, x.list[0] === x.list[1]]",
    py: "lambda x: [x['self'] is x, x['list'][0] is x['list'][1]]",
  });
  assertEquals(await seen(cycle), [true, true]);
}, { needs: [] });

capability("holes stay holes", async ({ make }) => {
  // deno-lint-ignore no-sparse-arrays
  const back = await make(ECHO)([, 1, , undefined, ,]);
  assertEquals([back.length, Object.keys(back)], [5, ["1", "3"]]);
});

capability("of a view only what it shows travels", async ({ con, make }) => {
  const whole = new Uint8Array(1 << 20);
  const echo = await make(ECHO);
  const before = con.stats.bytesSent;
  const back = await echo(whole.subarray(10, 20));
  assertEquals([back.length, back.buffer.byteLength], [10, 10]);
  assert(con.stats.bytesSent - before < 1000);
}, { needs: [] });

capability("strings and structures of a megabyte", async ({ make }) => {
  const echo = await make(ECHO);
  const text = "ä€🎉x".repeat(200_000);
  assert(await echo(text) === text);
  const rows = Array.from({ length: 20_000 }, (_, i) => ({ id: i, name: `row ${i}`, tags: [i] }));
  assertEquals(await echo(rows), rows);
  const mixed = rows.map((row) => ({ ...row, at: new Date(row.id) }));
  assertEquals(await echo(mixed), mixed);
}, { needs: [] });

capability("an object without a prototype arrives as a plain one", async ({ make }) => {
  const back = await make(ECHO)(Object.assign(Object.create(null), { a: 1 }));
  assertEquals(Object.getPrototypeOf(back), Object.prototype);
  assertEquals(back, { a: 1 });
}, { needs: [] });

capability("errors that are passed are values", async ({ make }) => {
  const cause = new RangeError("inner");
  const error = Object.assign(new TypeError("outer", { cause }), { code: "E_X", errno: 3 });
  const seen = await make({
    js:
      "(e) => [e instanceof TypeError, e.message, e.code, e.errno, e.cause instanceof RangeError]",
    py:
      "lambda e: [isinstance(e, TypeError), str(e), e.code, e.errno, e.__cause__.type == 'RangeError']",
  })(error);
  assertEquals(seen, [true, "outer", "E_X", 3, true]);
  const back = await make(ECHO)(error);
  assertInstanceOf(back, TypeError);
  assertInstanceOf(back.cause, RangeError);
  assertEquals((back as TypeError & { code: string }).code, "E_X");
}, { needs: [] });

capability(
  "what is no data is a reference: functions, instances, modules",
  async ({ con, code, row }) => {
    const { f, instance, list, plain } = await con.eval(
      code({
        js: "({ f() {}, instance: new (class Car {}), list: [Symbol('own')], plain: { a: 1 } })",
        py:
          "{'f': lambda: 1, 'instance': type('Car', (), {})(), 'list': [object()], 'plain': {'a': 1}}",
      }),
    );
    assert(isRemote(f) && isRemote(instance) && isRemote(list[0]));
    assert(!isRemote(plain));
    assert(isRemote(await con.modules.os));
    if (row.runtime === "python") return;
    assert(isRemote(await con.eval("new WeakMap")));
    assert(isRemote(await con.eval("new Proxy({}, { getPrototypeOf: () => Array.prototype })")));
  },
  { needs: [] },
);

capability("an object with a callable then arrives as a reference", async ({ con, code }) => {
  const box = await con.eval(
    code({
      js: "({ box: { then: (f) => f('hooked'), own: 1 } })",
      py: "{'box': {'then': lambda f: f('hooked'), 'own': 1}}",
    }),
  );
  assert(isRemote(box.box));
  assertEquals(await box.box.own, 1);
}, { needs: [] });

capability("byRef passes data by reference, copy fetches it", async ({ con, code, make }) => {
  const config = { port: 1 };
  const seen = await make({
    js: "async (c) => [await c.port, await c.name]",
    py: "lambda c: [c.port, c.name]",
  })(
    byRef(Object.assign(config, { name: "x" }), { fields: true }),
  );
  assertEquals(seen, [1, "x"]);
  await make({ js: "async (c) => { c.port = 8080; await c.port }", py: "def f(c): c.port = 8080" })(
    byRef(config, { fields: true, writable: true }),
  );
  assertEquals(config.port, 8080);
  await assertRejects(
    async () =>
      await make({ js: "async (c) => await c.port", py: "lambda c: c.port()" })(byRef({ port: 1 })),
    Error,
    "it was not passed",
  );
  await con.execute(
    code({
      js: "class Job { constructor() { this.id = 7; this.tags = ['a'] } }",
      py: "class Job:\n def __init__(self): self.id = 7; self.tags = ['a']",
    }),
  );
  const job = await con.eval(code({ js: "new Job", py: "Job()" }));
  assertEquals(await copy(job), { id: 7, tags: ["a"] });
}, { needs: [] });

capability("a value that cannot cross is refused before a byte is sent", async ({ con, make }) => {
  const echo = await make(ECHO);
  const before = con.stats.bytesSent;
  const detached = new Uint8Array(8);
  structuredClone(detached, { transfer: [detached.buffer] });
  const error = await assertRejects(
    async () => await echo({ config: { socket: detached } }),
    UncrossableError,
  );
  assertEquals(error.path, "args[0].config.socket");
  assertMatch(error.message, /^Cannot send args\[0\]\.config\.socket: its buffer is detached/);
  const trap = {
    list: [1, {
      get bad() {
        throw new Error("trap");
      },
    }],
  };
  const other = await assertRejects(async () => await echo(trap), UncrossableError);
  assertEquals(other.path, "args[0].list[1].bad");
  assertEquals((other.cause as Error).message, "trap");
  const stream = new ReadableStream();
  stream.getReader();
  const locked = await assertRejects(
    async () => await echo([new Map([["in", stream]])]),
    UncrossableError,
  );
  assertStringIncludes(locked.message, "args[0][0].values()[0]");
  let deep: unknown = 0;
  for (let i = 0; i < 1000; i++) deep = { deep };
  await assertRejects(async () => await echo(deep), UncrossableError, "limits.depth");
  assertEquals(con.stats.bytesSent, before);
  assertEquals(con.stats.localRefs, 0);
}, { needs: [] });

capability("a result that cannot cross is the call's error", async ({ con, code, row }) => {
  const error = await assertRejects(
    async () =>
      await con.eval(code({
        js: "({ a: { get b() { throw new Error('trap') } } })",
        py: "deep = 0\nfor _ in range(1000): deep = {'deep': deep}\ndeep",
      })),
    Error,
  );
  assertStringIncludes(
    error.message,
    row.runtime === "python" ? "limits.depth" : "the result.a.b",
  );
  assertEquals(await con.eval("1"), 1);
}, { needs: [] });
