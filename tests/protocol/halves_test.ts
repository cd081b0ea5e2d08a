/**
 * A session may begin without the half that reaches its peer: that is sent when it is first needed, or asked for.
 *
 * @module
 */

import { assertEquals, assertMatch, assertRejects, assertStrictEquals } from "@std/assert";
import { ProtocolError } from "../../protocol/errors.ts";
import { RemoteError } from "../../protocol/remote_error.ts";
import { FrameReader } from "../../protocol/frame.ts";
import { Op } from "../../protocol/messages.ts";
import { type End, type LinkOptions, Pair, turn } from "./pair.ts";
import { RawPeer } from "./raw.ts";

/** A caller, an agent that begins with one half, and what they said of the other. */
function halved(
  root: unknown,
  complete: (packing: string, text: string) => void | Promise<void> = () => {},
  options: LinkOptions = {},
) {
  const said: string[] = [];
  const listen = (from: End) =>
    new FrameReader({
      messages(text) {
        if (text === "") return;
        for (const [op, ...parts] of JSON.parse(text)) {
          if (op === Op.need) said.push(`${from} needs`);
          else if (op === Op.rest) said.push(`${from} sends ${parts.join()}`);
        }
      },
      chunk() {},
    }, 1 << 30);
  const readers = { client: listen("client"), agent: listen("agent") };
  const pair = new Pair(root, {
    ...options,
    client: { rest: ["p", "code"] },
    agent: { complete },
    tap: (from, bytes) => readers[from].push(bytes),
  });
  return { pair, root: pair.root, said };
}

Deno.test("calls with values, and the agent's own objects, need one half", async () => {
  class Box {
    value = 1;
    add(n: number) {
      return this.value += n;
    }
  }
  const { pair, root, said } = halved({
    box: new Box(),
    echo: (value: unknown) => value,
    fail() {
      throw new RangeError("no", { cause: new Map([[1, 2]]) });
    },
  });
  await using _ = pair;
  assertEquals(await root.box.add(root.box.add(2)), 6);
  const box = await root.box;
  assertStrictEquals(await root.echo(box), box);
  const value = [new Date(5), new Set([1n]), { a: undefined }];
  assertEquals(await root.echo(value), value);
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  assertEquals(await root.echo(bytes), bytes);
  const error = await assertRejects(async () => await root.fail(), RemoteError, "no");
  assertEquals(error.cause, new Map([[1, 2]]));
  await pair.client.ping();
  assertEquals(said, []);
  assertEquals(pair.agent.reaching, undefined);
});

Deno.test("the other half goes before the first thing of the caller's, once", async () => {
  const { pair, root, said } = halved({
    call: (callback: (n: number) => unknown) => callback(1),
    read: (stream: ReadableStream) => new Response(stream).text(),
  });
  await using _ = pair;
  assertEquals(await root.call((n: number) => n + 1), 2);
  assertEquals(await root.call((n: number) => n + 2), 3);
  assertEquals(await root.read(new Blob(["text"]).stream()), "text");
  assertEquals(said, ["client sends p,code"]);
});

Deno.test("whoever iterates sends it without being asked", async () => {
  const { pair, root, said } = halved({ list: [1, 2, 3] });
  await using _ = pair;
  const items: number[] = [];
  for await (const item of root.list) items.push(item);
  assertEquals([items, said], [[1, 2, 3], ["client sends p,code"]]);
});

Deno.test("a large value brings it with it, for the memory that it has", async () => {
  const { pair, root, said } = halved({ size: (bytes: Uint8Array) => bytes.length });
  await using _ = pair;
  assertEquals(await root.size(new Uint8Array((8 << 20) - 1)), (8 << 20) - 1);
  assertEquals(said, []);
  assertEquals(await root.size(new Uint8Array(8 << 20)), 8 << 20);
  assertEquals(said, ["client sends p,code"]);
});

Deno.test("an agent that has something live to give asks for it, once; other answers overtake that one", async () => {
  const { pair, root, said } = halved({
    count: function* () {
      yield 1;
      yield 2;
    },
    stream: () => new Blob(["text"]).stream(),
    fail() {
      throw Object.assign(new Error("no"), { cause: new AbortController().signal });
    },
    n: 5,
  });
  await using _ = pair;
  const order: string[] = [];
  const note = <T>(name: string, promise: PromiseLike<T>) =>
    Promise.resolve(promise).then((value) => {
      order.push(name);
      return value;
    });
  const [count, stream, n] = await Promise.all([
    note("count", root.count() as PromiseLike<AsyncIterable<number>>),
    note("stream", root.stream() as PromiseLike<ReadableStream>),
    note("n", root.n),
  ]);
  assertEquals(order[0], "n");
  assertEquals(n, 5);
  assertEquals(await Array.fromAsync(count), [1, 2]);
  assertEquals(await new Response(stream).text(), "text");
  const error = await assertRejects(async () => await root.fail(), RemoteError);
  assertEquals((error.cause as AbortSignal).aborted, false);
  assertEquals(said, ["agent needs", "client sends p,code"]);
  // What was counted as answered agrees with what was sent.
  for (let i = 0; i < 2000; i++) await root.n;
  assertEquals(pair.client.closeReason, undefined);
});

Deno.test("an answer that waits for it may be given up", async () => {
  const { pair, root, said } = halved({ stream: () => new ReadableStream(), n: 5 });
  await using _ = pair;
  const controller = new AbortController();
  const stream = pair.client.caller.with(controller).call(null, ["stream"], 1, [], true).question;
  const ended = assertRejects(() => pair.client.caller.pull(stream), Error, "enough");
  // It has been asked for, and that has not come yet.
  while (said.length === 0) await turn();
  controller.abort(new Error("enough"));
  await ended;
  assertEquals(await root.n, 5);
  assertEquals(said, ["agent needs", "client sends p,code"]);
  assertEquals(pair.agent.openChannels, 0);
});

for (const fragment of [undefined, 7]) {
  const how = fragment === undefined ? "" : ", in pieces";
  Deno.test(`what comes behind the other half waits until that is there${how}`, async () => {
    const unpacked = Promise.withResolvers<void>();
    const started: string[] = [];
    const { pair, root } = halved(
      {
        take(callback: (n: number) => unknown, bytes: Uint8Array, stream: ReadableStream) {
          started.push("take");
          return Promise.all([callback(1), bytes.length, new Response(stream).bytes()]);
        },
        note: (name: string) => started.push(name),
      },
      () => unpacked.promise,
      { fragment },
    );
    await using _ = pair;
    const bytes = crypto.getRandomValues(new Uint8Array(40_000));
    const stream = new Blob([bytes]).stream();
    const taken = root.take((n: number) => n * 2, bytes, stream);
    const noted = [root.note("first"), root.note("second")];
    await pair.fence();
    assertEquals(started, []);
    unpacked.resolve();
    assertEquals(await taken, [2, 40_000, bytes]);
    await Promise.all(noted);
    assertEquals(started.filter((name) => name !== "take"), ["first", "second"]);
  });
}

Deno.test("another half that cannot be taken in ends the session, and says why", async () => {
  for (
    const fail of [() => Promise.reject(new Error("torn")), () => {
      throw new Error("torn");
    }]
  ) {
    const { pair, root } = halved({ call: (f: () => unknown) => f() }, fail);
    await assertRejects(async () => await root.call(() => 1), Error, "cannot be handled");
    assertMatch(String(pair.agent.closeReason?.cause), /torn/);
  }
});

Deno.test("neither half is sent twice, asked for in vain, or used before it is there", async () => {
  const unasked = new RawPeer();
  unasked.say([Op.need]);
  assertMatch(unasked.session.closeReason!.message, /does not lack/);
  const whole = new RawPeer();
  whole.say([Op.rest, "p", "code"]);
  assertMatch(whole.session.closeReason!.message, /nothing lacks/);

  const asking = new RawPeer({ rest: ["p", "code"] });
  asking.say([Op.need], [Op.need]);
  assertEquals(await asking.heard(Op.rest), [[Op.rest, "p", "code"]]);
  assertEquals(asking.session.closeReason, undefined);
  asking.session.close();

  const half = () => new RawPeer({ root: { echo: (value: unknown) => value }, complete() {} });
  for (
    const message of [
      [Op.callAndPull, 1, 0, ["echo"], 1, [0, ["r", 1, 1, "f"]], 1],
      [Op.callAndPull, 1, 0, ["echo"], 1, [0, ["R", 1, 1]], 1],
      [Op.callAndPull, 1, 0, ["echo"], 1, [0, ["P", 1]], 1],
      [Op.return, 1, 5],
      [Op.credit, 1, 5],
      [Op.items, 1, 1, [1]],
      [Op.end, 1, 0],
      [Op.stop, 1, 0],
      [Op.pong, 1],
    ]
  ) {
    const peer = half();
    peer.say(message);
    assertEquals(peer.session.closeReason instanceof ProtocolError, true, JSON.stringify(message));
  }
  const twice = half();
  twice.say([Op.rest, "p", "code"]);
  assertEquals(twice.session.closeReason, undefined);
  twice.say([Op.rest, "p", "code"]);
  assertMatch(twice.session.closeReason!.message, /nothing lacks/);
});
