import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { RemoteError } from "../../protocol/remote_error.ts";
import { stubInfo } from "../../protocol/proxy.ts";
import { EMPTY_TABLES, Pair, tables, turn, unhandledDuring } from "./pair.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

class Item {
  disposed = 0;
  constructor(public n: number) {}
  value() {
    return this.n;
  }
  [Symbol.asyncDispose]() {
    this.disposed++;
    return Promise.resolve();
  }
}

function makeRoot() {
  const item = new Item(0);
  return {
    item,
    get: () => item,
    make: (n: number) => new Item(n),
    some: (n: number) => Array.from({ length: n }, (_, i) => new Item(i)),
    echo: (value: unknown) => value,
    take: (_: unknown) => {},
    ignore: () => {},
    slow: async () => {
      await turn();
      return new Item(1);
    },
    fail: () => {
      throw new Error("no");
    },
  };
}

const release = (stub: Any) => stub[Symbol.dispose]();

Deno.test("every introduction is counted: one holder's using does not take it from another", async () => {
  await using pair = new Pair(makeRoot());
  const first = await pair.root.get();
  const second = await pair.root.get();
  assertStrictEquals(first, second);
  {
    using held = first;
    assertEquals(await held.value(), 0);
  }
  assertEquals(await second.value(), 0);
  release(second);
  await pair.fence();
  assertEquals(tables(pair), EMPTY_TABLES);
  await assertRejects(async () => await first.value(), ReferenceError, "released");
  await assertRejects(async () => await pair.root.echo(first), TypeError, "was released");
  release(second);
  await pair.fence();
  assertEquals(pair.agent.closeReason, undefined);
  // What is introduced anew is a new reference to the same object.
  const third = await pair.root.get();
  assert(third !== first);
  assertEquals(await third.value(), 0);
});

Deno.test("await using lets the remote object dispose of itself first", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  {
    await using item = await pair.root.get();
    assertEquals(await item.value(), 0);
  }
  assertEquals(plain.item.disposed, 1);
  await pair.fence();
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("using on a property that was not read gives back nothing that another holds", async () => {
  await using pair = new Pair(makeRoot());
  const item = await pair.root.get();
  {
    using path = item.n;
    void path;
  }
  assertEquals(await item.value(), 0);
});

Deno.test("a reference that comes again while its release is under way stays alive", async () => {
  await using pair = new Pair(makeRoot());
  for (let i = 0; i < 20; i++) {
    const held = await pair.root.get();
    // Both leave in one turn: the answer introduces it anew before the release is there, or after.
    const again = pair.root.get();
    if (i % 2) await turn();
    release(held);
    const next = await again;
    assertEquals(await next.value(), 0);
    assertEquals(pair.agent.stats.localRefs, 1);
    release(next);
    await pair.fence();
    assertEquals(pair.agent.stats.localRefs, 0);
  }
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("a release that crosses with an introduction, the link held up", async () => {
  await using pair = new Pair(makeRoot());
  const held = await pair.root.get();
  pair.stall("agent");
  const again = pair.root.get().then((value: unknown) => value);
  await turn();
  release(held);
  for (let i = 0; i < 5; i++) await turn();
  pair.resume();
  const next = await again as Any;
  await pair.fence();
  assertEquals(await next.value(), 0);
  assertEquals(pair.agent.stats.localRefs, 1);
});

Deno.test("the same race the other way: a callback that is given out again", async () => {
  const kept: Any[] = [];
  await using pair = new Pair({
    keep: (f: Any) => void kept.push(f),
    drop: () => release(kept.pop()),
    use: () => kept.at(-1)(),
  });
  const f = () => "here";
  for (let i = 0; i < 10; i++) {
    await pair.root.keep(f);
    const dropped = pair.root.drop();
    const again = pair.root.keep(f);
    await Promise.all([dropped, again]);
    assertEquals(await pair.root.use(), "here");
    await pair.root.drop();
    await pair.fence();
    assertEquals(tables(pair), EMPTY_TABLES);
  }
});

Deno.test("what is released while a large argument is under way is still there for it", async () => {
  const plain = makeRoot();
  await using pair = new Pair({
    ...plain,
    both: (bytes: Uint8Array, item: Item) => [bytes.length, item === plain.item],
  }, { pressure: true });
  const item = await pair.root.get();
  const call = pair.root.both(new Uint8Array(2_000_000), item).then((v: unknown) => v);
  release(item);
  assertEquals(await call, [2_000_000, true]);
  await pair.fence();
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("a result that was given back cannot be used, and says so here", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const unused = root.make(1);
  release(unused);
  await assertRejects(async () => await unused.value(), ReferenceError, "released");
  await assertRejects(async () => await unused, ReferenceError, "released");
  await assertRejects(async () => await root.echo(unused), TypeError, "released");
  release(unused);
  const late = root.slow();
  release(late);
  const used = root.make(2);
  assertEquals(await used, await used);
  release(used);
  await pair.fence();
  assertEquals(pair.client.closeReason, undefined);
  assertEquals(tables(pair), EMPTY_TABLES);
  const unhandled = await unhandledDuring(async () => {
    release(root.fail());
    await pair.fence();
  });
  // Giving the result up is not giving up its error.
  assertEquals(unhandled.length, 1);
});

Deno.test("a call that cannot be sent introduces nothing", async () => {
  await using pair = new Pair(makeRoot());
  const bytes = new Uint8Array(1);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  for (let i = 0; i < 3; i++) {
    await assertRejects(
      async () => await pair.root.take([() => {}, Promise.resolve(1), new Item(1), bytes]),
      TypeError,
      "detached",
    );
  }
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("promises and signals that were passed are given back by themselves", async () => {
  await using pair = new Pair(makeRoot());
  await pair.root.echo([Promise.resolve(1), Promise.resolve(2)]);
  await assertRejects(
    async () => await pair.root.echo(Promise.reject(new Error("x"))),
    RemoteError,
  );
  await pair.fence();
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("a million references made and given back leave both sides as they were", async () => {
  await using pair = new Pair(makeRoot());
  for (let round = 0; round < 100; round++) {
    const items = await pair.root.some(10_000) as Any[];
    if (round === 0) {
      assertEquals(tables(pair), { ...EMPTY_TABLES, remoteRefs: 10_000, agentLocalRefs: 10_000 });
    }
    for (const item of items) release(item);
  }
  await pair.fence();
  assertEquals(tables(pair), EMPTY_TABLES);
});

Deno.test("what is collected here is given back with the next tick; with gcEnabled false never", async () => {
  const script = `
    import { Pair, tables, turn } from ${JSON.stringify(new URL("pair.ts", import.meta.url).href)};
    class Item {}
    const root = { some: (n) => Array.from({ length: n }, () => new Item()), keep: () => {}, run: () => new Item() };
    for (const enabled of [true, false]) {
      await using pair = new Pair(root, { client: { gcEnabled: () => enabled } });
      await (async () => { await pair.root.some(100_000); })();
      // Results that nobody asked for, callbacks and signals.
      (() => { for (let i = 0; i < 1000; i++) pair.root.run(); })();
      await (async () => { await pair.root.keep(() => {}, new AbortController().signal); })();
      for (let i = 0; i < 20; i++) {
        gc();
        for (let j = 0; j < 10; j++) await turn();
        pair.client.tick();
        pair.agent.tick();
        await pair.fence();
      }
      console.log(JSON.stringify(tables(pair)));
    }`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-config",
      "--no-check",
      "--v8-flags=--expose-gc",
      `data:application/javascript,${encodeURIComponent(script)}`,
    ],
  }).output();
  const lines = new TextDecoder().decode(stdout).trim().split("\n");
  assertEquals(lines.length, 2, new TextDecoder().decode(stderr));
  assertEquals(JSON.parse(lines[0]!), EMPTY_TABLES);
  assertEquals(JSON.parse(lines[1]!).agentLocalRefs, 100_000);
});

Deno.test("a reference is itself in any depth, and so is what is inside a callback's arguments", async () => {
  const plain = makeRoot();
  await using pair = new Pair({
    ...plain,
    check: async (f: Any) => await f({ deep: [plain.item] }) === plain.item,
  });
  const item = await pair.root.get();
  assert(
    await pair.root.check((value: Any) => {
      assertStrictEquals(value.deep[0], item);
      return value.deep[0];
    }),
  );
  assertEquals(stubInfo(item)?.kind, "reference");
});

Deno.test("what is given back while a call is being made is given back behind that call", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  const target = await root.make(1);
  const args = {
    get n() {
      return target[Symbol.dispose](), 2;
    },
  };
  assertEquals(await target.value(args), 1);
  const other = await root.make(3);
  const both = [other, {
    get n() {
      return other[Symbol.dispose](), 4;
    },
  }];
  const [again, last] = await root.echo(both);
  assertEquals([await again.value(), last], [3, { n: 4 }]);
  const result = root.make(5);
  const later = result.value({
    get n() {
      return result[Symbol.dispose](), 6;
    },
  });
  assertEquals(await later, 5);
  await assertRejects(async () => await other.value(), ReferenceError, "released");
  assertEquals(await root.echo(7), 7);
});
