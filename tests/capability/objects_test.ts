import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { isRemote, RemoteError } from "../../mod.ts";
import { type Anything, capability } from "../matrix.ts";
import { roundTrips, settle, unhandledRejections, until } from "./observe.ts";

capability("a path of any length is one round trip", async ({ con, code }) => {
  await con.execute(
    code({
      js: "deep = { a: { b: { c: { d: (x) => ({ e: [x, { f: x + 1 }] }) } } } }",
      py: "deep = {'a': {'b': {'c': {'d': lambda x: {'e': [x, {'f': x + 1}]}}}}}",
    }),
  );
  const deep = con.eval("deep");
  const { trips, value } = await roundTrips(con, () => deep.a.b.c.d(1).e[1].f);
  assertEquals(value, 2);
  assertEquals(trips, 1);
}, { needs: [] });

capability(
  "modules, calls as arguments and their results are one round trip",
  async ({ con, row }) => {
    const modules = con.modules as Anything;
    const { path, folder } = row.runtime === "python"
      ? { path: modules.os.path, folder: modules.tempfile.gettempdir }
      : { path: modules.path, folder: modules.os.tmpdir };
    const { trips, value } = await roundTrips(con, () => path.join(folder(), "x"));
    assertEquals(value, `${await folder()}/x`);
    assertEquals(trips, 1);
  },
  { needs: [] },
);

capability("results are targets and arguments before they arrive", async ({ con, make }) => {
  const add = make({ js: "(a, b) => a + b", py: "lambda a, b: a + b" });
  const { trips, value } = await roundTrips(con, () => add(add(add(1, 2), add(3, 4)), 5));
  assertEquals(value, 15);
  assertEquals(trips, 1);
}, { needs: [] });

capability("promises may stand anywhere in an argument", async ({ con, make }) => {
  const show = make({
    js: "(x) => JSON.stringify([...x.list, ...x.map.values(), x.deep.er])",
    py: "lambda x: str(x['list'] + list(x['map'].values()) + [x['deep']['er']]).replace(' ', '')",
  });
  const one = con.eval("1");
  const { trips, value } = await roundTrips(
    con,
    () =>
      show({ list: [one, 2], map: new Map([["k", con.eval("3")]]), deep: { er: con.eval("4") } }),
  );
  assertEquals(value, "[1,2,3,4]");
  assertEquals(trips, 1);
}, { needs: [] });

capability("calls are sent in the turn that makes them, in order", async ({ con }) => {
  await con.execute("order = []; function note(n) { order.push(n) }");
  const note = await con.eval("note");
  for (let i = 0; i < 100; i++) note(i);
  assertEquals(await con.eval("order"), Array.from({ length: 100 }, (_, i) => i));
});

capability("ten thousand calls at once", async ({ make }) => {
  const echo = await make({ js: "(x) => x", py: "lambda x: x" });
  const all = await Promise.all(Array.from({ length: 10_000 }, (_, i) => echo(i)));
  assert(all.every((value, i) => value === i));
}, { needs: [] });

capability(
  "an error at the start of a chain is the error of all of it, once",
  async ({ con, code, row }) => {
    using unhandled = unhandledRejections();
    const broken = con.eval(
      code({
        js: "(() => { throw new RangeError('early') })()",
        py: "(_ for _ in ()).throw(ValueError('early'))",
      }),
    );
    const error = await assertRejects(
      async () => await broken.a.b(1).c(broken.d, [broken]),
      RemoteError,
    );
    assertEquals([error.type, error.message], [
      row.runtime === "python" ? "ValueError" : "RangeError",
      "early",
    ]);
    await settle(con);
    assertEquals(unhandled.reasons, []);
  },
  { needs: [] },
);

capability(
  "an error that nobody observes is an unhandled rejection, once",
  async ({ con, code }) => {
    using unhandled = unhandledRejections();
    con.eval(
      code({
        js: "(() => { throw new RangeError('unseen') })()",
        py: "(_ for _ in ()).throw(ValueError('unseen'))",
      }),
    );
    await until(con, () => unhandled.reasons.length > 0);
    await settle(con);
    assertEquals(unhandled.reasons.map((error) => (error as Error).message), ["unseen"]);
  },
  { needs: [] },
);

capability("JSON of a reference is refused here, and costs no call", async ({ con, code }) => {
  using unhandled = unhandledRejections();
  const object = await con.eval(
    code({
      js: "new (class Car { toJSON() { return 'its own' } })()",
      py: "type('Car', (), {'toJSON': lambda self: 'its own'})()",
    }),
  );
  const { framesSent } = con.stats;
  for (const value of [object, { list: [object] }, con.modules]) {
    assertThrows(() => JSON.stringify(value), TypeError, "Cannot make JSON of a reference");
  }
  assertEquals(con.stats.framesSent, framesSent);
  assertEquals(await (object as unknown as { toJSON(): Promise<string> }).toJSON(), "its own");
  await settle(con);
  assertEquals(unhandled.reasons, []);
}, { needs: [] });

capability("what is not there is a TypeError that names it", async ({ con }) => {
  const error = await assertRejects(
    async () => await con.eval("({ list: [] })").lost.further(),
    RemoteError,
  );
  assertEquals(error.type, "TypeError");
  assertStringIncludes(error.message, '"further" of undefined');
  const other = await assertRejects(
    async () => await con.eval("new (class Car {})").drive(),
    RemoteError,
  );
  assertStringIncludes(other.message, 'Car object has no method "drive"');
});

capability("what is not there is an AttributeError that names it", async ({ con }) => {
  for (const source of ["{'list': []}", "type('Car', (), {})()"]) {
    const error = await assertRejects(
      async () => await con.eval(source).lost.further(),
      RemoteError,
    );
    assertEquals(error.type, "AttributeError");
    assertStringIncludes(error.message, "'lost'");
  }
}, { needs: ["python"] });

capability("classes are constructed", async ({ con, code, row }) => {
  await con.execute(code({
    js: `class Point {
    constructor(x, y) { this.x = x; this.y = y }
    get length() { return Math.hypot(this.x, this.y) }
    plus(other) { return new Point(this.x + other.x, this.y + other.y) }
    static origin() { return new Point(0, 0) }
  }`,
    py: `class Point:
    def __init__(self, x, y): self.x, self.y = x, y
    @property
    def length(self): return (self.x ** 2 + self.y ** 2) ** .5
    def plus(self, other): return Point(self.x + other.x, self.y + other.y)
    @staticmethod
    def origin(): return Point(0, 0)`,
  }));
  const Point = await con.eval("Point");
  const { trips, value } = await roundTrips(con, () => new Point(3, 4).length);
  assertEquals([trips, value], [1, 5]);
  const a = new Point(1, 2);
  assertEquals(await a.plus(new Point(2, 2)).length, 5);
  assertEquals(await Point.origin().x, 0);
  if (row.runtime !== "python") {
    assertEquals(await new con.globals.Date(0).toISOString(), "1970-01-01T00:00:00.000Z");
  }
  assert(isRemote(await a));
  await assertRejects(
    async () => await new (con.eval("1"))(),
    RemoteError,
    row.runtime === "python" ? "not callable" : "constructor",
  );
}, { needs: [] });

capability("properties are set, looked for, deleted and listed", async ({ con, code, row }) => {
  await con.execute(
    code({
      js: "class Box { constructor() { this.a = 1 } get fixed() { return 1 } }",
      py: "class Box:\n def __init__(self): self.a = 1\n @property\n def fixed(self): return 1",
    }),
  );
  const box = await con.eval(code({ js: "new Box", py: "Box()" })) as
    & object
    & Record<string, unknown>;
  await con.set(box, "b", [1, { c: 2 }]);
  assertEquals(await box.b, [1, { c: 2 }]);
  assertEquals(await con.has(box, "b"), true);
  assertEquals(await con.has(box, "fixed"), true);
  assertEquals(await con.has(box, "none"), false);
  assertEquals(await con.keys(box), ["a", "b"]);
  await con.delete(box, "a");
  assertEquals(await con.keys(box), ["b"]);
  box.d = 4;
  assertEquals(await box.d, 4);
  delete box.d;
  assertEquals(await con.has(box, "d"), false);
  const error = await assertRejects(async () => await con.set(box, "fixed", 2), RemoteError);
  assertThrows(() => "a" in box, TypeError, "await has(object");
  await assertRejects(async () => await con.set({}, "a", 1), TypeError, "not a remote object");
  if (row.runtime === "python") {
    assertEquals(error.type, "AttributeError");
    return;
  }
  assertStringIncludes(error.message, 'Cannot set property "fixed" of Box object');
  await con.execute("frozen = Object.freeze(new Box)");
  const frozen = con.eval("frozen");
  await assertRejects(async () => await con.set(frozen, "a", 2), RemoteError, 'property "a"');
  await assertRejects(async () => await con.delete(frozen, "a"), RemoteError, 'property "a"');
}, { needs: [] });

capability(
  "a plain assignment that fails is an unhandled rejection",
  async ({ con, code, row }) => {
    using unhandled = unhandledRejections();
    const frozen = await con.eval(
      code({ js: "Object.freeze(new (class Ice {}))", py: "type('Ice', (), {'__slots__': ()})()" }),
    );
    frozen.x = 1;
    await until(con, () => unhandled.reasons.length > 0);
    const [error] = unhandled.reasons as Error[];
    assertStringIncludes(
      error!.message,
      row.runtime === "python"
        ? "'Ice' object has no attribute 'x'"
        : 'Cannot set property "x" of Ice object',
    );
  },
  { needs: [] },
);

capability("the same remote object is the same reference here", async ({ con, code, make }) => {
  await con.execute(
    code({
      js: "class Thing {}; thing = new Thing; other = new Thing",
      py: "class Thing: pass\nthing = Thing(); other = Thing()",
    }),
  );
  const thing = await con.eval("thing");
  assertStrictEquals(await con.eval("thing"), thing);
  assertNotStrictEquals(await con.eval("other"), thing);
  assertStrictEquals(await con.eval("[1, { 'thing': thing }]")[1].thing, thing);
  const same = make({ js: "(a, b) => a === b", py: "lambda a, b: a is b" });
  const scope = con.scope({ thing });
  assertEquals(await same(thing, scope.thing), true);
  assertEquals(await same(thing, con.eval("other")), false);
}, { needs: [] });

capability("what comes home is the original", async ({ make }) => {
  const echo = await make({ js: "(x) => x", py: "lambda x: x" });
  class Mine {
    value = 1;
  }
  const mine = new Mine();
  const callback = () => 1;
  assertStrictEquals(await echo(mine), mine);
  assertStrictEquals(await echo(callback), callback);
  const back = await echo({ deep: [mine, new Map([[1, callback]])] }) as {
    deep: [Mine, Map<number, unknown>];
  };
  assertStrictEquals(back.deep[0], mine);
  assertStrictEquals(back.deep[1].get(1), callback);
}, { needs: [] });

capability("a reference is shown without a round trip", async ({ con }) => {
  await con.execute("class Engine { start() {} }; function go() {}");
  const engine = await con.eval("new Engine");
  const go = await con.eval("go");
  const Engine = await con.eval("Engine");
  const before = con.stats.framesSent;
  assertEquals(Deno.inspect(engine), "[remote object Engine]");
  assertEquals(Deno.inspect(go), "[remote function go]");
  assertEquals(Deno.inspect(Engine), "[remote class Engine]");
  assertEquals(Deno.inspect(con.eval), Deno.inspect(con.eval));
  assertEquals(`${engine}`, "[remote object Engine]");
  assertEquals(String(go), "[remote function go]");
  assertEquals(Deno.inspect({ engine }), "{ engine: [remote object Engine] }");
  assertEquals(con.stats.framesSent, before);
});

capability("a reference shows its class and its repr, without a round trip", async ({ con }) => {
  await con.execute("class Engine:\n def __repr__(self): return 'Engine(7)'\ndef go(): pass");
  const engine = await con.eval("engine = Engine(); engine");
  const go = await con.eval("go");
  const before = con.stats.framesSent;
  assertEquals(Deno.inspect({ engine }), "{ engine: [remote Engine Engine(7)] }");
  assertEquals(`${engine}`, "[remote Engine Engine(7)]");
  assertStringIncludes(String(go), "[remote function <function go at ");
  assertEquals(con.stats.framesSent, before);
}, { needs: ["python"] });

capability(
  "a settled reference has no then, so async functions can return it",
  async ({ con, code }) => {
    const ref =
      await (async () =>
        await con.eval(code({ js: "new (class Late {})", py: "type('Late', (), {})()" })))();
    assertEquals((ref as { then?: unknown }).then, undefined);
    assert(isRemote(ref));
    assert(isRemote(con.eval("1")));
    assert(!isRemote({}));
    assert(!isRemote(() => {}));
  },
  { needs: [] },
);
