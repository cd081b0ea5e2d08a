/**
 * The trust rule, against a peer that speaks raw frames: whatever it tries ends in a ProtocolError or a rejected call.
 *
 * @module
 */

import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import type { Access } from "../../protocol/access.ts";
import { closed } from "../../protocol/trust.ts";
import { ConnectionLostError, ProtocolError } from "../../protocol/errors.ts";
import { RemoteError } from "../../protocol/remote_error.ts";
import { How, Op } from "../../protocol/messages.ts";
import { bytesOf } from "../hostile/agent.mjs";
import { checkAnswer, FLOODS, OFFENCES, type Order, TRESPASSES } from "../hostile/attempts.ts";
import { Pair, turn, unhandledDuring } from "./pair.ts";
import { chunk, frame, RawPeer } from "./raw.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

let calls = 0;

/** Calls what stands at `id` of the client, as the peer would; gives the answer. */
async function attempt(
  peer: RawPeer,
  target: number,
  path: unknown,
  how: unknown,
  args: unknown = [],
  form = 0,
): Promise<{ ok: boolean; value: Any }> {
  const id = ++calls;
  peer.say([Op.callAndPull, id, target, path, how, args, form]);
  await turn();
  await turn();
  const answer = peer.received.find((m) =>
    (m[0] === Op.return || m[0] === Op.throw) && m[1] === id
  );
  assert(answer, `no answer: ${peer.session.closeReason}`);
  return { ok: answer[0] === Op.return, value: answer[0] === Op.return ? answer[2] : answer[2][2] };
}

/** The reference that stands for `value` on the wire, negative as the peer names it. */
async function given(peer: RawPeer, value: unknown): Promise<number> {
  const tag = await peer.pass(value) as [string, number];
  assertEquals(tag[0], "r");
  return -tag[1];
}

/** An order on a session in memory: what `agent.mjs` sends, without the wire. */
function obey(peer: RawPeer, orders: readonly Order[], names: Record<string, unknown>): void {
  for (const order of orders) {
    if (!("orders" in order)) peer.raw(order.deaf ? new Uint8Array(0) : bytesOf(order, names));
    else while (!peer.session.closeReason) obey(peer, order.orders, names);
  }
}

for (const [name, { pass, tries }] of Object.entries(TRESPASSES)) {
  Deno.test(`what a peer may do, and what not: ${name}`, async () => {
    const peer = new RawPeer();
    const { value, untouched } = pass();
    const [, id] = await peer.pass(value) as [string, number];
    for (const [index, { try: parts, gives }] of tries.entries()) {
      const say = [[Op.callAndPull, index + 1, ...parts]];
      obey(peer, [{ say }], { 0: id, first: 1 });
      const answers = await peer.heard(Op.return, Op.throw);
      checkAnswer(parts, answers.find((answer) => answer[1] === index + 1), gives);
    }
    untouched?.();
    assertEquals(peer.session.closeReason, undefined);
    peer.session.close();
  });
}

for (const [name, { orders, pass = () => () => {} }] of Object.entries(OFFENCES)) {
  Deno.test(`a peer that sends ${name} loses its session, and only that`, async () => {
    await using other = new Pair({ hello: () => "hello" });
    const peer = new RawPeer();
    const unhandled = await unhandledDuring(async () => {
      const call = peer.root.waits();
      const end = call.then(() => "ended", (error: unknown) => error);
      await turn();
      const [, id] = await peer.pass(pass()) as [string, number];
      obey(peer, orders, { 0: id });
      assertInstanceOf(peer.session.closeReason, ProtocolError, name);
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(peer.session.closeReason.message));
      assert(await end instanceof Error);
    });
    assertEquals(unhandled, []);
    const { pending, localRefs, remoteRefs } = peer.session.stats;
    const { working, openChannels } = peer.session;
    assertEquals([pending, localRefs, remoteRefs, working, openChannels], [0, 0, 0, 0, 0]);
    assertEquals(await other.root.hello(), "hello");
  });
}

Deno.test("a second answer, and an answer before it was asked for, end the session", async () => {
  const twice = new RawPeer();
  const first = twice.root.f().then((value: unknown) => value);
  await turn();
  twice.say([Op.return, 1, "one"], [Op.return, 1, "two"]);
  assertEquals(await first, "one");
  assertInstanceOf(twice.session.closeReason, ProtocolError);
  const early = new RawPeer();
  void early.root.f();
  await turn();
  early.say([Op.return, 1, "unasked"]);
  assertInstanceOf(early.session.closeReason, ProtocolError);
  const blob = new RawPeer();
  const call = blob.root.f().catch((error: unknown) => error);
  await turn();
  blob.say([Op.return, 1, ["b", "Uint8Array", -1, 5], 1, [1, 5]], [Op.return, -1, "early"]);
  assertInstanceOf(await call, ProtocolError);
  assertEquals(blob.session.stats.pending, 0);
});

Deno.test("nothing is handled any more behind the offence, in the same bytes", async () => {
  let ran = 0;
  const peer = new RawPeer();
  const id = await given(peer, () => ran++);
  const call = frame(JSON.stringify([[Op.call, 1, id, [], How.call]]));
  const bye = frame(JSON.stringify([[Op.bye, "gone \x1b[2Jmad"]]));
  const both = new Uint8Array([...bye, ...call]);
  peer.raw(both);
  assertEquals(ran, 0);
  assertInstanceOf(peer.session.closeReason, ConnectionLostError);
  assertEquals(peer.session.closeReason.message, "The remote side ended the connection: gone mad");
});

for (const [name, { limits, say, pass = () => () => {} }] of Object.entries(FLOODS)) {
  Deno.test(`a flood of ${name} ends at its limit`, async () => {
    // What came is kept, so that no collection makes room.
    const kept: unknown[] = [];
    const access: Access = (target, path, how, args, options) => {
      kept.push(args);
      return closed(target, path, how, args, options);
    };
    const peer = new RawPeer({ limits, access });
    const [, id] = await peer.pass(pass()) as [string, number];
    const unhandled = await unhandledDuring(async () => {
      for (let n = 1; n < 2000 && !peer.session.closeReason; n++) {
        obey(peer, [{ say: [say] }], { 0: id, n });
        if (n % 10 === 0) await turn();
      }
    });
    assertInstanceOf(peer.session.closeReason, ProtocolError);
    assertStringIncludes(peer.session.closeReason.message, "limits.");
    assertEquals(unhandled, []);
  });
}

Deno.test("references that this side gives out are limited too, without ending the session", async () => {
  const peer = new RawPeer({ limits: { references: 10 } });
  const id = await given(peer, () => () => {});
  for (let i = 0; i < 20; i++) {
    const { ok, value } = await attempt(peer, id, [], How.call);
    assertEquals(ok, i < 9);
    if (!ok) assertStringIncludes(value, "limits.references");
  }
  assertEquals(peer.session.stats.localRefs, 10);
  assertEquals(peer.session.closeReason, undefined);
});

Deno.test("a peer that gives credit without end does not make a source run without end", async () => {
  const peer = new RawPeer();
  let made = 0;
  function* endless() {
    for (;;) yield `item ${made++}`;
  }
  const [, channel] = await peer.pass(endless()) as [string, number];
  peer.say([Op.credit, -channel, 2 ** 50]);
  assertInstanceOf(peer.session.closeReason, ProtocolError);
  assert(made < 100_000);
});

Deno.test("a peer that stops reading holds up a stream, and memory stays bounded", async () => {
  const never = new Promise<void>(() => {});
  let writes = 0;
  const peer = new RawPeer({ send: () => ++writes > 1 ? never : undefined });
  let made = 0;
  function* endless() {
    for (;;) {
      made++;
      yield "x".repeat(1000);
    }
  }
  peer.root.take(endless());
  for (let i = 0; i < 5; i++) await turn();
  peer.say([Op.credit, -1, 200 << 20]);
  for (let i = 0; i < 50; i++) await turn();
  assert(made < 10_000, `${made} items`);
  peer.session.end(new ConnectionLostError("over"));
});

Deno.test("holes, huge counts and long claims cost nothing", async () => {
  const before = Deno.memoryUsage().rss;
  const peer = new RawPeer();
  const iterator = peer.root.f()[Symbol.asyncIterator]();
  const next = iterator.next().catch((error: unknown) => error);
  await turn();
  peer.say([Op.return, 2, ["I", 1, 1], 1]);
  await turn();
  peer.say([Op.items, 1, 100, [0, ["h", 4_000_000_000]], 1]);
  assertInstanceOf(await next, ProtocolError);
  assertStringIncludes(String(peer.session.closeReason), "malformed items");
  const other = new RawPeer();
  const id = await given(other, (...args: unknown[]) => args.length);
  assert(!(await attempt(other, id, [], How.call, [0, ["h", 4_000_000_000]], 1)).ok);
  for (let n = 1; n < 4; n++) {
    other.say([Op.call, 2_000_000 + n, id, [], How.call, [], 0, 0, [n, 1 << 30]]);
  }
  assert(Deno.memoryUsage().rss - before < 200 << 20);
  other.session.close();
});

Deno.test("items that claim to be small are measured", async () => {
  const peer = new RawPeer();
  const iterator = peer.root.f()[Symbol.asyncIterator]();
  const next = iterator.next().catch((error: unknown) => error);
  await turn();
  peer.say([Op.return, 2, ["I", 1, 1], 1]);
  await turn();
  peer.say([Op.items, 1, 10, ["x".repeat(100_000)]]);
  assertInstanceOf(await next, ProtocolError);
  assertStringIncludes(String(peer.session.closeReason), "than it declared");
});

Deno.test("a source that sends beyond its credit ends the session", async () => {
  const peer = new RawPeer();
  const stream = peer.root.f().then((value: unknown) => value);
  await turn();
  peer.say([Op.return, 1, ["R", 1, 1], 1]);
  await stream;
  for (let i = 0; i < 20 && !peer.session.closeReason; i++) {
    peer.raw(chunk(1, new Uint8Array(100_000)));
  }
  assertInstanceOf(peer.session.closeReason, ProtocolError);
  assertStringIncludes(peer.session.closeReason.message, "credit");
});

Deno.test("objects in a stream of bytes break that stream, and nothing else", async () => {
  const peer = new RawPeer();
  const promise = peer.root.f().then((value: unknown) => value);
  await turn();
  peer.say([Op.return, 1, ["R", 1, 1], 1]);
  const reader = (await promise as ReadableStream).getReader();
  const read = reader.read().catch((error: unknown) => error);
  await turn();
  peer.say([Op.items, 1, 10, ["text"]]);
  assertInstanceOf(await read, TypeError);
  assertEquals((await peer.heard(Op.stop)).length, 1);
  assertEquals(peer.session.closeReason, undefined);
  peer.session.close();
});

Deno.test("terminal escapes reach no message, no stack, no name and no label", async () => {
  const escape = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202e";
  const peer = new RawPeer();
  const thrown = peer.root.f().catch((error: unknown) => error);
  const reference = peer.root.g().then((value: unknown) => value);
  await turn();
  peer.say(
    [Op.throw, 1, ["e", `T${escape}`, `m${escape}`, `s${escape}`, { [`k${escape}`]: 1 }, 0, 0], 1],
    [Op.return, 2, ["r", 1, 0, `L${escape}\nnext line${"x".repeat(1e6)}`], 1],
  );
  const error = await thrown as RemoteError;
  assertInstanceOf(error, RemoteError);
  const stub = await reference;
  for (
    const text of [
      error.name,
      error.type,
      error.message,
      error.stack!,
      error.remoteStack,
      String(stub),
      Deno.inspect(stub),
      Deno.inspect(error),
    ]
  ) {
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/.test(text), JSON.stringify(text));
  }
  assert(!String(stub).includes("\n") && String(stub).length < 200);
  peer.session.close();
});

Deno.test("a value that poses as a promise hooks no await", async () => {
  const peer = new RawPeer();
  const call = peer.root.f().catch((error: unknown) => error);
  await turn();
  peer.say([Op.return, 1, { then: ["r", 1, 1, "then"] }, 1]);
  assertInstanceOf(await call, ProtocolError);
});
