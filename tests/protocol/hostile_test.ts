/**
 * The trust rule, against a peer that speaks raw frames: whatever it tries ends in a ProtocolError or a rejected call.
 *
 * @module
 */

import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { EventEmitter } from "node:events";
import { ByRef } from "../../protocol/access.ts";
import { ConnectionLostError, ProtocolError, RemoteError } from "../../protocol/errors.ts";
import { How, Op } from "../../protocol/messages.ts";
import { Pair, turn, unhandledDuring } from "./pair.ts";
import { chunk, frame, RawPeer } from "./raw.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

class Base {
  inherited() {
    return "inherited";
  }
}

class Service extends Base {
  secret = "secret";
  own = () => "own";
  calls = 0;
  static made = () => "static";
  #hidden = "hidden";
  _internal() {
    return this.#hidden;
  }
  get accessor() {
    this.calls++;
    return "accessor";
  }
  method(n: number) {
    return n + 1;
  }
  [Symbol.for("symbol")]() {
    return "symbol";
  }
}

class Emitter extends EventTarget {
  ping() {
    return "pong";
  }
}
class NodeEmitter extends EventEmitter {
  ping() {
    return "pong";
  }
}
class Table extends Map<string, string> {
  count() {
    return this.size;
  }
}

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

async function refused(peer: RawPeer, target: number, path: unknown, how: unknown, args?: unknown) {
  const { ok, value } = await attempt(peer, target, path, how, args);
  assert(!ok, `${JSON.stringify(path)} was not refused: ${JSON.stringify(value)}`);
  assertStringIncludes(value, "was not passed");
}

Deno.test("an instance's public methods can be called, and nothing else of it", async () => {
  const peer = new RawPeer();
  const service = new Service();
  const id = await given(peer, service);
  assertEquals(await attempt(peer, id, ["method"], How.call, [1]), { ok: true, value: 2 });
  assertEquals((await attempt(peer, id, ["inherited"], How.call)).value, "inherited");
  for (
    const name of [
      "constructor",
      "__proto__",
      "then",
      "_internal",
      "#hidden",
      "accessor",
      "own",
      "secret",
      "missing",
      "toString",
      "valueOf",
      "hasOwnProperty",
      "__defineGetter__",
      "__lookupGetter__",
      "Symbol(symbol)",
      "symbol",
    ]
  ) {
    await refused(peer, id, [name], How.call);
    await refused(peer, id, [name], How.get);
    await refused(peer, id, [name], How.set, [1]);
    await refused(peer, id, [name], How.delete);
    await refused(peer, id, [name], How.has);
    await refused(peer, id, [name], How.construct);
    await refused(peer, id, [name], How.iterate);
  }
  for (const how of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1, 1.5, null, "call", {}]) {
    await refused(peer, id, [], how);
    await refused(peer, id, ["method", "constructor"], how);
    await refused(peer, id, ["constructor", "constructor"], how, ["return 1"]);
  }
  assertEquals(service.calls, 0);
  assertEquals(service.secret, "secret");
  assertEquals(peer.session.closeReason, undefined);
});

Deno.test("what a class inherits from the interpreter's own classes is not public", async () => {
  const peer = new RawPeer();
  const target = new Emitter();
  const emitter = new NodeEmitter();
  const table = new Table([["key", "secret"]]);
  for (
    const [value, names] of [
      [target, ["dispatchEvent", "addEventListener"]],
      [emitter, ["emit", "on", "removeAllListeners", "listeners"]],
      [table, ["get", "set", "clear", "entries", "forEach"]],
    ] as const
  ) {
    const id = await given(peer, value);
    assert((await attempt(peer, id, [value === table ? "count" : "ping"], How.call)).ok);
    for (const name of names) await refused(peer, id, [name], How.call, ["key"]);
  }
  await refused(peer, await given(peer, table), [], How.iterate);
  const headers = await given(peer, new Headers({ authorization: "secret" }));
  await refused(peer, headers, ["get"], How.call, ["authorization"]);
  await refused(peer, headers, [], How.iterate);
  const promise = await peer.pass(new Promise(() => {})) as number[];
  await refused(peer, -promise[1]!, ["then"], How.call);
  await refused(peer, -promise[1]!, ["catch"], How.call);
});

Deno.test("a function can be called, and is no door to anything", async () => {
  const peer = new RawPeer();
  const id = await given(peer, function double(this: unknown, n: number) {
    return [2 * n, this === undefined];
  });
  assertEquals((await attempt(peer, id, [], How.call, [4])).value, [8, true]);
  for (const name of ["call", "apply", "bind", "prototype", "constructor", "arguments", "caller"]) {
    await refused(peer, id, [name], How.call, [1]);
    await refused(peer, id, [name], How.get);
  }
  await refused(peer, id, [], How.construct, [1]);
  await refused(peer, id, [], How.copy);
  await refused(peer, id, [], How.keys);
  const type = await given(peer, Service);
  await refused(peer, type, [], How.construct);
  await refused(peer, type, ["made"], How.call);
});

Deno.test("fields that were opened can be used as they were opened", async () => {
  const peer = new RawPeer();
  const object = {
    a: 1,
    list: [1],
    get computed() {
      throw new Error("ran");
    },
    f: () => "f",
  };
  const readable = await given(peer, new ByRef(object, { fields: true }));
  assertEquals((await attempt(peer, readable, ["a"], How.get)).value, 1);
  assertEquals((await attempt(peer, readable, ["a"], How.has)).value, true);
  assertEquals((await attempt(peer, readable, ["toString"], How.has)).value, false);
  assertEquals((await attempt(peer, readable, ["f"], How.call)).value, "f");
  await refused(peer, readable, ["computed"], How.get);
  await refused(peer, readable, ["list", "0"], How.get);
  await refused(peer, readable, ["a"], How.set, [2]);
  await refused(peer, readable, ["a"], How.delete);
  const other: Record<string, unknown> = { a: 1 };
  const writable = await given(peer, new ByRef(other, { writable: true }));
  assert((await attempt(peer, writable, ["a"], How.set, [5])).ok);
  assertEquals(other.a, 5);
  await refused(peer, writable, ["a"], How.get);
  await refused(peer, writable, ["toString"], How.set, [1]);
  await refused(peer, writable, ["__proto__"], How.set, [{ polluted: true }]);
  await refused(peer, writable, ["constructor"], How.set, [1]);
  assertEquals(Object.getPrototypeOf(other), Object.prototype);
  const f = await given(peer, new ByRef(class {}, { fields: true, writable: true }));
  await refused(peer, f, ["prototype"], How.get);
  const plain = await given(peer, new ByRef({ secret: 1 }, {}));
  for (const how of [How.get, How.call, How.has, How.set, How.delete]) {
    await refused(peer, plain, ["secret"], how, [1]);
  }
  const array = await given(peer, new ByRef(["secret"], {}));
  await refused(peer, array, [], How.iterate);
});

Deno.test("the client offers no root, and the peer's own results obey the same rule", async () => {
  const peer = new RawPeer();
  for (const path of [[], ["globals"], ["constructor"], ["__proto__"]]) {
    for (const how of Object.values(How)) await refused(peer, 0, path, how);
  }
  const service = new Service();
  const give = await given(peer, () => service);
  peer.say([Op.call, ++calls, give, [], How.call]);
  const result = calls;
  assertEquals((await attempt(peer, result, ["method"], How.call, [1])).value, 2);
  await refused(peer, result, ["secret"], How.get);
  await refused(peer, result, ["constructor", "constructor"], How.call, ["return 1"]);
  // The same by way of an argument.
  const echo = await given(peer, (value: unknown) => value);
  for (const path of [["secret"], ["constructor"], ["accessor"], ["_internal"]]) {
    const { ok } = await attempt(peer, echo, [], How.call, [0, ["p", result, path]], 1);
    assert(!ok);
  }
  const { ok } = await attempt(peer, echo, [], How.call, [0, ["p", 0, ["globals"]]], 1);
  assert(!ok);
  assertEquals(peer.session.closeReason, undefined);
});

/** What a peer may say once, and what the session then says. */
const OFFENCES: Record<string, (peer: RawPeer) => void> = {
  "a reference that was never given": (p) => p.say([Op.callAndPull, 1, -99, [], How.call]),
  "a reference of a peer's own": (p) => p.say([Op.callAndPull, 1, 5, [], How.call]),
  "an invented reference coming home": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["r", -7]], 1]),
  "reference 0": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["r", 0, 0, "x"]], 1]),
  "releasing what it does not hold": (p) => p.say([Op.release, [-1, 1]]),
  "releasing a call that it never made": (p) => p.say([Op.release, [1, 1]]),
  "releasing a negative count": (p) => p.say([Op.release, [-1, -1]]),
  "releasing half of it": (p) => p.say([Op.release, [-1]]),
  "a release that is no list": (p) => p.say([Op.release, "all"]),
  "an answer to no call": (p) => p.say([Op.return, 1, null]),
  "an error for no call": (p) => p.say([Op.throw, 1, null]),
  "an answer whose number is no number": (p) => p.say([Op.return, { a: 1 }, null]),
  "asking for a result of no call": (p) => p.say([Op.pull, 1]),
  "a call number twice": (p) => p.say([Op.call, 1, 0, [], 1], [Op.call, 1, 0, [], 1]),
  "a call number that is none": (p) => p.say([Op.call, "1", 0, [], 1]),
  "a call with a malformed path": (p) => p.say([Op.call, 1, 0, "path", 1]),
  "a call with a symbol in its path": (p) => p.say([Op.call, 1, 0, [["y", "a"]], 1]),
  "a call with malformed arguments": (p) => p.say([Op.call, 1, 0, [], 1, { length: 1e9 }]),
  "a call whose target is text": (p) => p.say([Op.call, 1, "0", [], 1]),
  "cancelling a call that was never made": (p) => p.say([Op.cancel, 1]),
  "credit for no channel": (p) => p.say([Op.credit, -1, 10]),
  "negative credit": (p) => p.say([Op.credit, 1, -10]),
  "items on no channel": (p) => p.say([Op.items, 1, 1, [1]]),
  "the end of no channel": (p) => p.say([Op.end, 1, 0]),
  "stopping no channel": (p) => p.say([Op.stop, -1, 1]),
  "bytes on no channel": (p) => p.raw(chunk(1, new Uint8Array(10))),
  "bytes on channel 0": (p) => p.raw(chunk(0, new Uint8Array(10))),
  "a stream on channel 0": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["R", 0, 1]], 1]),
  "the same channel twice": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["R", 1, 1], ["W", 1]], 1]),
  "a channel far ahead": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["R", 2 ** 50, 1]], 1]),
  "a blob that was announced twice": (p) => p.say([Op.call, 1, 0, [], 1, [], 0, 0, [1, 10, 1, 10]]),
  "a blob of no bytes": (p) => p.say([Op.call, 1, 0, [], 1, [], 0, 0, [1, 0]]),
  "a blob beyond the limit": (p) => p.say([Op.call, 1, 0, [], 1, [], 0, 0, [1, 2 ** 40]]),
  "a blob list of odd length": (p) => p.say([Op.call, 1, 0, [], 1, [], 0, 0, [1]]),
  "more bytes than announced": (p) => {
    p.say([Op.call, 1, 0, [], 1, [], 0, 0, [1, 10]]);
    p.raw(chunk(1, new Uint8Array(11)));
  },
  "a value whose blob was never announced": (p) =>
    p.say([Op.call, 1, 0, [], 1, [0, ["b", "Uint8Array", -3, 10]], 1]),
  "an abort without a signal": (p) => p.say([Op.abort, -1]),
  "output that is not there": (p) => p.say([Op.output, 1, 0, 10]),
  "output of a negative length": (p) => p.say([Op.output, 1, 0, -1]),
  "a pong for no ping": (p) => p.say([Op.pong, 1]),
  "a ping without a number": (p) => p.say([Op.ping, "x"]),
  "a greeting that is none": (p) => p.say([Op.hello, null]),
  "an unknown message": (p) => p.say([99, "\x1b[2J"]),
  "a message that is none": (p) => p.say({ op: 1 }),
  "a frame that is no list": (p) => p.raw(frame("{}")),
  "a frame that is no JSON": (p) => p.raw(frame("[[1,")),
  "a frame that is not UTF-8": (p) => p.raw(frame(Uint8Array.of(0x5b, 0xff, 0x5d))),
  "a frame beyond the limit": (p) => p.raw(frame("", { length: 2 ** 31 })),
  "a text longer than its frame": (p) => p.raw(frame("[]", { textLength: 100 })),
  "nesting beyond the limit": (p) => p.raw(frame("[".repeat(100_000) + "]".repeat(100_000))),
  "acknowledging what was not sent": (p) => p.raw(frame("", { acknowledged: 1 })),
  "an unknown kind of value": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["\x1b[31mred"]], 1]),
  "kinds that change": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["r", 4, 0, "x"], ["S", 4, 0]], 1]),
  "a signal that becomes an object": (p) =>
    p.say([Op.call, 1, 0, [], 1, [0, ["S", 4, 0], ["r", 4, 0, "x"]], 1]),
  "a signal that becomes a promise": (p) =>
    p.say([Op.call, 1, 0, [], 1, [0, ["S", 4, 0], ["P", 4]], 1]),
  "a repeated stream that is none": (p) => p.say([Op.call, 1, 0, [], 1, [0, ["=", 0]], 1]),
  "more pings than it listens to": (p) => {
    for (let i = 0; i < 11; i++) p.say(...Array.from({ length: 1000 }, (_, n) => [Op.ping, n]));
  },
};

for (const [name, offend] of Object.entries(OFFENCES)) {
  Deno.test(`a peer that sends ${name} loses its session, and only that`, async () => {
    await using other = new Pair({ hello: () => "hello" });
    const peer = new RawPeer();
    const unhandled = await unhandledDuring(async () => {
      const call = peer.root.waits();
      const end = call.then(() => "ended", (error: unknown) => error);
      await turn();
      const fresh = new RawPeer();
      // The waiting call has number 1 at its peer: an offence must not answer it by chance.
      offend(name.startsWith("an answer to") || name.startsWith("an error for") ? fresh : peer);
      const session = name.startsWith("an answer to") || name.startsWith("an error for")
        ? fresh.session
        : peer.session;
      assertInstanceOf(session.closeReason, ProtocolError, name);
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(session.closeReason.message));
      if (session !== peer.session) peer.session.close();
      assert(await end instanceof Error);
    });
    assertEquals(unhandled, []);
    const { pending, localRefs, remoteRefs } = peer.session.stats;
    assertEquals(
      [pending, localRefs, remoteRefs, peer.session.working, peer.session.openChannels],
      [
        0,
        0,
        0,
        0,
        0,
      ],
    );
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

Deno.test("floods of references, calls, promises and streams end at their limit", async () => {
  const limits = { references: 1000, pendingCalls: 1000, channels: 100 };
  const floods: ((n: number) => unknown)[] = [
    (n) => [Op.call, n, 0, [], 1, [0, ["r", n, 0, "x"]], 1],
    (n) => [Op.call, n, 0, [], 1, [0, ["P", 1]], 1],
    (n) => [Op.call, n, 0, [], 1, [0, ["R", n, 1]], 1],
    (n) => [Op.call, n, 0, [], 1, [0, ["I", n, 1]], 1],
    (n) => [Op.call, n, 0, [], 0],
  ];
  for (const [index, flood] of floods.entries()) {
    const kept: unknown[] = [];
    const peer = new RawPeer({ limits, access: (_t, _p, _h, args) => void kept.push(args) });
    const unhandled = await unhandledDuring(() => {
      for (let n = 1; n < 2000 && !peer.session.closeReason; n++) peer.say(flood(n));
    });
    assertInstanceOf(peer.session.closeReason, ProtocolError, `flood ${index}`);
    assertStringIncludes(peer.session.closeReason.message, "limits.");
    assertEquals(unhandled, []);
  }
});

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

Deno.test("a peer that calls and does not take the answers is stopped", async () => {
  const peer = new RawPeer({ limits: { answerBytes: 10_000_000 } });
  const megabyte = new Uint8Array(1 << 20);
  const id = await given(peer, () => megabyte);
  for (let n = 1; n < 30 && !peer.session.closeReason; n++) {
    peer.say([Op.callAndPull, 1_000_000 + n, id, [], How.call]);
    await turn();
  }
  assertInstanceOf(peer.session.closeReason, ProtocolError);
  assertStringIncludes(peer.session.closeReason.message, "limits.answerBytes");
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
