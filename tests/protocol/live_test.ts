import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { ConnectionLostError } from "../../protocol/errors.ts";
import { Pair, turn, unhandledDuring } from "./pair.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** A stream of numbers or bytes that notes how much was asked of it, and how it ended. */
function source(count: number, make: (i: number) => unknown, bytes = false) {
  const state = { pulled: 0, cancelled: undefined as unknown };
  const stream = new ReadableStream({
    type: bytes ? "bytes" : undefined,
    pull(controller: Any) {
      if (state.pulled >= count) {
        controller.close();
        controller.byobRequest?.respond(0);
      } else controller.enqueue(make(state.pulled++));
    },
    cancel(reason: unknown) {
      state.cancelled = reason;
    },
  } as Any);
  return { stream, state };
}

function sink(highWaterMark = 1) {
  const state = {
    chunks: [] as Any[],
    closed: false,
    aborted: undefined as unknown,
    gate: undefined as Promise<void> | undefined,
  };
  const stream = new WritableStream({
    async write(chunk) {
      await state.gate;
      state.chunks.push(chunk);
    },
    close() {
      state.closed = true;
    },
    abort(reason) {
      state.aborted = reason;
    },
  }, { highWaterMark });
  return { stream, state };
}

function makeRoot() {
  const state = { finished: [] as unknown[], made: 0, aborts: [] as unknown[] };
  return {
    state,
    echo: (value: unknown) => value,
    give: (value: unknown) => value,
    size: (bytes: Uint8Array) => bytes.length,
    collect: async (stream: ReadableStream) => {
      const items: unknown[] = [];
      for await (const item of stream) items.push(item);
      return items;
    },
    length: async (stream: ReadableStream<Uint8Array>) => {
      let length = 0;
      for await (const bytes of stream) length += bytes.length;
      return length;
    },
    *count(to: number) {
      try {
        for (let i = 0; i < to; i++) {
          state.made++;
          yield i;
        }
        return "end";
      } finally {
        state.finished.push(to);
      }
    },
    async *later(to: number) {
      try {
        for (let i = 0; i < to; i++) {
          await turn();
          yield { i };
        }
      } finally {
        await turn();
        state.finished.push("later");
      }
    },
    *breaks(at: number) {
      for (let i = 0;; i++) {
        if (i === at) throw new RangeError(`at ${at}`);
        yield i;
      }
    },
    *uncrossable(at: number) {
      try {
        for (let i = 0; i < 100; i++) {
          const bytes = new Uint8Array(1);
          if (i === at) structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
          yield bytes;
        }
      } finally {
        state.finished.push("uncrossable");
      }
    },
    *mixed() {
      for (let i = 0; i < 40; i++) {
        yield [{ i, bytes: new Uint8Array((i * 7919) % 90_000) }];
        yield i;
      }
    },
    sum: async (items: AsyncIterable<number>) => {
      let sum = 0;
      for await (const item of items) sum += item;
      return sum;
    },
    first: async (items: AsyncIterable<unknown>) => {
      for await (const item of items) return item;
      return undefined;
    },
    wait: (signal: AbortSignal) =>
      new Promise((resolve) => {
        if (signal.aborted) resolve(signal.reason);
        signal.addEventListener("abort", () => resolve(signal.reason));
      }),
    waitWith: (bytes: Uint8Array, signal: AbortSignal) =>
      new Promise((resolve) => {
        const end = () => resolve([bytes.length, String(signal.reason)]);
        if (signal.aborted) end();
        signal.addEventListener("abort", end);
      }),
    pipe: (from: ReadableStream, to: WritableStream) => from.pipeTo(to),
  };
}

Deno.test("streams of bytes and of objects cross as arguments, results and inside objects", async () => {
  await using pair = new Pair(makeRoot(), { fragment: 9973 });
  const { root } = pair;
  assertEquals(await root.collect(source(5, (i) => ({ i: BigInt(i) })).stream), [
    { i: 0n },
    { i: 1n },
    { i: 2n },
    { i: 3n },
    { i: 4n },
  ]);
  const bytes = source(30, (i) => new Uint8Array(100_000).fill(i), true).stream;
  assertEquals(await root.length(bytes), 3_000_000);
  const { deep: [back] } = await root.echo({ deep: [source(10, (i) => i).stream] });
  assertEquals(await Array.fromAsync(back as ReadableStream), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const empty = await root.echo(source(0, (i) => i, true).stream);
  assertEquals(await new Response(empty).bytes(), new Uint8Array(0));
  await pair.fence();
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("a stream beside a large value waits for it, and both arrive", async () => {
  await using pair = new Pair(makeRoot(), { pressure: true });
  const big = new Uint8Array(700_000);
  const { stream, state } = sink();
  const value = await pair.root.echo({
    stream: source(3, (i) => i).stream,
    big,
    out: stream,
    items: [1, 2, 3].values(),
  });
  assertEquals(value.big.length, 700_000);
  assertEquals(await Array.fromAsync(value.stream as ReadableStream), [0, 1, 2]);
  assertEquals(await Array.fromAsync(value.items as AsyncIterable<number>), [1, 2, 3]);
  const writer = value.out.getWriter();
  await writer.write("x");
  await writer.close();
  assertEquals(state.chunks, ["x"]);
});

Deno.test("the same stream twice in a value is one stream", async () => {
  await using pair = new Pair(makeRoot());
  const { stream } = source(1, () => "x");
  const { signal } = new AbortController();
  const value = await pair.root.echo([stream, stream, signal, { signal }, [stream]]);
  assert(value[0] === value[1] && value[4][0] === value[0]);
  assert(value[2] === value[3].signal && value[2] === signal);
});

Deno.test("a stream that is locked is refused by its place", async () => {
  await using pair = new Pair(makeRoot());
  const { stream } = source(1, () => 1);
  stream.getReader();
  await assertRejects(
    async () => await pair.root.echo([stream]),
    TypeError,
    "args[0][0]: the stream",
  );
});

Deno.test("a slow reader holds up the source within the window", async () => {
  await using pair = new Pair(makeRoot(), {
    client: { limits: { streamWindow: 1 << 20 } },
    agent: { limits: { streamWindow: 1 << 20 } },
  });
  const { stream, state } = source(1000, () => new Uint8Array(64 << 10), true);
  const back: ReadableStream<Uint8Array> = await pair.root.echo(stream);
  await pair.fence();
  assert(state.pulled < 64, `${state.pulled} pieces of 64 KiB under way`);
  let length = 0;
  for await (const bytes of back) length += bytes.length;
  assertEquals(length, 1000 * (64 << 10));
});

Deno.test("cancelling a stream reaches its source, with the reason", async () => {
  await using pair = new Pair(makeRoot());
  const { stream, state } = source(1e9, (i) => `${i} ${"x".repeat(5000)}`);
  const back: ReadableStream = await pair.root.echo(stream);
  const reader = back.getReader();
  assertEquals((await reader.read()).value.slice(0, 2), "0 ");
  await reader.cancel({ why: "enough" });
  await pair.fence();
  assertEquals(state.cancelled, { why: "enough" });
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("the error of a source reaches the reader, after what came before it", async () => {
  await using pair = new Pair(makeRoot());
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue("one");
      setTimeout(() => controller.error(new RangeError("broken")), 1);
    },
  });
  const back: ReadableStream = await pair.root.echo(stream);
  const seen: unknown[] = [];
  const error = await assertRejects(
    async () => {
      for await (const item of back) seen.push(item);
    },
    Error,
    "broken",
  );
  assertEquals(error.name, "RangeError");
  assertEquals(seen, ["one"]);
});

Deno.test("writing, closing and aborting reach the sink, and its failure comes back", async () => {
  await using pair = new Pair(makeRoot());
  const first = sink();
  const writer = (await pair.root.echo(first.stream) as WritableStream).getWriter();
  await writer.write({ a: 1n });
  await writer.write(new Uint8Array([1, 2]));
  await writer.close();
  assertEquals(first.state.chunks.map(String), ["[object Object]", "1,2"]);
  assert(first.state.closed);

  const second = sink();
  const abort = (await pair.root.echo(second.stream) as WritableStream).getWriter();
  abort.closed.catch(() => {});
  await abort.abort("no more");
  await pair.fence();
  assertEquals(second.state.aborted, "no more");

  const broken = new WritableStream({
    write() {
      throw new RangeError("disk full");
    },
  });
  const third = (await pair.root.echo(broken) as WritableStream).getWriter();
  third.closed.catch(() => {});
  await assertRejects(
    async () => {
      for (;;) await third.write("x".repeat(100_000));
    },
    Error,
    "disk full",
  );
  await pair.fence();
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("a chunk that cannot cross breaks its stream at both ends", async () => {
  await using pair = new Pair(makeRoot());
  const { stream, state } = sink();
  const writer = (await pair.root.echo(stream) as WritableStream).getWriter();
  writer.closed.catch(() => {});
  const bytes = new Uint16Array(1);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  await assertRejects(() => writer.write(bytes), TypeError, "detached");
  await pair.fence();
  assertInstanceOf(state.aborted, Error);
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("a sink that fails while pieces of a chunk are on their way fails the writer alone", async () => {
  await using pair = new Pair({
    ...makeRoot(),
    sink: () => new WritableStream({ write: () => Promise.reject(new RangeError("enough")) }),
  }, { pressure: true });
  const writer = (await pair.root.sink()).getWriter();
  writer.closed.catch(() => {});
  const error = await assertRejects(async () => {
    for (;;) await writer.write(new Uint8Array(3_000_000));
  }, Error);
  assertEquals(error.message, "enough");
  await pair.fence();
  assertEquals(pair.client.closeReason, undefined);
  assertEquals(await pair.root.echo(1), 1);
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("a slow sink holds up the writer", async () => {
  await using pair = new Pair(makeRoot());
  const { stream, state } = sink();
  let open = () => {};
  state.gate = new Promise((resolve) => open = resolve);
  const writer = (await pair.root.echo(stream) as WritableStream).getWriter();
  let written = 0;
  const all = (async () => {
    for (let i = 0; i < 100; i++) {
      await writer.write(new Uint8Array(64 << 10));
      written++;
    }
    await writer.close();
  })();
  await pair.fence();
  assert(written < 50, `${written} written`);
  open();
  await all;
  assertEquals(state.chunks.reduce((sum, chunk) => sum + chunk.length, 0), 100 * (64 << 10));
});

for (const size of [100, 20_000, 65_536, 300_000]) {
  Deno.test(`a source may use its memory again for the next chunk: ${size} bytes`, async () => {
    await using pair = new Pair(makeRoot(), { pressure: true });
    const memory = new Uint8Array(size);
    let made = 0;
    const source = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (made === 30) return controller.close();
        controller.enqueue(memory.fill(++made));
      },
    }, { highWaterMark: 0 });
    const pieces = await pair.root.collect(source) as Uint8Array[];
    const bytes = pieces.flatMap((piece) => [...piece]);
    assertEquals(bytes.length, 30 * size);
    assert(bytes.every((byte, i) => byte === Math.floor(i / size) + 1));
  });
}

Deno.test("a stream of bytes is cut anew where the link is slower than it, and arrives whole", async () => {
  await using pair = new Pair(makeRoot(), { pressure: true });
  let made = 0;
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (made === 30) return controller.close();
      controller.enqueue(new Uint8Array(50_000).fill(++made));
    },
  });
  const pieces = await pair.root.collect(stream) as Uint8Array[];
  assert(pieces.length < 30, `${pieces.length} pieces`);
  const bytes = pieces.flatMap((piece) => [...piece]);
  assertEquals(bytes.length, 30 * 50_000);
  assert(bytes.every((byte, i) => byte === Math.floor(i / 50_000) + 1));
});

for (const size of [7, 1000, 65_536, 200_000]) {
  Deno.test(`who brings buffers of ${size} bytes gets all that came, and then the error`, async () => {
    await using pair = new Pair(makeRoot(), { pressure: true });
    let made = 0;
    const stream = new ReadableStream({
      type: "bytes",
      pull(controller) {
        if (made < 30) controller.enqueue(new Uint8Array(1000).fill(++made));
        else controller.error(new RangeError("over"));
      },
    });
    const echoed = await pair.root.echo(stream) as ReadableStream<Uint8Array>;
    const reader = echoed.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(size);
    const got: number[] = [];
    const error = await assertRejects(async () => {
      for (;;) {
        await turn();
        const { done, value } = await reader.read(new Uint8Array(buffer));
        assert(!done && value.length > 0);
        got.push(...value);
        buffer = value.buffer;
      }
    });
    assertEquals((error as Error).message, "over");
    assertEquals(got.length, 30_000);
    assert(got.every((byte, i) => byte === Math.floor(i / 1000) + 1));
  });
}

Deno.test("piping between two streams of the same peer does not come through the caller", async () => {
  const output = sink();
  const input = source(20, () => new Uint8Array(10_000));
  await using pair = new Pair({ ...makeRoot(), input: input.stream, output: output.stream });
  const before = pair.client.stats.bytesReceived;
  await pair.root.pipe(pair.root.input, pair.root.output);
  assertEquals(output.state.chunks.length, 20);
  assert(pair.client.stats.bytesReceived - before < 1000);
});

Deno.test("iterators of both kinds, from both sides", async () => {
  await using pair = new Pair(makeRoot());
  const { root } = pair;
  assertEquals((await Array.fromAsync(root.count(1000) as AsyncIterable<number>)).length, 1000);
  assertEquals(await Array.fromAsync(root.later(3) as AsyncIterable<Any>), [{ i: 0 }, { i: 1 }, {
    i: 2,
  }]);
  assertEquals(await Array.fromAsync(root.echo([5, 6]) as AsyncIterable<number>), [5, 6]);
  assertEquals(
    await root.sum((function* () {
      for (let i = 0; i < 5000; i++) yield i;
    })()),
    12497500,
  );
  assertEquals(
    await root.sum((async function* () {
      for (let i = 0; i < 10; i++) yield turn().then(() => i);
    })()),
    45,
  );
  assertEquals(
    await root.sum({
      *[Symbol.iterator]() {
        yield 1;
        yield 2;
      },
    }),
    3,
  );
  const iterator = root.count(1)[Symbol.asyncIterator]();
  assertEquals(await iterator.next(), { done: false, value: 0 });
  assertEquals(await iterator.next(), { done: true, value: "end" });
  assertEquals(await iterator.next(), { done: true, value: undefined });
});

Deno.test("break runs the finally of the other side, before the loop is left", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  for await (const i of pair.root.count(1e9)) if (i === 3) break;
  assertEquals(plain.state.finished, [1e9]);
  assert(plain.state.made < 100_000, `${plain.state.made} items made`);
  for await (const _ of pair.root.later(1e9)) break;
  assertEquals(plain.state.finished, [1e9, "later"]);
  let ended = false;
  const mine = (function* () {
    try {
      for (;;) yield 7;
    } finally {
      ended = true;
    }
  })();
  assertEquals(await pair.root.first(mine), 7);
  await pair.fence();
  assert(ended);
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("an iterator that makes itself waited for does not send beyond its credit", async () => {
  const ready = Promise.withResolvers<void>();
  await using pair = new Pair({
    async *large() {
      yield "small";
      yield "a".repeat(40_000);
      // What was gathered leaves meanwhile, and takes all the credit.
      await ready.promise;
      yield "b".repeat(40_000);
      yield "c".repeat(40_000);
    },
  });
  const iterator = pair.root.large()[Symbol.asyncIterator]();
  assertEquals((await iterator.next()).value, "small");
  await pair.fence();
  ready.resolve();
  await pair.fence();
  const rest: number[] = [];
  for await (const text of { [Symbol.asyncIterator]: () => iterator }) rest.push(text.length);
  assertEquals(rest, [40_000, 40_000, 40_000]);
});

Deno.test("an item far beyond the credit holds up its source until all of that is given back", async () => {
  const root = {
    *items() {
      for (let i = 0; i < 3000; i++) yield "x".repeat(1000);
      yield "y".repeat(1_500_000);
      for (let i = 0; i < 3000; i++) yield "z".repeat(1000);
    },
  };
  await using pair = new Pair(root);
  let length = 0;
  let count = 0;
  for await (const item of await pair.root.items()) {
    length += item.length;
    // Fast at first, so that much is under way; then slow.
    if (++count > 400 && count % 20 === 0) await turn();
  }
  assertEquals([count, length], [6001, 7_500_000]);
});

Deno.test("the error of an iterator arrives at its item", async () => {
  const plain = makeRoot();
  await using pair = new Pair(plain);
  for (const at of [0, 1, 5, 1000]) {
    const seen: unknown[] = [];
    const unhandled = await unhandledDuring(async () => {
      await assertRejects(
        async () => {
          for await (const item of pair.root.breaks(at)) seen.push(item);
        },
        Error,
        `at ${at}`,
      );
    });
    assertEquals(seen.length, at);
    assertEquals(unhandled, []);
  }
  for (const at of [0, 5, 50]) {
    let seen = 0;
    await assertRejects(
      async () => {
        for await (const _ of pair.root.uncrossable(at)) seen++;
      },
      Error,
      "detached",
    );
    assertEquals(seen, at);
  }
  assertEquals(plain.state.finished.length, 3);
});

Deno.test("items keep their order, with blobs, promises and small ones among them", async () => {
  await using pair = new Pair(makeRoot(), { fragment: 30_011 });
  let n = 0;
  for await (const item of pair.root.mixed()) {
    const expected = n >> 1;
    if (n++ % 2) assertEquals(item, expected);
    else {
      assertEquals(item[0].i, expected);
      assertEquals(item[0].bytes.length, (expected * 7919) % 90_000);
    }
  }
  assertEquals(n, 80);
  const { root } = pair;
  const promises = (function* () {
    for (let i = 0; i < 20; i++) yield i % 3 ? i : root.echo(i);
  })();
  assertEquals(await root.sum(promises), 190);
  const stream = source(6, (i) => i % 2 ? new Uint8Array([i]) : { bytes: new Uint8Array(50_000) });
  const parts = await root.collect(stream.stream);
  assertEquals(parts.map((part: Any) => part.length ?? "object"), [
    "object",
    1,
    "object",
    1,
    "object",
    1,
  ]);
});

Deno.test("the first item comes at once, later ones in growing batches", async () => {
  await using pair = new Pair(makeRoot());
  const frames: number[] = [];
  let before = pair.client.stats.framesReceived;
  let n = 0;
  for await (const _ of pair.root.count(100_000)) {
    n++;
    const now = pair.client.stats.framesReceived;
    if (now !== before) frames.push(n);
    before = now;
  }
  assertEquals(frames[0], 1);
  assert(frames.length < 200, `${frames.length} frames`);
});

Deno.test("next() may be called many times before the first one is answered", async () => {
  await using pair = new Pair(makeRoot());
  const iterator = pair.root.count(5)[Symbol.asyncIterator]();
  const all = await Promise.all(Array.from({ length: 7 }, () => iterator.next()));
  assertEquals(all.map((result) => result.done ? "done" : result.value), [
    0,
    1,
    2,
    3,
    4,
    "done",
    "done",
  ]);
});

Deno.test("a signal is live at the other side, also beside a large value", async () => {
  await using pair = new Pair(makeRoot(), { pressure: true });
  const controller = new AbortController();
  const waits = pair.root.wait(controller.signal).then((reason: unknown) => reason);
  await pair.fence();
  controller.abort({ code: 7 });
  assertEquals(await waits, { code: 7 });
  assertEquals(await pair.root.wait(AbortSignal.abort("before")), "before");
  const other = new AbortController();
  const both = pair.root.waitWith(new Uint8Array(2_000_000), other.signal).then((v: unknown) => v);
  await turn();
  other.abort("early");
  assertEquals(await both, [2_000_000, "early"]);
});

Deno.test("streams and iterators end with the link: what came stays, then the error", async () => {
  const pair = new Pair(makeRoot());
  const { stream, state } = source(1e9, (i) => `${i} ${"x".repeat(5000)}`);
  const back: ReadableStream = await pair.root.echo(stream);
  const reader = back.getReader();
  await reader.read();
  const out = sink();
  const writer = (await pair.root.echo(out.stream) as WritableStream).getWriter();
  const iterator = pair.root.later(1e9)[Symbol.asyncIterator]();
  await iterator.next();
  const unhandled = await unhandledDuring(async () => {
    const ends = Promise.allSettled([
      (async () => {
        for (;;) if ((await reader.read()).done) return;
      })(),
      (async () => {
        for (;;) await writer.write(new Uint8Array(1 << 20));
      })(),
      (async () => {
        for (;;) if ((await iterator.next()).done) return;
      })(),
      writer.closed,
    ]);
    for (let i = 0; i < 5; i++) await turn();
    pair.cut();
    for (const end of await ends) {
      assertEquals(end.status, "rejected");
      assertInstanceOf((end as PromiseRejectedResult).reason, ConnectionLostError);
    }
    for (let i = 0; i < 5; i++) await turn();
  });
  assertEquals(unhandled, []);
  assertInstanceOf(state.cancelled, ConnectionLostError);
  assertInstanceOf(out.state.aborted, ConnectionLostError);
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
});

Deno.test("closing while a large stream is under way settles its writer", async () => {
  const pair = new Pair(makeRoot(), { pressure: true });
  const out = sink();
  const writer = (await pair.root.echo(out.stream) as WritableStream).getWriter();
  writer.closed.catch(() => {});
  const write = writer.write(new Uint8Array(8 << 20)).then(() => "written", () => "failed");
  await turn();
  pair.client.close();
  assertEquals(await write, "failed");
  await pair.fence();
  pair.agent.close();
});

Deno.test("what came before the error of a source is read first, however slowly", async () => {
  await using pair = new Pair({
    breaks: (bytes: boolean) => {
      let i = 0;
      return new ReadableStream({
        type: bytes ? "bytes" : undefined,
        pull(controller: Any) {
          if (i === 5) throw new RangeError("broken");
          controller.enqueue(new Uint8Array(100).fill(++i));
        },
      } as Any, { highWaterMark: 0 });
    },
  });
  for (const bytes of [false, true]) {
    let length = 0;
    const stream: ReadableStream = await pair.root.breaks(bytes);
    await pair.fence();
    await assertRejects(
      async () => {
        for await (const chunk of stream) {
          length += chunk.length;
          await pair.fence();
        }
      },
      Error,
      "broken",
    );
    assertEquals(length, 500);
  }
});
