/**
 * Arbitrary values and their wire form. Run as a program, it writes `tests/fuzz_corpus.json`, which the tests of
 * every language read.
 *
 * @module
 */

import fc from "fast-check";
import { encode, NULL_EXPORTER } from "../../protocol/values.ts";
import { describeValue, toHex } from "./notation.ts";

/** The depth that values may have in these tests. */
export const DEPTH = 500;

/** The seed of all runs, unless `PUSHY_FUZZ_SEED` names another one. */
export const SEED = Number(Deno.env.get("PUSHY_FUZZ_SEED") ?? 20_240_607);

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 12 }),
  // Lone surrogates too.
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 4 })
    .map((units) => String.fromCharCode(...units)),
  fc.constantFrom("__proto__", "then", "constructor", "toString", "0", "h", "#"),
);

const bytes = fc.tuple(
  fc.uint8Array({ maxLength: 32 }),
  fc.constantFrom(
    "Uint8Array",
    "Int16Array",
    "Float64Array",
    "BigUint64Array",
    "ArrayBuffer",
    "DataView",
  ),
).map(([bytes, kind]) => {
  // deno-lint-ignore no-explicit-any
  const constructor = (globalThis as any)[kind];
  const size = constructor.BYTES_PER_ELEMENT ?? 1;
  const { buffer } = bytes.slice(0, bytes.length - bytes.length % size);
  return kind === "ArrayBuffer" ? buffer : new constructor(buffer) as object;
});

const leaf: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom(undefined, null, true, false, NaN, -0, Infinity, -Infinity),
  fc.double(),
  fc.integer(),
  fc.bigInt(),
  text,
  fc.date({ noInvalidDate: false }),
  bytes,
  text.map((key) => Symbol.for(key)),
  fc.constantFrom(Symbol.iterator, Symbol.toStringTag),
  fc.constantFrom(/a+/g, /\p{L}/u).map((regexp) => new RegExp(regexp)),
  fc.webUrl().map((url) => new URL(url)),
);

function errorOf([type, message, cause, properties]: [string, string, unknown[], object]): Error {
  const error = new Error(message);
  const hide = (key: string, value: unknown) =>
    Object.defineProperty(error, key, { value, configurable: true, writable: true });
  if (type !== "Error") hide("name", type);
  hide("stack", "a stack");
  if (cause.length > 0) hide("cause", cause[0]);
  return Object.assign(error, properties);
}

const tree = fc.letrec<{ value: unknown; list: unknown[] }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { arbitrary: leaf, weight: 4 },
    { arbitrary: tie("list"), weight: 2 },
    {
      arbitrary: fc.array(fc.tuple(text, tie("value")), { maxLength: 5 }).map((entries) =>
        Object.fromEntries(entries)
      ),
      weight: 2,
    },
    {
      arbitrary: fc.array(fc.tuple(text, tie("value")), { maxLength: 3 }).map((entries) =>
        Object.assign(
          {},
          ...entries.map(([key, value]) => ({ [Symbol.for(key)]: value })),
        )
      ),
      weight: 1,
    },
    {
      arbitrary: fc.array(fc.tuple(tie("value"), tie("value")), { maxLength: 4 })
        .map((entries) => new Map(entries)),
      weight: 1,
    },
    { arbitrary: tie("list").map((items) => new Set(items)), weight: 1 },
    {
      arbitrary: fc.tuple(
        fc.constantFrom("Error", "TypeError", "FileNotFoundError"),
        fc.string({ unit: "grapheme-ascii", maxLength: 8 }),
        fc.array(tie("value"), { maxLength: 1 }),
        fc.dictionary(
          fc.constantFrom("code", "errno", "path"),
          fc.oneof(fc.integer(), fc.bigInt()),
        ),
      ).map(errorOf),
      weight: 1,
    },
  ),
  list: fc.array(tie("value"), { maxLength: 5 }).chain((items) =>
    fc.array(fc.nat(5), { maxLength: 2 }).map((holes) => {
      for (const hole of holes) delete items[hole];
      return items;
    })
  ),
}));

/** Any value that crosses by value, with shared and cyclic parts. */
export const value: fc.Arbitrary<unknown> = fc.tuple(
  tree.value,
  tree.value,
  fc.integer({ min: 0, max: 5 }),
).map(([value, other, shape]) => {
  switch (shape) {
    case 0:
      return [value, other, value];
    case 1: {
      const object: Record<string, unknown> = { value, other };
      object.self = object;
      return object;
    }
    case 2: {
      const map = new Map<unknown, unknown>([[other, value]]);
      return map.set("map", map).set(map, [value, map]);
    }
    default:
      return value;
  }
});

/** A value's wire form. */
export function toWire(value: unknown): { json: string; form: number; attachments: string } {
  let attachments = "";
  const { text, form } = encode(
    value,
    {
      ...NULL_EXPORTER,
      attach(bytes) {
        const at = attachments.length / 2;
        attachments += toHex(bytes);
        return at;
      },
    },
    "value",
    DEPTH,
  );
  return { json: text, form, attachments };
}

if (import.meta.main) {
  const lines = fc.sample(value, { seed: SEED, numRuns: 300 })
    .map((value) => JSON.stringify({ ...toWire(value), value: describeValue(value) }))
    .filter((line) => line.length < 1500);
  const path = new URL("../fuzz_corpus.json", import.meta.url);
  await Deno.writeTextFile(path, `[\n${lines.join(",\n")}\n]\n`);
}
