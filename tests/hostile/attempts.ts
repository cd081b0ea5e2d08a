/**
 * What a peer that means no good may try. The suite of the protocol makes each attempt on a session in memory, the
 * suite beside this file over every transport.
 *
 * Orders are in the language of `agent.mjs`: what is sent is data.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EventEmitter } from "node:events";
import { ByRef } from "../../protocol/access.ts";
import type { Limits } from "../../protocol/limits.ts";
import { How, Op } from "../../protocol/messages.ts";

/** One thing that the hostile agent is told to do. */
export type Order =
  | Partial<{
    say: unknown[];
    text: [part: string, times: number][];
    hex: string;
    chunk: number;
    bytes: number;
    print: number;
    length: number;
    textLength: number;
    acknowledged: number;
    try: Try;
    tell: true;
    deaf: true;
  }>
  | { repeat?: number; orders: Order[] };

/** A call that the peer makes: `"-$0"` is what was passed to it, `"$first"` the result of its first call. */
export type Try = [
  target: 0 | "-$0" | "$first",
  path: unknown,
  how: unknown,
  args?: unknown,
  form?: 0 | 1,
];

// ---- calls that are refused, or allowed

/** What is passed, and what the peer then tries with it. */
export interface Trespass {
  /** What is passed, made anew, and a look at whether it is still as it was. */
  pass(): { value: unknown; untouched?: () => void };
  /** Each try, and what it must give; where nothing is said, it must be refused. */
  readonly tries: readonly { readonly try: Try; readonly gives?: { value?: unknown } }[];
}

const refuse = (path: unknown, how: unknown, args?: unknown, target: Try[0] = "-$0") => ({
  try: [target, path, how, args ?? []] as Try,
});
const allow = (path: unknown, how: unknown, args: unknown, gives: { value?: unknown }) => ({
  try: ["-$0", path, how, args] as Try,
  gives,
});

/** Asserts that a try was answered as it must be: with a value, or a refusal. */
export function checkAnswer(
  tried: Try,
  // deno-lint-ignore no-explicit-any
  answer: any,
  gives: { value?: unknown } | undefined,
): void {
  const what = JSON.stringify(tried);
  assert(answer, `${what} was not answered`);
  const [op, , value] = answer;
  if (gives) {
    assertEquals(op, Op.return, `${what} was refused: ${JSON.stringify(value)}`);
    if ("value" in gives) assertEquals(value, gives.value, what);
  } else {
    assertEquals(op, Op.throw, `${what} was not refused: ${JSON.stringify(value)}`);
    assertStringIncludes(value[2], "was not passed", what);
  }
}

class Base {
  inherited() {
    return "inherited";
  }
}

class Service extends Base {
  secret = "secret";
  own = () => "own";
  reached = 0;
  static made = () => "static";
  #hidden = "hidden";
  _internal() {
    this.reached++;
    return this.#hidden;
  }
  get accessor() {
    this.reached++;
    return "accessor";
  }
  set accessor(_value: string) {
    this.reached++;
  }
  method(n: number) {
    return n + 1;
  }
  [Symbol.for("symbol")]() {
    this.reached++;
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
  ping() {
    return "pong";
  }
}

const NAMES = [
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
];
const ON_NAMES = [How.call, How.get, How.set, How.delete, How.has, How.construct, How.iterate];
const ON_NOTHING = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1, 1.5, null, "call", {}];

function service() {
  const value = new Service();
  const untouched = () => assertEquals([value.reached, value.secret], [0, "secret"]);
  return { value, untouched };
}

function ofBuiltin(value: unknown, names: readonly string[]): Trespass {
  return {
    pass: () => ({ value }),
    tries: [
      allow(["ping"], How.call, [], { value: "pong" }),
      ...names.map((name) => refuse([name], How.call, ["key"])),
      refuse([], How.iterate),
    ],
  };
}

const polluted = () =>
  assertEquals(Object.hasOwn(Object.prototype, "polluted"), false, "Object.prototype was reached");

/** What the peer tries with what was passed to it, and what it may. */
export const TRESPASSES: Record<string, Trespass> = {
  "an instance: its public methods can be called, and nothing else": {
    pass: service,
    tries: [
      allow(["method"], How.call, [1], { value: 2 }),
      allow(["inherited"], How.call, [], { value: "inherited" }),
      ...NAMES.flatMap((name) => ON_NAMES.map((how) => refuse([name], how, [1]))),
      ...ON_NOTHING.flatMap((how) => [
        refuse([], how),
        refuse(["method", "constructor"], how),
        refuse(["constructor", "constructor"], how, ["return 1"]),
      ]),
    ],
  },
  "what inherits from EventTarget": ofBuiltin(new Emitter(), ["dispatchEvent", "addEventListener"]),
  "what inherits from Node's EventEmitter": ofBuiltin(new NodeEmitter(), [
    "emit",
    "on",
    "removeAllListeners",
    "listeners",
  ]),
  "what inherits from Map": ofBuiltin(new Table([["key", "secret"]]), [
    "get",
    "set",
    "clear",
    "entries",
    "forEach",
  ]),
  "the interpreter's own objects": {
    pass: () => ({ value: new Headers({ authorization: "secret" }) }),
    tries: [refuse(["get"], How.call, ["authorization"]), refuse([], How.iterate)],
  },
  "a promise: what becomes of it can be learned": {
    pass: () => ({ value: Promise.resolve("settled") }),
    tries: [
      allow([], How.get, [], { value: "settled" }),
      refuse(["then"], How.call),
      refuse(["catch"], How.call),
    ],
  },
  "an object with an iterator of its own": {
    pass: () => ({
      value: new ByRef({
        secret: 1,
        *[Symbol.iterator]() {
          yield 1;
        },
      }, {}),
    }),
    tries: [allow([], How.iterate, [], {}), refuse(["secret"], How.get)],
  },
  "an array whose fields were opened": {
    pass: () => ({ value: new ByRef(["open"], { fields: true }) }),
    tries: [
      allow([], How.iterate, [], {}),
      allow(["0"], How.get, [], { value: "open" }),
      refuse(["join"], How.call),
      refuse(["push"], How.call, [1]),
    ],
  },
  "a function: it can be called, and is no door to anything": {
    pass: () => ({
      value: function (this: unknown, n: number) {
        return [2 * n, this === undefined];
      },
    }),
    tries: [
      allow([], How.call, [4], { value: [8, true] }),
      ...["call", "apply", "bind", "prototype", "constructor", "arguments", "caller"].flatMap(
        (name) => [refuse([name], How.call, [1]), refuse([name], How.get)],
      ),
      refuse([], How.construct, [1]),
      refuse([], How.copy),
      refuse([], How.keys),
    ],
  },
  "a class": {
    pass: () => ({ value: Service }),
    tries: [refuse([], How.construct), refuse(["made"], How.call)],
  },
  "fields that were opened to be read": {
    pass: () => {
      const object = {
        a: 1,
        list: [1],
        get computed() {
          throw new Error("the accessor ran");
        },
        f: () => "f",
      };
      const value = new ByRef(object, { fields: true });
      return { value, untouched: () => assertEquals([object.a, object.list], [1, [1]]) };
    },
    tries: [
      allow(["a"], How.get, [], { value: 1 }),
      allow(["a"], How.has, [], { value: true }),
      allow(["toString"], How.has, [], { value: false }),
      allow(["f"], How.call, [], { value: "f" }),
      refuse(["computed"], How.get),
      refuse(["list", "0"], How.get),
      refuse(["a"], How.set, [2]),
      refuse(["a"], How.delete),
    ],
  },
  "fields that were opened to be written": {
    pass: () => {
      const object: Record<string, unknown> = { a: 1, b: 2 };
      const untouched = () => {
        assertEquals(object, { a: 5 });
        assertEquals(Object.getPrototypeOf(object), Object.prototype);
        polluted();
      };
      return { value: new ByRef(object, { writable: true }), untouched };
    },
    tries: [
      allow(["a"], How.set, [5], {}),
      allow(["b"], How.delete, [], {}),
      refuse(["toString"], How.delete),
      refuse(["a"], How.get),
      refuse(["toString"], How.set, [1]),
      refuse(["__proto__"], How.set, [{ polluted: true }]),
      refuse(["__proto__", "polluted"], How.set, [true]),
      refuse(["constructor"], How.set, [1]),
    ],
  },
  "a setter, where fields may be written": {
    pass: () => {
      const { value, untouched } = service();
      return { value: new ByRef(value, { writable: true }), untouched };
    },
    tries: [refuse(["accessor"], How.set, ["x"]), refuse(["method"], How.set, [1])],
  },
  "a class whose fields were opened": {
    pass: () => ({ value: new ByRef(class {}, { fields: true, writable: true }) }),
    tries: [refuse(["prototype"], How.get)],
  },
  "an object of which nothing was opened": {
    pass: () => ({ value: new ByRef({ secret: 1 }, {}) }),
    tries: [How.get, How.call, How.has, How.set, How.delete].map((how) =>
      refuse(["secret"], how, [1])
    ),
  },
  "an array of which nothing was opened": {
    pass: () => ({ value: new ByRef(["secret"], {}) }),
    tries: [refuse([], How.iterate), refuse(["0"], How.get)],
  },
  "a root that the client does not have": {
    pass: () => ({ value: () => {} }),
    tries: [[], ["globals"], ["constructor"], ["__proto__"]].flatMap((path) =>
      Object.values(How).map((how) => refuse(path, how, [], 0))
    ),
  },
  "what its own calls gave, which obeys the same rule": {
    pass: () => {
      const { value, untouched } = service();
      return { value: () => value, untouched };
    },
    tries: [
      { try: ["-$0", [], How.call, []], gives: {} },
      { try: ["$first", ["method"], How.call, [1]], gives: { value: 2 } },
      refuse(["secret"], How.get, [], "$first"),
      refuse(["accessor"], How.get, [], "$first"),
      refuse(["constructor", "constructor"], How.call, ["return 1"], "$first"),
    ],
  },
  "paths in its arguments": {
    pass: () => {
      const { value, untouched } = service();
      return { value: (...args: unknown[]) => args.length > 0 ? args[0] : value, untouched };
    },
    tries: [
      { try: ["-$0", [], How.call, []], gives: {} },
      ...[
        ["$first", ["secret"]],
        ["$first", ["constructor"]],
        ["$first", ["accessor"]],
        ["$first", ["_internal"]],
        [0, ["globals"]],
      ].map((path) => ({ try: ["-$0", [], How.call, [0, ["p", ...path]], 1] as Try })),
    ],
  },
};

// ---- what ends the connection

/** What ends the connection, whatever else there is on it. */
export interface Offence {
  readonly orders: Order[];
  /** What is passed first. Default: a function. */
  readonly pass?: () => unknown;
}

const saying = (...say: unknown[]): Offence => ({ orders: [{ say }] });
const calling = (...args: unknown[]): Offence => saying([Op.call, 1, 0, [], 1, [0, ...args], 1]);
const announcing = (...blobs: number[]): Offence => saying([Op.call, 1, 0, [], 1, [], 0, 0, blobs]);

/** A number that nothing of the client's has. */
const NONE = 99_999;

/** What a peer may say once, and never again. */
export const OFFENCES: Record<string, Offence> = {
  "a reference that was never given": saying([Op.callAndPull, 1, -NONE, [], How.call]),
  "a reference of a peer's own": saying([Op.callAndPull, 1, 5, [], How.call]),
  "a reference that it has given back": {
    orders: [{ say: [[Op.release, ["-$0", 1]], [Op.callAndPull, 1, "-$0", [], How.call]] }],
  },
  "a reference twice given back": { orders: [{ say: [[Op.release, ["-$0", 2]]] }] },
  "an invented reference coming home": calling(["r", -NONE]),
  "reference 0": calling(["r", 0, 0, "x"]),
  "a stream for an object": {
    pass: () => new ReadableStream(),
    orders: [{ say: [[Op.callAndPull, 1, "-$0", [], How.call]] }],
  },
  "an object for a stream": { orders: [{ say: [[Op.credit, "-$0", 10]] }] },
  "an object for a signal": { orders: [{ say: [[Op.abort, "-$0"]] }] },
  "releasing what it does not hold": saying([Op.release, [-NONE, 1]]),
  "releasing a call that it never made": saying([Op.release, [1, 1]]),
  "releasing a negative count": { orders: [{ say: [[Op.release, ["-$0", -1]]] }] },
  "releasing half of it": { orders: [{ say: [[Op.release, ["-$0"]]] }] },
  "releasing a fraction of it": { orders: [{ say: [[Op.release, ["-$0", 0.5]]] }] },
  "a release that is no list": saying([Op.release, "all"]),
  "an answer to no call": saying([Op.return, NONE, null]),
  "an error for no call": saying([Op.throw, NONE, null]),
  "an answer to a call of its own": saying([Op.return, -1, null]),
  "an answer whose number is no number": saying([Op.return, { a: 1 }, null]),
  "asking for a result of no call": saying([Op.pull, 1]),
  "a call number twice": saying([Op.call, 1, 0, [], 1], [Op.call, 1, 0, [], 1]),
  "a call number that is none": saying([Op.call, "1", 0, [], 1]),
  "a call number that is negative": saying([Op.call, -1, 0, [], 1]),
  "a call with a malformed path": saying([Op.call, 1, 0, "path", 1]),
  "a call with a symbol in its path": saying([Op.call, 1, 0, [["y", "a"]], 1]),
  "a call with malformed arguments": saying([Op.call, 1, 0, [], 1, { length: 1e9 }]),
  "a call whose target is text": saying([Op.call, 1, "0", [], 1]),
  "cancelling a call that was never made": saying([Op.cancel, 1]),
  "credit for no channel": saying([Op.credit, -NONE, 10]),
  "negative credit": saying([Op.credit, 1, -10]),
  "credit without end": {
    pass: () =>
      (function* () {
        for (;;) yield "item";
      })(),
    orders: [{ say: [[Op.credit, "-$0", 2 ** 50]] }],
  },
  "items on no channel": saying([Op.items, 1, 1, [1]]),
  "the end of no channel": saying([Op.end, 1, 0]),
  "stopping no channel": saying([Op.stop, -NONE, 1]),
  "bytes on no channel": { orders: [{ chunk: 1, bytes: 10 }] },
  "bytes on channel 0": { orders: [{ chunk: 0, bytes: 10 }] },
  "a stream on channel 0": calling(["R", 0, 1]),
  "the same channel twice": calling(["R", 1, 1], ["W", 1]),
  "a channel far ahead": calling(["R", 2 ** 50, 1]),
  "a blob that was announced twice": announcing(1, 10, 1, 10),
  "a blob of no bytes": announcing(1, 0),
  "a blob beyond the limit": announcing(1, 2 ** 40),
  "a blob list of odd length": announcing(1),
  "more bytes than announced": {
    orders: [...announcing(1, 10).orders, { chunk: 1, bytes: 11 }],
  },
  "a value whose blob was never announced": calling(["b", "Uint8Array", -3, 10]),
  "an array of a kind that is none": calling(["b", "Function", 0, 0]),
  "an abort without a signal": saying([Op.abort, -NONE]),
  "output that is not there": saying([Op.output, 1, 0, 10]),
  "output of a negative length": saying([Op.output, 1, 0, -1]),
  "a pong for no ping": saying([Op.pong, NONE]),
  "a ping without a number": saying([Op.ping, "x"]),
  "a greeting that is none": saying([Op.hello, null]),
  "an unknown message": saying([99, "\x1b[2J"]),
  "a message that is none": saying({ op: 1 }),
  "a frame that is no list": { orders: [{ text: [["{}", 1]] }] },
  "a frame that is no JSON": { orders: [{ text: [["[[1,", 1]] }] },
  "a frame that is not UTF-8": { orders: [{ hex: "5bff5d" }] },
  "a frame beyond the limit": { orders: [{ text: [], length: 2 ** 31 }] },
  "a frame of 4 GiB": { orders: [{ text: [], length: 2 ** 32 - 1 }] },
  "a text longer than its frame": { orders: [{ text: [["[]", 1]], textLength: 100 }] },
  "nesting beyond the limit": { orders: [{ text: [["[", 100_000], ["]", 100_000]] }] },
  "a key nested beyond the limit": {
    orders: [{
      text: [['[[1,1,0,[],1,[{"a":', 1], ['{"a":', 5000], ["0", 1], ["}", 5001], [
        "]]]",
        1,
      ]],
    }],
  },
  "acknowledging what was not sent": { orders: [{ text: [], acknowledged: 1 }] },
  "an unknown kind of value": calling(["\x1b[31mred"]),
  "kinds that change": calling(["r", 4, 0, "x"], ["S", 4, 0]),
  "a signal that becomes an object": calling(["S", 4, 0], ["r", 4, 0, "x"]),
  "a signal that becomes a promise": calling(["S", 4, 0], ["P", 4]),
  "a repeated stream that is none": calling(["=", 0]),
  "a repetition of a value that is none": calling(["#", 7]),
  "more pings than it listens to": {
    orders: [{ deaf: true }, { orders: [{ text: [["[[14,0]", 1], [",[14,0]", 999], ["]", 1]] }] }],
  },
};

// ---- what must not grow

/** A flood that ends at a limit. */
export interface Flood {
  readonly limits: Partial<Limits>;
  /** The message that is repeated; `"$n"` counts. */
  readonly say: unknown[];
  readonly pass?: () => unknown;
}

const LIMITS = { references: 1000, pendingCalls: 1000, channels: 100, answerBytes: 10_000_000 };

/** What is repeated until the client has had enough. */
export const FLOODS: Record<string, Flood> = {
  "references": { limits: LIMITS, say: [Op.call, "$n", 0, [], 1, [0, ["r", "$n", 0, "x"]], 1] },
  "promises": { limits: LIMITS, say: [Op.call, "$n", 0, [], 1, [0, ["P", 1]], 1] },
  "streams": { limits: LIMITS, say: [Op.call, "$n", 0, [], 1, [0, ["R", "$n", 1]], 1] },
  "iterators": { limits: LIMITS, say: [Op.call, "$n", 0, [], 1, [0, ["I", "$n", 1]], 1] },
  "calls": { limits: LIMITS, say: [Op.call, "$n", 0, [], 0] },
  "answers that it does not take": {
    limits: LIMITS,
    say: [Op.callAndPull, "$n", "-$0", [], How.call],
    pass: () => () => MEGABYTE,
  },
};

const MEGABYTE = new Uint8Array(1 << 20);
