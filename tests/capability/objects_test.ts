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
import { capability } from "../matrix.ts";
import { roundTrips, settle, unhandledRejections, until } from "./observe.ts";

capability("a path of any length is one round trip", async ({ con }) => {
  await con.execute("deep = { a: { b: { c: { d: (x) => ({ e: [x, { f: x + 1 }] }) } } } }");
  const deep = con.eval("deep");
  const { trips, value } = await roundTrips(con, () => deep.a.b.c.d(1).e[1].f);
  assertEquals(value, 2);
  assertEquals(trips, 1);
});

capability("modules, calls as arguments and their results are one round trip", async ({ con }) => {
  const { os, path } = con.modules;
  const { trips, value } = await roundTrips(con, () => path.join(os.tmpdir(), "x"));
  assertEquals(value, `${await os.tmpdir()}/x`);
  assertEquals(trips, 1);
});

capability("results are targets and arguments before they arrive", async ({ con, make }) => {
  const add = make({ js: "(a, b) => a + b" });
  const { trips, value } = await roundTrips(con, () => add(add(add(1, 2), add(3, 4)), 5));
  assertEquals(value, 15);
  assertEquals(trips, 1);
});

capability("promises may stand anywhere in an argument", async ({ con, make }) => {
  const show = make({ js: "(x) => JSON.stringify([...x.list, ...x.map.values(), x.deep.er])" });
  const one = con.eval("1");
  const { trips, value } = await roundTrips(
    con,
    () =>
      show({ list: [one, 2], map: new Map([["k", con.eval("3")]]), deep: { er: con.eval("4") } }),
  );
  assertEquals(value, "[1,2,3,4]");
  assertEquals(trips, 1);
});

capability("calls are sent in the turn that makes them, in order", async ({ con }) => {
  await con.execute("order = []; function note(n) { order.push(n) }");
  const note = await con.eval("note");
  for (let i = 0; i < 100; i++) note(i);
  assertEquals(await con.eval("order"), Array.from({ length: 100 }, (_, i) => i));
});

capability("ten thousand calls at once", async ({ make }) => {
  const echo = await make({ js: "(x) => x" });
  const all = await Promise.all(Array.from({ length: 10_000 }, (_, i) => echo(i)));
  assert(all.every((value, i) => value === i));
});

capability("an error at the start of a chain is the error of all of it, once", async ({ con }) => {
  using unhandled = unhandledRejections();
  const broken = con.eval("(() => { throw new RangeError('early') })()");
  const error = await assertRejects(
    async () => await broken.a.b(1).c(broken.d, [broken]),
    RemoteError,
  );
  assertEquals([error.type, error.message], ["RangeError", "early"]);
  await settle(con);
  assertEquals(unhandled.reasons, []);
});

capability("an error that nobody observes is an unhandled rejection, once", async ({ con }) => {
  using unhandled = unhandledRejections();
  con.eval("(() => { throw new RangeError('unseen') })()");
  await until(con, () => unhandled.reasons.length > 0);
  await settle(con);
  assertEquals(unhandled.reasons.map((error) => (error as Error).message), ["unseen"]);
});

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

capability("classes are constructed", async ({ con }) => {
  await con.execute(`class Point {
    constructor(x, y) { this.x = x; this.y = y }
    get length() { return Math.hypot(this.x, this.y) }
    plus(other) { return new Point(this.x + other.x, this.y + other.y) }
    static origin() { return new Point(0, 0) }
  }`);
  const Point = await con.eval("Point");
  const { trips, value } = await roundTrips(con, () => new Point(3, 4).length);
  assertEquals([trips, value], [1, 5]);
  const a = new Point(1, 2);
  assertEquals(await a.plus(new Point(2, 2)).length, 5);
  assertEquals(await Point.origin().x, 0);
  assertEquals(await new con.globals.Date(0).toISOString(), "1970-01-01T00:00:00.000Z");
  assert(isRemote(await a));
  await assertRejects(async () => await new (con.eval("1"))(), RemoteError, "constructor");
});

capability("properties are set, looked for, deleted and listed", async ({ con }) => {
  await con.execute("class Box { constructor() { this.a = 1 } get fixed() { return 1 } }");
  const box = await con.eval("new Box") as object & Record<string, unknown>;
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
  assertStringIncludes(error.message, 'Cannot set property "fixed" of Box object');
  await con.execute("frozen = Object.freeze(new Box)");
  const frozen = con.eval("frozen");
  await assertRejects(async () => await con.set(frozen, "a", 2), RemoteError, 'property "a"');
  await assertRejects(async () => await con.delete(frozen, "a"), RemoteError, 'property "a"');
  assertThrows(() => "a" in box, TypeError, "await has(object");
  await assertRejects(async () => await con.set({}, "a", 1), TypeError, "not a remote object");
});

capability("a plain assignment that fails is an unhandled rejection", async ({ con }) => {
  using unhandled = unhandledRejections();
  const frozen = await con.eval("Object.freeze(new (class Ice {}))");
  frozen.x = 1;
  await until(con, () => unhandled.reasons.length > 0);
  const [error] = unhandled.reasons as Error[];
  assertStringIncludes(error!.message, 'Cannot set property "x" of Ice object');
});

capability("the same remote object is the same reference here", async ({ con, make }) => {
  await con.execute("class Thing {}; thing = new Thing; other = new Thing");
  const thing = await con.eval("thing");
  assertStrictEquals(await con.eval("thing"), thing);
  assertNotStrictEquals(await con.eval("other"), thing);
  assertStrictEquals(await con.eval("[1, { thing }]")[1].thing, thing);
  const same = make({ js: "(a, b) => a === b" });
  const scope = con.scope({ thing });
  assertEquals(await same(thing, scope.thing), true);
  assertEquals(await same(thing, con.eval("other")), false);
});

capability("what comes home is the original", async ({ make }) => {
  const echo = await make({ js: "(x) => x" });
  class Mine {
    value = 1;
  }
  const mine = new Mine();
  const callback = () => 1;
  assertStrictEquals(await echo(mine), mine);
  assertStrictEquals(await echo(callback), callback);
  const back = await echo({ deep: [mine, new Map([["k", callback]])] }) as {
    deep: [Mine, Map<string, unknown>];
  };
  assertStrictEquals(back.deep[0], mine);
  assertStrictEquals(back.deep[1].get("k"), callback);
});

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

capability("a settled reference has no then, so async functions can return it", async ({ con }) => {
  const ref = await (async () => await con.eval("new (class Late {})"))();
  assertEquals((ref as { then?: unknown }).then, undefined);
  assert(isRemote(ref));
  assert(isRemote(con.eval("1")));
  assert(!isRemote({}));
  assert(!isRemote(() => {}));
});
