/**
 * The table of values and the fuzz corpus that every language reads: there and back through Python.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { isRemote, type RemoteError } from "../../mod.ts";
import corpus from "../fuzz_corpus.json" with { type: "json" };
import { build, describeValue, type Note } from "../protocol/notation.ts";
import vectors from "../vectors.json" with { type: "json" };
import { PYTHON, python } from "./pythons.ts";

const ignore = PYTHON === undefined;

/** What Python refuses by its own rules. */
const REFUSED =
  /Cannot take (the date|the expression|an array with \d+ holes|.+ as a key or an item of a set).* in Python/;

/** A value whose return cannot be told from here: keys that Python takes for equal, or makes tuples of. */
class Uncomparable extends Error {}

/** What a value is when it has been in Python. Errors and references are made comparable on the way. */
class Translator {
  readonly #seen = new Map<unknown, unknown>();

  value(value: unknown): unknown {
    if (value === undefined) return null;
    if (typeof value === "bigint") {
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    }
    if (typeof value === "symbol") {
      return Symbol.keyFor(value) === undefined
        ? `Symbol.${value.description!.slice(7)}`
        : `Symbol.for(${Symbol.keyFor(value)})`;
    }
    if (isRemote(value) || value instanceof RegExp) return "a reference";
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof URL) return value.href;
    // Python's dates and bytes do not change: that two places share one is not kept.
    if (value instanceof Date) return isNaN(+value) ? null : new Date(+value);
    if (value instanceof ArrayBuffer) return new Uint8Array(value.slice(0));
    if (value instanceof DataView || value instanceof Uint8ClampedArray) {
      return new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice();
    }
    if (ArrayBuffer.isView(value)) return (value as Uint8Array).slice();
    if (!this.#seen.has(value)) this.#container(value);
    return this.#seen.get(value);
  }

  #container(value: object): void {
    const made = <T extends object>(container: T): T => {
      this.#seen.set(value, container);
      return container;
    };
    if (Array.isArray(value)) {
      const list = made<unknown[]>([]);
      for (const item of value) list.push(this.value(item));
    } else if (value instanceof Set) {
      const set = made(new Set());
      for (const item of value) set.add(this.#key(item));
    } else if (value instanceof Map) {
      const names = [...value].map(([key]) => typeof key === "object" ? key : this.value(key));
      if (names.every((name) => typeof name === "string")) {
        const items = [...value.values()];
        this.#entries(made({}), names.map((name, i) => [name, items[i]]));
      } else {
        const map = made(new Map());
        for (const [key, item] of value) map.set(this.#key(key), this.value(item));
      }
    } else if (value instanceof Error) {
      const { type = value.name } = value as RemoteError;
      const error = made<Record<string, unknown>>({ type, message: value.message });
      if (value.cause instanceof Error) error.cause = this.value(value.cause);
    } else this.#entries(made({}), Object.entries(value));
  }

  #entries(object: object, entries: [string, unknown][]): void {
    for (const [key, item] of entries) {
      Object.defineProperty(object, key, {
        value: this.value(item),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
  }

  #key(key: unknown): unknown {
    const translated = this.value(key);
    const plain = typeof translated === "string" || typeof translated === "bigint" ||
      typeof translated === "number" && translated !== 0 && translated !== 1;
    if (!plain) throw new Uncomparable();
    return translated;
  }
}

const translated = (value: unknown): Note => describeValue(new Translator().value(value));

/** Sends each value through Python; gives how many came back the same. */
async function sendAll(entries: [name: string, note: Note][]): Promise<number> {
  await using py = await python();
  const echo = await py.eval("lambda x: x");
  let same = 0;
  for (const [name, note] of entries) {
    const value = build(note);
    let back: unknown;
    try {
      back = await echo(value);
    } catch (error) {
      assert(REFUSED.test(String(error)), `${name}: ${error}`);
      continue;
    }
    try {
      assertEquals(translated(back), translated(value), name);
      same++;
    } catch (error) {
      if (!(error instanceof Uncomparable)) throw error;
    }
  }
  assertEquals(await py.eval("1 + 1"), 2);
  return same;
}

Deno.test({
  name: "Python: every value of the table comes back",
  ignore,
  fn: async () => {
    const same = await sendAll(vectors.vectors.map(({ name, value }) => [name, value]));
    assert(same > 85, `${same} of ${vectors.vectors.length} could be compared`);
  },
});

Deno.test({
  name: "Python: every value of the fuzz corpus comes back, or is refused by name",
  ignore,
  fn: async () => {
    const same = await sendAll(corpus.map(({ value }, index) => [`entry ${index}`, value]));
    assert(same > corpus.length / 3, `${same} of ${corpus.length} could be compared`);
  },
});
