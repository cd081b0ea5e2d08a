import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";
import { until } from "./observe.ts";

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

capability("a remote stream of bytes is read here", async ({ con }) => {
  const stream = await con.eval(
    "new ReadableStream({ type: 'bytes', start(c) { c.enqueue(new Uint8Array([1, 2])); c.enqueue(new Uint8Array([3])); c.close() } })",
  );
  assertInstanceOf(stream, ReadableStream);
  assertEquals(
    new Uint8Array(await new Response(stream as ReadableStream<Uint8Array>).arrayBuffer()),
    new Uint8Array([1, 2, 3]),
  );
});

capability("a remote stream of objects is read here, references included", async ({ con }) => {
  const { stream } = await con.eval(
    "({ stream: new ReadableStream({ start(c) { c.enqueue({ n: 1 }); c.enqueue((x) => x + 1); c.close() } }) })",
  );
  const [data, f] = await collect(stream as ReadableStream);
  assertEquals(data, { n: 1 });
  // deno-lint-ignore no-explicit-any
  assertEquals(await (f as any)(1), 2);
});

capability("a stream of this side is read there", async ({ make }) => {
  const total = await make({
    js:
      "async (s) => { let n = 0; for (const r = s.getReader();;) { const { done, value } = await r.read(); if (done) return n; n += value.length ?? value } }",
  });
  const bytes = new ReadableStream({
    type: "bytes",
    start(controller) {
      for (let i = 0; i < 50; i++) controller.enqueue(new Uint8Array(100_000));
      controller.close();
    },
  });
  assertEquals(await total(bytes), 5_000_000);
  assertEquals(await total(ReadableStream.from([1, 2, 3])), 6);
});

capability("a stream of this side is a file there", async ({ make }) => {
  const size = await make({
    py: "lambda s: sum(len(c) for c in iter(lambda: s.read(65536), b''))",
  });
  const bytes = new ReadableStream({
    type: "bytes",
    start(controller) {
      for (let i = 0; i < 50; i++) controller.enqueue(new Uint8Array(100_000));
      controller.close();
    },
  });
  assertEquals(await size(bytes), 5_000_000);
  const sum = await make({ py: "lambda s: sum(s)" });
  assertEquals(await sum(ReadableStream.from([1, 2, 3])), 6);
  const caught = await make({
    py: `def f(s):
    try:
        for _ in s: pass
    except Exception as e: return [type(e).__name__, str(e)]`,
  })(
    new ReadableStream({
      start(controller) {
        controller.error(new TypeError("broken here"));
      },
    }),
  );
  assertEquals(caught, ["TypeError", "broken here"]);
}, { needs: ["python"] });

capability("a sink of either side takes what the other writes", async ({ con, make }) => {
  const heard: unknown[] = [];
  let closed = false;
  const sink = new WritableStream({
    write: (chunk) => void heard.push(chunk),
    close: () => void (closed = true),
  });
  await make({
    js:
      "async (s) => { const w = s.getWriter(); await w.write('a'); await w.write({ b: 1 }); await w.close() }",
  })(sink);
  assertEquals([heard, closed], [["a", { b: 1 }], true]);
  await con.execute("got = []; over = false");
  const remote = await con.eval(
    "new WritableStream({ write(c) { got.push(c) }, close() { over = true } })",
  );
  await ReadableStream.from(["x", "y"]).pipeTo(remote);
  assertEquals(await con.eval("[got, over]"), [["x", "y"], true]);
});

capability("cancelling and failing reach the other end, with the reason", async ({ con, make }) => {
  await con.execute("reason = undefined");
  const endless = await con.eval(
    "new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1000)) }, cancel(r) { reason = r } })",
  ) as ReadableStream;
  const reader = endless.getReader();
  await reader.read();
  await reader.cancel("enough");
  await until(con, () => true);
  let told: unknown;
  for (let i = 0; i < 100 && told === undefined; i++) told = await con.eval("reason");
  assertEquals(told, "enough");

  const failing = await con.eval(
    "new ReadableStream({ start(c) { c.enqueue(1); c.error(new RangeError('torn')) } })",
  ) as ReadableStream;
  await assertRejects(() => collect(failing), RemoteError, "torn");

  const caught = await make({
    js:
      "async (s) => { try { for await (const _ of s); } catch (e) { return [e.name, e.message] } }",
  })(
    new ReadableStream({
      start(controller) {
        controller.error(new TypeError("broken here"));
      },
    }),
  );
  assertEquals(caught, ["TypeError", "broken here"]);
});

capability("a stream stays usable after the call that brought it", async ({ con, code }) => {
  const scope = con.scope();
  await con.execute(
    code({
      js:
        "function follow(sink) { w = sink.getWriter(); return 'following' }; async function say(x) { await w.write(x) }",
      py:
        "def follow(sink):\n global w\n w = sink\n return 'following'\ndef say(x): w.write(x.encode())",
    }),
    scope,
  );
  const heard: unknown[] = [];
  assertEquals(
    await scope.follow(new WritableStream({ write: (chunk) => void heard.push(chunk) })),
    "following",
  );
  await scope.say("one");
  await scope.say("two");
  await until(con, () => heard.length === 2);
  const texts = heard.map((chunk) =>
    chunk instanceof Uint8Array ? new TextDecoder().decode(chunk) : chunk
  );
  assertEquals(texts, ["one", "two"]);
}, { needs: [] });

capability("a slow reader holds the writer back", async ({ con }) => {
  await con.execute("made = 0");
  const stream = await con.eval(
    "new ReadableStream({ pull(c) { made += 65536; c.enqueue(new Uint8Array(65536)) } }, { highWaterMark: 0 })",
  ) as ReadableStream;
  const reader = stream.getReader();
  await reader.read();
  let made = -1;
  for (;;) {
    const now = await con.eval("new Promise((r) => setTimeout(() => r(made), 20))");
    if (now === made) break;
    made = now;
  }
  assert(made < 2 << 20, `${made} bytes were made for a reader that took one chunk`);
  await reader.cancel();
});

capability("a slow reader holds a generator back, and its end reaches it", async ({ con }) => {
  await con.execute(`
made = 0
over = []
def chunks():
    global made
    try:
        while True:
            made += 65536
            yield bytes(65536)
    except GeneratorExit:
        over.append("stopped")
`);
  for await (const chunk of con.eval("chunks()")) {
    assertEquals(chunk, new Uint8Array(65536));
    break;
  }
  const iterator = con.eval("chunks()")[Symbol.asyncIterator]();
  await iterator.next();
  let made = -1;
  for (;;) {
    const now = await con.eval("__import__('time').sleep(0.02) or made");
    if (now === made) break;
    made = now;
  }
  assert(made < 4 << 20, `${made} bytes were made for a reader that took one chunk`);
  await iterator.return();
  await until(con, () => true);
  let over: unknown[] = [];
  for (let i = 0; i < 100 && over.length < 2; i++) over = await con.eval("over");
  assertEquals(over, ["stopped", "stopped"]);
}, { needs: ["python"] });

capability("a sink that fails is the error of who writes to it", async ({ make }) => {
  const write = await make({
    js: `async (s) => { const w = s.getWriter(); try { for (;;) await w.write(new Uint8Array(9)) }
      catch (e) { return [e.name, e.message] } }`,
    py: `def write(s):
    try:
        while True: s.write(b"x" * 9)
    except Exception as e: return [e.type, str(e)]`,
  });
  let taken = 0;
  const sink = new WritableStream({
    write() {
      if (++taken === 3) throw new RangeError("full");
    },
  });
  assertEquals(await write(sink), ["RangeError", "full"]);
}, { needs: [] });

capability("remote generators are iterated here", async ({ con, code }) => {
  const scope = con.scope();
  await con.execute(
    code({
      js:
        "log = []; function* count(n) { try { for (let i = 0; i < n; i++) yield i } finally { log.push('done') } }" +
        "\nasync function* slow() { yield 'a'; yield { b: [1] }; return 'end' }",
      py: `log = []
def count(n):
    try:
        for i in range(n): yield i
    finally: log.append('done')
async def slow():
    yield 'a'
    yield {'b': [1]}`,
    }),
    scope,
  );
  assertEquals(await collect(scope.count(5)), [0, 1, 2, 3, 4]);
  assertEquals(await collect(scope.slow()), ["a", { b: [1] }]);
  for await (const n of scope.count(1e9)) {
    if (n === 3) break;
  }
  assertEquals(await con.eval("log", scope), ["done", "done"]);
  assertEquals((await collect(scope.count(100_000))).length, 100_000);
}, { needs: [] });

capability("an iterator's error comes at its item", async ({ con, code }) => {
  const scope = con.scope();
  await con.execute(
    code({
      js: "function* f() { yield 1; yield 2; throw new RangeError('third') }",
      py: "def f():\n yield 1\n yield 2\n raise ValueError('third')",
    }),
    scope,
  );
  const seen: unknown[] = [];
  await assertRejects(
    async () => {
      for await (const n of scope.f()) seen.push(n);
    },
    RemoteError,
    "third",
  );
  assertEquals(seen, [1, 2]);
}, { needs: [] });

capability("anything iterable over there can be iterated here", async ({ con, code }) => {
  assertEquals(await collect(con.eval("[1, 2, 3]")), [1, 2, 3]);
  assertEquals(
    await collect(con.eval(code({ js: "new Map([['a', 1]])", py: "{'a': 1}.items()" }))),
    [["a", 1]],
  );
  await con.execute(
    code({
      js: "class Bag { *[Symbol.iterator]() { yield 1; yield 2 } }",
      py: "class Bag:\n def __iter__(self):\n  yield 1\n  yield 2",
    }),
  );
  const bagSource = code({ js: "new Bag", py: "Bag()" });
  assertEquals(await collect(con.eval(bagSource)), [1, 2]);
  const bag = await con.eval(bagSource);
  assertEquals(await collect(bag), [1, 2]);
  await assertRejects(() => collect(con.eval("5")), RemoteError, "not iterable");
}, { needs: [] });

capability("a generator of this side is iterated there", async ({ make }) => {
  const log: string[] = [];
  function* numbers() {
    try {
      for (let i = 0; i < 10; i++) yield i;
    } finally {
      log.push("done");
    }
  }
  const sum = await make({
    js: "async (it) => { let n = 0; for await (const x of it) n += x; return n }",
    py: "lambda it: sum(it)",
  });
  assertEquals(await sum(numbers()), 45);
  const first = await make({
    js: "async (it) => { for await (const x of it) if (x === 2) return x }",
    py: "def first(it):\n with it:\n  for x in it:\n   if x == 2: return x",
  });
  assertEquals(await first(numbers()), 2);
  assertEquals(log, ["done", "done"]);
}, { needs: [] });

capability("a signal that is passed is a live signal there", async ({ con, make, row }) => {
  const wait = await make({
    js:
      "(signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))",
    py: "lambda signal: (signal.wait(), signal.reason)[1]",
  });
  const controller = new AbortController();
  const waiting = wait(controller.signal).then(
    (value: unknown) => row.runtime === "python" ? value : "no",
    (reason: unknown) => reason,
  );
  await con.eval("1");
  controller.abort("stop now");
  assertEquals(await waiting, "stop now");
  const aborted = await make({
    js: "(s) => [s.aborted, s.reason]",
    py: "lambda s: [s.aborted, s.reason]",
  })(AbortSignal.abort("before"));
  assertEquals(aborted, [true, "before"]);
  const { signal } = controller;
  assertEquals(
    await make({ js: "(a, b) => a === b", py: "lambda a, b: a is b" })(signal, signal),
    true,
  );
}, { needs: [] });

capability("a remote signal is live here", async ({ con }) => {
  await con.execute("controller = new AbortController");
  const signal = await con.eval("controller.signal") as AbortSignal;
  assert(signal instanceof AbortSignal);
  const { promise, resolve } = Promise.withResolvers<unknown>();
  signal.addEventListener("abort", () => resolve(signal.reason));
  await con.eval("controller.abort('over')");
  assertEquals(await promise, "over");
});

capability(
  "with({ signal, timeout }) ends calls, and the connection goes on",
  async ({ con, code }) => {
    const never = code({
      js: "new Promise(() => {})",
      py: "[__import__('time').sleep(0.001) for _ in iter(int, 1)]",
    });
    const late = await assertRejects(
      async () => await con.with({ timeout: 20 }).eval(never),
      Error,
    );
    assertEquals(late.name, "TimeoutError");
    const controller = new AbortController();
    const bound = con.with({ signal: controller.signal });
    const pending = assertRejects(async () => await bound.eval(never), Error, "mine");
    controller.abort(new Error("mine"));
    await pending;
    await assertRejects(async () => await bound.eval("1"), Error, "mine");
    assertEquals(await con.eval("1"), 1);
    assertEquals(con.stats.pending, 0);
  },
  { needs: [] },
);

capability("big values cross while small calls go on", async ({ con, make }) => {
  const size = 48 << 20;
  const big = new Uint8Array(size);
  crypto.getRandomValues(big.subarray(0, 65536));
  big.set(big.subarray(0, 65536), size - 65536);
  const echo = await make({ js: "(x) => x", py: "lambda x: x" });
  let arrived = false;
  const back = echo(big).then((value: Uint8Array) => {
    arrived = true;
    return value;
  });
  let small = 0;
  while (!arrived) {
    assertEquals(await con.eval("1"), 1);
    small++;
  }
  const value = await back;
  assertEquals(value.length, size);
  assert(Deno.inspect(value.subarray(0, 65536)) === Deno.inspect(big.subarray(0, 65536)));
  assert(
    value.subarray(size - 1000).every((byte: number, i: number) => byte === big[size - 1000 + i]),
  );
  assert(small > 5, `${small} small calls while it crossed`);
}, { needs: [] });

capability("a value beyond limits.valueBytes is refused by name", async ({ con, code, make }) => {
  const echo = await make({ js: "(x) => x.length", py: "lambda x: len(x)" });
  await assertRejects(
    async () => await echo(new Uint8Array(2_000_000)),
    TypeError,
    "limits.valueBytes is 1000000",
  );
  await assertRejects(
    async () => await con.eval(code({ js: "new Uint8Array(2_000_000)", py: "bytes(2_000_000)" })),
    Error,
    "limits.valueBytes is 1000000",
  );
  assertEquals(await con.eval("1"), 1);
}, { needs: [], connect: { limits: { valueBytes: 1_000_000 } } });
