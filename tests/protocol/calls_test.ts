import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { ByRef } from "../../protocol/access.ts";
import { ConnectionClosedError, ConnectionLostError } from "../../protocol/errors.ts";
import { RemoteError } from "../../protocol/remote_error.ts";
import { How } from "../../protocol/messages.ts";
import { makeStub, stubInfo } from "../../protocol/proxy.ts";
import { EMPTY_TABLES, Pair, tables, turn, unhandledDuring } from "./pair.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

class Counter {
  n = 0;
  add(by: number): number {
    return this.n += by;
  }
  self(): this {
    return this;
  }
  async later(by: number): Promise<number> {
    await turn();
    return this.add(by);
  }
}

function byReference<T extends object>(value: T): ByRef {
  return new ByRef(value, {});
}

function makeRoot() {
  const kept: Any[] = [];
  return {
    kept,
    count: 0,
    counter: new Counter(),
    Counter,
    path: { join: (...parts: string[]) => parts.join("/"), sep: "/" },
    cwd: () => "/home",
    echo: (value: unknown) => value,
    many: (...values: unknown[]) => values,
    touch(this: Any) {
      return ++this.count;
    },
    typeOf: (value: Any) => value instanceof Promise ? "promise" : typeof value,
    fail: (message = "no") => {
      throw Object.assign(new TypeError(message), { code: "E_NO" });
    },
    failLater: async () => {
      await turn();
      throw new RangeError("later");
    },
    throws: (value: unknown) => {
      throw value;
    },
    call: (f: Any, ...args: unknown[]) => f(...args),
    keep: (value: Any) => kept.push(value),
    kept0: (...args: unknown[]) => kept[0](...args),
    same: (a: unknown, b: unknown) => a === b,
    never: () => new Promise(() => {}),
    object: {
      a: 1,
      b: [2],
      get broken() {
        throw new Error("getter");
      },
    } as Record<string, unknown>,
    frozen: Object.freeze({ fixed: true }),
    nothing: null,
    plain: () => ({ f: () => 1, list: [1, 2, 3], deep: { x: 5 } }),
    big: (n: number) => new Uint8Array(n).fill(1),
    size: (bytes: Uint8Array) => bytes.length,
  };
}

/** The number of answers that `work` waits for. */
async function trips(pair: Pair, work: () => unknown): Promise<number> {
  const before = pair.client.stats.roundTrips;
  await work();
  return pair.client.stats.roundTrips - before;
}

const operate = (pair: Pair, stub: Any, how: How, keys: string[] = [], args: unknown[] = []) => {
  const { base, path } = stubInfo(stub)!;
  const { caller } = pair.client;
  return caller.pull(caller.call(base, [...path, ...keys], how, args, true).question) as Promise<
    Any
  >;
};

Deno.test("a path, its call, and calls for its arguments are one round trip", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  assertEquals(
    await trips(pair, async () => {
      assertEquals(await root.path.join(root.cwd(), "x", root.path.sep), "/home/x//");
    }),
    1,
  );
  assertEquals(
    await trips(pair, async () => {
      assertEquals(await root.counter.self().self().later(root.path.join("1").length), 1);
    }),
    1,
  );
  assertEquals(
    await trips(pair, async () => {
      assertEquals(
        await root.echo({ deep: [root.cwd(), new Map([[root.cwd(), root.path.sep]])] }),
        {
          deep: ["/home", new Map([["/home", "/"]])],
        },
      );
    }),
    1,
  );
});

Deno.test("a promise as key or member of a collection keeps its place", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const later = () => root.counter.later(0);
  const map = new Map<unknown, unknown>([[later(), "first"], ["x", later()], ["y", 1]]);
  assertEquals([...await root.echo(map)], [[0, "first"], ["x", 0], ["y", 1]]);
  assertEquals([...await root.echo(new Set(["a", later(), "b"]))], ["a", 0, "b"]);
  const error = await root.echo(new Error("m", { cause: later() }));
  assertEquals(error.cause, 0);
  const key = Symbol.for("key");
  assertEquals((await root.echo({ [key]: later() }))[key], 0);
});

Deno.test("calls are eager, and their values are only fetched when somebody asks", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const call = pair.root.touch();
  await pair.fence();
  assertEquals(plain.count, 1);
  assertEquals(pair.client.stats.framesReceived, 0);
  assertEquals(await call, 1);
  // A property is not read before it is needed.
  const { sent } = { sent: pair.client.stats.framesSent };
  void pair.root.path.sep;
  await pair.fence();
  assertEquals(pair.client.stats.framesSent, sent);
});

Deno.test("a result is used in the same way before and after it has come", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  for (const wait of [false, true]) {
    const text = root.cwd();
    const object = root.plain();
    const counter = root.counter.self();
    if (wait) await Promise.all([text, object, counter]);
    assertEquals(await root.typeOf(text), "string");
    assertEquals(await root.path.join(text, object.list[2]), "/home/3");
    assertEquals(await object.deep.x, 5);
    assertEquals(await object.f(), 1);
    assertEquals(await root.same(counter, root.counter), true);
    assertEquals(await counter.add(0), 0);
    assertEquals(await counter.n, 0);
  }
});

Deno.test("a result that came by value is no longer remote, and says so", async () => {
  await using pair = new Pair(makeRoot());
  const list = pair.root.plain().list;
  const value = pair.root.echo({ a: 1 });
  assertEquals(await list, [1, 2, 3]);
  await value;
  await assertRejects(async () => await new value.a(), TypeError, "arrived by value");
});

Deno.test("an error in an early link rejects the whole chain with it, once", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const unhandled = await unhandledDuring(async () => {
    const first = root.fail("early");
    const error = await assertRejects(
      async () => await root.path.join(first.a.b(1).c, root.cwd()),
      RemoteError,
      "early",
    );
    assertEquals(error.type, "TypeError");
    assertEquals(error.code, "E_NO");
    await assertRejects(async () => await root.failLater().x.y(), RemoteError, "later");
  });
  assertEquals(unhandled, []);
});

Deno.test("a failed call that nobody awaits is one unhandled rejection", async () => {
  await using pair = new Pair(makeRoot());
  for (
    const [work, message] of [
      [() => void pair.root.fail("alone"), "alone"],
      [() => void pair.root.failLater(), "later"],
      [() => void pair.root.fail("chain").a.b().c(), "chain"],
      [() => void (pair.root.frozen.fixed = false), `Cannot set property "fixed"`],
      [() => void pair.root.echo(pair.root.object.broken), "getter"],
    ] as const
  ) {
    const unhandled = await unhandledDuring(async () => {
      work();
      await pair.fence();
    });
    assertEquals(unhandled.length, 1, message);
    assert(String(unhandled[0]).includes(message), String(unhandled[0]));
  }
});

Deno.test("what is wrong before it is sent is lost no more than what fails there", async () => {
  await using pair = new Pair(makeRoot());
  const buffer = new ArrayBuffer(1);
  const bytes = new Uint8Array(buffer);
  structuredClone(buffer, { transfer: [buffer] });
  const unhandled = await unhandledDuring(() => {
    void pair.root.echo({ config: { bytes } });
    pair.root.object.bytes = bytes;
  });
  assertEquals(unhandled.map(String), [
    "UncrossableError: Cannot send args[0].config.bytes: its buffer is detached",
    "UncrossableError: Cannot send args[0]: its buffer is detached",
  ]);
  const sent = pair.client.stats.bytesSent;
  await assertRejects(async () => await pair.root.many(new Uint8Array(9999), bytes), TypeError);
  assertEquals(pair.client.stats.bytesSent, sent);
  await pair.root.cwd();
  assert(pair.client.stats.bytesSent < sent + 100, "bytes of a refused call were sent");
});

Deno.test("an argument that cannot be read fails its call, and nothing else", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  await assertRejects(async () => await root.echo(root.nothing.x), RemoteError, "Cannot read");
  await assertRejects(async () => await root.echo([root.object.broken]), RemoteError, "getter");
  await assertRejects(async () => await root.echo({ a: root.fail("x") }), RemoteError, "x");
  assertEquals(await root.cwd(), "/home");
});

Deno.test("errors cross with their cause, their parts and both stacks; other values are thrown as they are", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const thrown = await root.throws(
    new AggregateError([new TypeError("one"), "two"], "several", { cause: { a: 1 } }),
  ).catch((error: unknown) => error);
  assertInstanceOf(thrown, RemoteError);
  assertEquals(thrown.type, "AggregateError");
  assertEquals(thrown.cause, { a: 1 });
  assertEquals((thrown.errors as Error[]).map(String), ["TypeError: one", "two"]);
  for (const value of [undefined, null, 0, "text", { code: 1 }, [1n]]) {
    assertEquals(await root.throws(value).then(() => "none", (error: unknown) => error), value);
  }
  const error = await root.fail().catch((error: Error) => error);
  assert(error.stack.includes("calls_test.ts") && error.stack.includes("on the remote side"));
  const back = await root.call(() => {
    throw new RangeError("from a callback");
  }).catch((error: RemoteError) => error);
  assertEquals([back.type, back.message], ["RangeError", "from a callback"]);
});

Deno.test("new, set, has, delete, keys and copy", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const { root } = pair;
  const counter = await new root.Counter();
  assertEquals(await counter.add(3), 3);
  assertEquals(await operate(pair, counter, How.copy), { n: 3 });
  assertEquals(await operate(pair, root.object, How.keys), ["a", "b", "broken"]);
  assertEquals(await operate(pair, root.object, How.has, ["a"]), true);
  assertEquals(await operate(pair, root.object, How.has, ["toString"]), true);
  assertEquals(await operate(pair, root.object, How.has, ["z"]), false);
  await operate(pair, root.object, How.set, ["z"], [{ deep: 1n }]);
  assertEquals(plain.object.z, { deep: 1n });
  root.object.y = 5;
  delete root.object.z;
  await pair.fence();
  assertEquals([plain.object.y, "z" in plain.object], [5, false]);
  await assertRejects(() => operate(pair, root.frozen, How.delete, ["fixed"]), RemoteError);
  assertThrows(() => "a" in root.object, TypeError, "await has(");
  assertThrows(() => Object.defineProperty(root, "a", { value: 1 }), TypeError, "assign to it");
});

Deno.test("console.log of a reference shows what it is, and sends nothing", async () => {
  await using pair = new Pair(makeRoot());
  const counter = await pair.root.counter;
  const f = await pair.root.cwd;
  const type = await pair.root.Counter;
  const sent = pair.client.stats.framesSent;
  assertEquals(Deno.inspect(counter), "[remote object Counter]");
  assertEquals(Deno.inspect([f, type]), "[ [remote function cwd], [remote class Counter] ]");
  assertEquals(String(counter), "[remote object Counter]");
  assertEquals(Deno.inspect(pair.root.a.b), "[remote promise]");
  await pair.fence();
  assertEquals(pair.client.stats.framesSent, sent);
});

Deno.test("the same object is the same reference while it lives, and itself when it comes home", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const { root } = pair;
  const [a, b] = await Promise.all([root.counter, root.counter.self()]);
  assertStrictEquals(a, b);
  assert(await root.same(a, root.counter));
  const mine = { then() {} };
  const f = () => {};
  const symbol = Symbol("mine");
  const [x, y, z] = await root.many(mine, f, symbol);
  assertStrictEquals(x, mine);
  assertStrictEquals(y, f);
  assertStrictEquals(z, symbol);
  assertStrictEquals((await root.echo({ f })).f, f);
  await root.keep(a);
  assertStrictEquals(plain.kept[0], plain.counter);
});

Deno.test("a resolved reference can be returned from an async function", async () => {
  await using pair = new Pair(makeRoot());
  const get = async () => {
    const counter = await pair.root.counter;
    return counter;
  };
  assertEquals((await get()).then, undefined);
});

Deno.test("callbacks nest to depth 50, and each level has its own error", async () => {
  await using pair = new Pair({
    down: (n: number, f: Any) => f(n),
  });
  const step = (n: number): Any => n === 0 ? "bottom" : pair.root.down(n - 1, step);
  assertEquals(await pair.root.down(50, step), "bottom");
  const fail = (n: number): Any => {
    if (n === 0) throw new RangeError("at the bottom");
    return pair.root.down(n - 1, fail);
  };
  const unhandled = await unhandledDuring(async () => {
    const error = await pair.root.down(50, fail).catch((error: unknown) => error);
    assertInstanceOf(error, RemoteError);
    assertEquals([error.type, error.message], ["RangeError", "at the bottom"]);
  });
  assertEquals(unhandled, []);
});

Deno.test("a stored callback works after the call that brought it has ended", async () => {
  await using pair = new Pair(makeRoot());
  const heard: unknown[] = [];
  await pair.root.keep((...args: unknown[]) => heard.push(args));
  await pair.fence();
  for (let i = 0; i < 3; i++) await pair.root.kept0(i, { i });
  assertEquals(heard, [[0, { i: 0 }], [1, { i: 1 }], [2, { i: 2 }]]);
});

Deno.test("a callback inside objects, and the methods of an instance, are called there", async () => {
  await using pair = new Pair({
    use: async (options: Any) => [await options.on.done("x"), await options.service.double(4)],
    field: async (service: Any) => await service.secret,
  });
  class Service {
    secret = 1;
    double(n: number): number {
      return 2 * n;
    }
  }
  assertEquals(
    await pair.root.use({ on: { done: (text: string) => text + "!" }, service: new Service() }),
    ["x!", 8],
  );
  await assertRejects(async () => await pair.root.field(new Service()), RemoteError, "Cannot read");
  const opened = new ByRef(new Service(), { fields: true });
  assertEquals(await pair.root.field(opened), 1);
});

Deno.test("promises of this side are promises there, and fail there", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const { root } = pair;
  assertEquals(await root.typeOf(Promise.resolve(1)), "promise");
  assertEquals(await root.echo(turn().then(() => ({ late: 1n }))), { late: 1n });
  const shared = Promise.resolve(5);
  await root.keep([shared, shared]);
  assertStrictEquals(plain.kept[0][0], plain.kept[0][1]);
  const unhandled = await unhandledDuring(async () => {
    await assertRejects(
      async () => await root.echo(Promise.reject(new RangeError("mine"))),
      RemoteError,
      "mine",
    );
  });
  assertEquals(unhandled, []);
});

Deno.test("a result with promises of this side in it waits for them, and ends with the session", async () => {
  await using pair = new Pair({
    wrap: (f: Any) => ({ value: f(), again: 1n }),
  });
  const result = pair.root.wrap(() => turn().then(() => "mine"));
  assertEquals(await result, { value: "mine", again: 1n });
  const waits = pair.root.wrap(() => new Promise(() => {}));
  const lost = assertRejects(async () => await waits, ConnectionLostError);
  await pair.fence();
  // A call on the result that is still incomplete here is whole there.
  assertEquals(await waits.again, 1n);
  pair.cut();
  await lost;
});

Deno.test("two connections: a reference of one is an object of this side to the other", async () => {
  const first = makeRoot();
  await using one = new Pair(first);
  await using two = new Pair(makeRoot());
  const add = await one.root.counter.add;
  assertEquals(await two.root.call(one.root.cwd), "/home");
  assertEquals(await two.root.typeOf(one.root.cwd()), "string");
  void add;
  const counter = await one.root.counter;
  assertStrictEquals(await two.root.echo(counter), counter);
});

Deno.test("big values and small calls share the link", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain, { pressure: true });
  const big = new Uint8Array(4 << 20).fill(3);
  const order: string[] = [];
  const upload = pair.root.size(big).then((n: number) => order.push(`up ${n}`));
  const download = pair.root.big(4 << 20).then((b: Uint8Array) => order.push(`down ${b.length}`));
  for (let i = 0; i < 5; i++) {
    assertEquals(await pair.root.cwd(), "/home");
    order.push("small");
  }
  await Promise.all([upload, download]);
  assertEquals(order.slice(0, 5), Array(5).fill("small"));
  assertEquals(order.slice(5).sort(), ["down 4194304", "up 4194304"]);
});

Deno.test("values of every size arrive whole", async () => {
  await using pair = new Pair(makeRoot(), { fragment: 50_021 });
  for (const n of [0, 1, 16384, 16385, 65536, 262144, 262145, 1 << 20]) {
    const bytes = Uint8Array.from({ length: n }, (_, i) => i * 7);
    const text = "ä".repeat(n);
    const [b, t, list] = await pair.root.many(bytes, text, Array(n >> 2).fill(n));
    assert(b.length === n && b.every((byte: number, i: number) => byte === bytes[i]), String(n));
    assertStrictEquals(t, text);
    assertEquals(list.length, n >> 2);
  }
});

Deno.test("what is sent in one turn is cut into frames, however much it is", async () => {
  let longest = 0;
  await using pair = new Pair(makeRoot(), {
    tap: (_, bytes) => longest = Math.max(longest, bytes.length),
  });
  const text = "x".repeat(1000);
  const calls = Array.from({ length: 10_000 }, () => pair.root.echo(text));
  const bytes = Array.from({ length: 500 }, () => pair.root.size(new Uint8Array(16_000)));
  assertEquals((await Promise.all(calls)).length, 10_000);
  assertEquals(new Set(await Promise.all(bytes)), new Set([16_000]));
  assert(longest < 1 << 20, String(longest));
});

Deno.test("a value beyond the limit is refused before it is sent, by its place and the limit's name", async () => {
  await using pair = new Pair(makeRoot(), { client: { limits: { valueBytes: 50_000 } } });
  const error = await assertRejects(
    async () => await pair.root.echo({ a: [new Uint8Array(50_001)] }),
    TypeError,
  );
  assertEquals(
    error.message,
    "Cannot send args[0].a[0]: it has 50001 bytes; limits.valueBytes is 50000",
  );
  assertEquals(await pair.root.cwd(), "/home");
});

Deno.test("a path of a length that nobody means is refused", async () => {
  await using pair = new Pair(makeRoot());
  await assertRejects(async () => await pair.root["x".repeat(5_000_000)].y(), TypeError, "a path");
  await assertRejects(
    async () => await pair.root.echo(pair.root["x".repeat(5_000_000)]),
    TypeError,
    "args[0]",
  );
  assertEquals(await pair.root.cwd(), "/home");
});

Deno.test("code that runs while arguments are read may make calls of its own", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const inner: unknown[] = [];
  const sneaky = {
    get a() {
      inner.push(root.size(new Uint8Array(100_000)), root.echo(new Uint8Array(10)));
      return new Uint8Array(20_000);
    },
    b: 1n,
  };
  assertEquals((await root.echo(sneaky)).b, 1n);
  assertEquals(((await Promise.all(inner))[1] as Uint8Array).length, 10);
});

Deno.test("a property of any name can be deleted", async () => {
  const target: Record<string, number> = { prototype: 1, name: 2, length: 3, arguments: 4, x: 5 };
  await using pair = new Pair({ get: () => byReference(target) });
  const there = await pair.root.get();
  for (const name of Object.keys(target)) delete there[name];
  await pair.fence();
  assertEquals(target, {});
});

Deno.test("each stub of a property reads it anew, whichever way was gone before", async () => {
  let reads = 0;
  const at = {
    get count() {
      return ++reads;
    },
    a: { b: () => "b" },
    c: { b: () => "c" },
  };
  await using pair = new Pair({ at });
  const { root } = pair;
  const held = root.at.count;
  assertEquals([await held, await held, await root.at.count, await root.at.count], [1, 1, 2, 3]);
  const both = async () => [await root.at.a.b(), await root.at.c.b(), await root.at.a.b()];
  assertEquals(await both(), ["b", "c", "b"]);
  const { a, c } = root.at;
  assertEquals([await a.b(), await c.b(), await a.b()], ["b", "c", "b"]);
});

Deno.test("a call with a time limit, or a signal, is given up, and the other side is told", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const quick = pair.client.caller.with({ timeout: 5 });
  const root = makeStub(quick, null) as Any;
  const late = await assertRejects(
    async () => await root.never(),
    DOMException,
    "longer than 5 ms",
  );
  assertEquals(late.name, "TimeoutError");
  const controller = new AbortController();
  const stoppable = makeStub(pair.client.caller.with(controller), null) as Any;
  const calls = [stoppable.never(), stoppable.never().x(stoppable.never())];
  const ends = calls.map((call) => call.then(() => "ended", (error: unknown) => error));
  await pair.fence();
  controller.abort("enough");
  assertEquals(await Promise.all(ends), ["enough", "enough"]);
  assertEquals(await stoppable.cwd().catch((error: unknown) => error), "enough");
  assertEquals(pair.client.stats.pending, 0);
  assertThrows(() => pair.client.caller.with({ timeout: -1 }), RangeError, "timeout -1");
});

Deno.test("giving up a call that is over, or that nobody waits for, is quiet and leaves nothing", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  const controller = new AbortController();
  const root = makeStub(pair.client.caller.with(controller), null) as Any;
  const unhandled = await unhandledDuring(async () => {
    root.touch();
    root.big(200_000);
    assertEquals(await root.touch(), 2);
    await pair.fence();
    controller.abort(new Error("over"));
    await pair.fence();
  });
  assertEquals(unhandled, []);
  assertEquals(await pair.root.cwd(), "/home");
});

Deno.test("a call that was given up before it could start does not start", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  let release = () => {};
  const gate = new Promise<void>((resolve) => release = resolve);
  const controller = new AbortController();
  const root = makeStub(pair.client.caller.with(controller), null) as Any;
  await pair.root.keep(() => gate);
  const waits = root.kept0().then(() => {});
  const behind = root.echo(pair.root.kept0()).then(() => {});
  const touched = root.touch.apply(root, [root.kept0()]);
  const ends = Promise.allSettled([waits, behind, touched]);
  await pair.fence();
  controller.abort();
  release();
  await ends;
  await pair.fence();
  assertEquals(plain.count, 0);
});

Deno.test("reasons cross whatever they are", async () => {
  await using pair = new Pair(makeRoot());
  const buffer = new ArrayBuffer(1);
  structuredClone(buffer, { transfer: [buffer] });
  const locked = new ReadableStream();
  locked.getReader();
  for (
    const reason of [buffer, "x".repeat(2_000_000), locked, () => {}, pair.root.cwd(), Symbol()]
  ) {
    const controller = new AbortController();
    const root = makeStub(pair.client.caller.with(controller), null) as Any;
    const call = root.never().then(() => {}, () => "given up");
    await pair.fence();
    controller.abort(reason);
    assertEquals(await call, "given up");
    assertEquals(await pair.root.cwd(), "/home");
  }
});

Deno.test("everything that waits is told when the link breaks, and nothing is unhandled", async () => {
  const plain = makeRoot();
  const pair = new Pair(plain);
  const { root } = pair;
  const counter = await root.counter;
  const unhandled = await unhandledDuring(async () => {
    const calls = [root.never(), root.never().a.b(), counter.later(1), root.big(1 << 20)];
    const iterator = root.many(1)[Symbol.asyncIterator]();
    const all = Promise.allSettled([...calls, iterator.next(), pair.client.ping()]);
    root.never();
    await turn();
    pair.cut();
    const ends = await all;
    for (const end of ends.slice(0, 5)) {
      assertEquals(end.status, "rejected");
      assertInstanceOf((end as PromiseRejectedResult).reason, ConnectionLostError);
    }
    await assertRejects(async () => await counter.add(1), ConnectionLostError, "cut");
    await assertRejects(async () => await root.cwd(), ConnectionLostError, "cut");
  });
  assertEquals(unhandled, []);
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("a session says whether there is something to wait for", async () => {
  const busy: boolean[] = [];
  await using pair = new Pair(makeRoot(), { client: { onBusy: (now) => busy.push(now) } });
  await pair.root.cwd();
  assertEquals(busy, [true, false]);
  const call = pair.root.never().catch(() => {});
  assertEquals(busy, [true, false, true]);
  pair.cut();
  await call;
  assertEquals(busy, [true, false, true, false]);
});

Deno.test("a call whose arguments end the connection, or the call, when they are read is rejected", async () => {
  const hung = async (pressure: boolean) => {
    await using pair = new Pair(makeRoot(), { pressure });
    const { root, client } = pair;
    const waiting = pressure
      ? Array.from({ length: 4 }, () => root.echo("x".repeat(100_000)) as Promise<unknown>)
      : [];
    const ends = waiting.map((each) => each.then(() => {}, () => {}));
    const closing = {
      get a() {
        return client.close(), 1;
      },
    };
    await assertRejects(async () => await root.echo(closing), ConnectionClosedError);
    assertEquals(client.stats.pending, 0);
    await client.written;
    await Promise.all(ends);
  };
  await hung(false);
  await hung(true);
  await using pair = new Pair(makeRoot());
  const controller = new AbortController();
  const root = makeStub(pair.client.caller.with(controller), null) as Any;
  const aborting = {
    get a() {
      return controller.abort("enough"), 1;
    },
  };
  const reason = await root.never(aborting).then(() => "a value", (error: unknown) => error);
  assertEquals(reason, "enough");
  assertEquals(pair.client.stats.pending, 0);
  assertEquals(await pair.root.echo([aborting.a]), [1]);
});
