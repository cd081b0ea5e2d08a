import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { ProtocolError, UncrossableError } from "../../protocol/errors.ts";
import { RemoteError, thrown } from "../../protocol/remote_error.ts";
import {
  decode,
  encode,
  type Exporter,
  type Importer,
  NULL_EXPORTER,
  NULL_IMPORTER,
  parse,
} from "../../protocol/values.ts";
import vectors from "../vectors.json" with { type: "json" };
import { build, describeValue, expandBytes, expandText, type Note, toHex } from "./notation.ts";

const DEPTH = 500;

interface Wire {
  text: string;
  form: number;
  attachments: Uint8Array;
}

/** Encodes a value; its attachments are collected. */
function toWire(value: unknown, where = "value"): Wire {
  let attachments = new Uint8Array(0);
  const exporter: Exporter = {
    ...NULL_EXPORTER,
    attach(bytes) {
      const offset = attachments.length;
      const grown = new Uint8Array(offset + bytes.length);
      grown.set(attachments);
      grown.set(bytes, offset);
      attachments = grown;
      return offset;
    },
  };
  const { text, form } = encode(value, exporter, where, DEPTH);
  return { text, form, attachments };
}

/** Decodes what is on the wire. */
function fromWire({ text, form, attachments }: Wire, asThrown = false): unknown {
  const importer: Importer = {
    ...NULL_IMPORTER,
    bytes(position, length) {
      if (position < 0 || position + length > attachments.length) {
        throw new ProtocolError("The bytes are missing");
      }
      return attachments.slice(position, position + length);
    },
  };
  return decode(parse(text, DEPTH), form, importer, DEPTH, asThrown ? thrown : undefined);
}

function wireOf(vector: { json: unknown; form: number; attachments: unknown }): Wire {
  return {
    text: expandText(vector.json as string),
    form: vector.form,
    attachments: expandBytes(vector.attachments as string),
  };
}

/** The canonical note of what a note means: a vector may say the same in a shorter way. */
const canonical = (note: Note) => describeValue(withoutViews(build(note)));

/** A view of a larger buffer arrives as a buffer of its own. */
function withoutViews(value: unknown): unknown {
  return ArrayBuffer.isView(value) && value.byteLength !== value.buffer.byteLength
    ? (value as Uint8Array).slice()
    : value;
}

Deno.test("every vector is encoded as the table says", () => {
  for (const vector of vectors.vectors) {
    const expected = wireOf(vector);
    const wire = toWire(build(vector.value));
    assertEquals(wire.text, expected.text, vector.name);
    assertEquals(wire.form, expected.form, vector.name);
    assertEquals(toHex(wire.attachments), toHex(expected.attachments), vector.name);
  }
});

Deno.test("every vector is decoded to the value that the table describes", () => {
  for (const vector of [...vectors.vectors, ...vectors.decoded]) {
    const value = fromWire(wireOf(vector));
    assertEquals(describeValue(value), canonical(vector.value), vector.name);
  }
});

Deno.test("every vector survives being sent inside an array, behind other objects", () => {
  for (const vector of vectors.vectors) {
    if (JSON.stringify(vector.json).length > 60_000) continue;
    const value = build(vector.value);
    const decoded = fromWire(toWire([{}, 1n, value, value])) as unknown[];
    assertEquals(describeValue(decoded[2]), canonical(vector.value), vector.name);
    // Equal is not enough: what is one object stays one.
    assert(Object.is(decoded[2], decoded[3]), vector.name);
  }
});

Deno.test("what cannot cross is refused, and the error names the place", () => {
  for (const { name, value, path } of vectors.refused) {
    const error = assertThrows(() => toWire(build(value)), UncrossableError, undefined, name);
    assertEquals(error.path, path, name);
    assert(error.message.startsWith(`Cannot send ${path}: `), name);
  }
});

Deno.test("malformed values are refused with a ProtocolError", () => {
  for (const vector of vectors.malformed) {
    assertThrows(() => fromWire(wireOf(vector)), ProtocolError, undefined, vector.name);
  }
});

Deno.test("a decoded key __proto__ is a key, and changes no prototype", () => {
  for (const text of ['{"__proto__":{"x":1}}', '{"__proto__":["o",{"x":1}]}']) {
    const value = fromWire({ text, form: 1, attachments: new Uint8Array(0) }) as object;
    assertStrictEquals(Object.getPrototypeOf(value), Object.prototype);
    assertEquals((value as { x?: number }).x, undefined);
    assert(Object.hasOwn(value, "__proto__"));
  }
});

Deno.test("objects without a prototype, arrays of a class and byte arrays of a class arrive as the plain kind", () => {
  class List extends Array {}
  class Bytes extends Uint8Array {}
  const decoded = fromWire(
    toWire([Object.assign(Object.create(null), { a: 1n }), List.of(1, 2), new Bytes([1])]),
  ) as object[];
  assertEquals(
    decoded.map((value) => Object.getPrototypeOf(value)),
    [Object.prototype, Array.prototype, Uint8Array.prototype],
  );
});

Deno.test("shared memory is copied", () => {
  const shared = new SharedArrayBuffer(4);
  new Uint8Array(shared).set([1, 2, 3, 4]);
  const [whole, part] = fromWire(toWire([shared, new Uint8Array(shared, 1, 2)])) as [
    ArrayBuffer,
    Uint8Array,
  ];
  assertInstanceOf(whole, ArrayBuffer);
  assertEquals(toHex(new Uint8Array(whole)), "01020304");
  assertEquals(toHex(part), "0203");
});

Deno.test("half floats cross where the interpreter has them, and are refused by name where not", () => {
  const bytes = { text: '["b","Float16Array",0,2]', form: 1, attachments: Uint8Array.of(0, 0x3c) };
  if ("Float16Array" in globalThis) assertEquals((fromWire(bytes) as Float32Array)[0], 1);
  else assertThrows(() => fromWire(bytes), TypeError, "this interpreter has no Float16Array");
});

Deno.test("a long sparse array is neither walked nor written out", () => {
  const array: unknown[] = [];
  array[4_000_000_000] = 1;
  array[7] = 2n;
  const wire = toWire(array);
  assertEquals(wire.text, '[0,["h",7],["i","2"],["h",3999999992],1]');
  const decoded = fromWire(wire) as unknown[];
  assertEquals(decoded.length, 4_000_000_001);
  assertEquals(Object.keys(decoded), ["7", "4000000000"]);
  const half: unknown[] = [];
  for (let i = 0; i < 300_000; i += 2) half[i] = i;
  assertEquals((fromWire(toWire(half)) as unknown[])[299_998], 299_998);
});

Deno.test("what only looks like a built-in object is not taken for one", () => {
  const refused: string[] = [];
  const exporter: Exporter = {
    ...NULL_EXPORTER,
    refer(value) {
      refused.push(Object.prototype.toString.call(value));
      return '["r",1,0,""]';
    },
  };
  for (const { prototype } of [Map, Set, Date, RegExp, URL]) {
    encode(Object.create(prototype), exporter, "value", DEPTH);
  }
  assertEquals(refused.length, 5);
});

Deno.test("plain objects that can be awaited or iterated over go by reference", () => {
  const referred: unknown[] = [];
  const exporter: Exporter = {
    ...NULL_EXPORTER,
    refer(value) {
      referred.push(value);
      return '["r",1,0,""]';
    },
  };
  const values = [
    { then() {} },
    { *[Symbol.iterator]() {} },
    { async *[Symbol.asyncIterator]() {} },
  ];
  encode(values, exporter, "value", DEPTH);
  assertEquals(referred, values);
});

Deno.test("no object that is decoded can hook an await", () => {
  const importer: Importer = { ...NULL_IMPORTER, resolve: () => () => {} };
  assertThrows(
    () => decode(JSON.parse('{"then":["r",1,1,"f"]}'), 1, importer, DEPTH),
    ProtocolError,
    "poses as a promise",
  );
  const error = decode(
    JSON.parse('["e","E","m","",{"then":["r",1,1,"f"],"toString":"x","a":1},0,0]'),
    1,
    importer,
    DEPTH,
  ) as Error & { then?: unknown; a?: number };
  assertEquals(error.then, undefined);
  assertEquals(error.a, 1);
  assertEquals(String(error), "E: m");
});

Deno.test("a getter that throws is named", () => {
  const error = assertThrows(
    () =>
      toWire({
        a: [{
          get "b c"() {
            throw new Error("no");
          },
        }],
      }, "args"),
    UncrossableError,
  );
  assertEquals(error.path, 'args.a[0]["b c"]');
  assertEquals((error.cause as Error).message, "no");
});

Deno.test("errors are taken apart whatever they do", () => {
  class Named extends Error {
    // deno-lint-ignore no-explicit-any
    static override name: any = () => {};
  }
  const hostile = new Error("x");
  for (const key of ["message", "stack", "name", "cause", "errors", "own"]) {
    Object.defineProperty(hostile, key, {
      enumerable: true,
      get() {
        throw new Error("no");
      },
    });
  }
  const odd = Object.assign(new Error(), { message: Object.create(null), code: 1 });
  const listed = new Proxy(new Error("listed"), {
    ownKeys() {
      throw new Error("no");
    },
  });
  for (const error of [new Named("n"), hostile, odd, listed]) {
    assertInstanceOf(fromWire(toWire(error)), Error);
  }
  assertEquals((fromWire(toWire(odd)) as { code: number }).code, 1);
});

Deno.test("a thrown error is a RemoteError, its cause too; an error that is only a value is its own kind", () => {
  const error = new TypeError("outer", { cause: new RangeError("inner") });
  const arrived = fromWire(toWire(error), true) as RemoteError;
  assertInstanceOf(arrived, RemoteError);
  assertEquals([arrived.name, arrived.type, arrived.message], ["TypeError", "TypeError", "outer"]);
  assertInstanceOf(arrived.cause, RemoteError);
  const value = fromWire(toWire(error)) as Error;
  assertInstanceOf(value, TypeError);
  assertInstanceOf(value.cause, RangeError);
});

Deno.test("terminal escapes in errors do not arrive", () => {
  const escape = "\x1b[2J\x1b]0;title\x07\x9b1m\u202e";
  const error = new Error(`a${escape}b`);
  error.name = `N${escape}`;
  error.stack = `s${escape}\r\nt`;
  for (const asThrown of [true, false]) {
    const arrived = fromWire(toWire(error), asThrown) as Error;
    for (const text of [arrived.name, arrived.message, arrived.stack!]) {
      // deno-lint-ignore no-control-regex
      assert(!/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/.test(text), JSON.stringify(text));
    }
  }
});
