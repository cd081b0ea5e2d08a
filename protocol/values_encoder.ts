/**
 * Makes the tagged form of a value: what JSON cannot say, and objects that are shared.
 *
 * The grammar is in `values.ts`. Nothing is sent here: what does not cross is refused with its path.
 *
 * @module
 */

import { type ErrorParts, NOT_PROPERTIES, UncrossableError } from "./errors.ts";
import { describe } from "./text.ts";
import { LONG_STRING, WELL_KNOWN_SYMBOLS } from "./values_kinds.ts";

const utf8 = new TextEncoder();

/** What the codec needs of a session to send what is not plain data. */
export interface Exporter {
  /** The JSON text of the tagged form of something that goes by reference or as a live object. */
  refer(value: unknown, path: string, encode: (value: unknown, path: string) => string): string;
  /** Takes bytes, as they are now; gives their position. `path` names the value that they belong to. */
  attach(bytes: Uint8Array, path: string): number;
}

/** An exporter for data alone: it refuses what would go by reference. */
export const NULL_EXPORTER: Exporter = {
  refer(value, path) {
    throw new UncrossableError(path, `${describe(value)} is not plain data`);
  },
  attach(bytes, path) {
    throw new UncrossableError(path, `its ${bytes.length} bytes have nowhere to go`);
  },
};

const TYPED_ARRAY_TAG = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

const REGEXP_GLOBAL = Object.getOwnPropertyDescriptor(RegExp.prototype, "global")!.get!;

/** Encodes one value, and whatever is in it. */
export class Encoder {
  readonly #exporter: Exporter;
  readonly #depth: number;
  readonly #seen = new Map<object, number>();

  constructor(exporter: Exporter, depth: number) {
    this.#exporter = exporter;
    this.#depth = depth;
  }

  encode(value: unknown, where: string): string {
    return this.#value(value, where, this.#depth);
  }

  #value(value: unknown, path: string, depth: number): string {
    switch (typeof value) {
      case "undefined":
        return '["u"]';
      case "boolean":
        return value ? "true" : "false";
      case "number":
        if (Number.isFinite(value) && !Object.is(value, -0)) return String(value);
        return `["n","${Object.is(value, -0) ? "-0" : value}"]`;
      case "string":
        return this.#string(value, path);
      case "bigint":
        return `["i","${value.toString(16)}"]`;
      case "symbol": {
        const key = Symbol.keyFor(value);
        if (key !== undefined) return `["y",${JSON.stringify(key)}]`;
        const name = WELL_KNOWN_SYMBOLS.get(value);
        return name ? `["Y","${name}"]` : this.#refer(value, path, depth);
      }
      case "function":
        return this.#refer(value, path, depth);
    }
    if (value === null) return "null";
    const object = value as object;
    const before = this.#seen.get(object);
    if (before !== undefined) return `["#",${before}]`;
    if (depth <= 0) {
      throw new UncrossableError(path, `it is nested deeper than ${this.#depth} (limits.depth)`);
    }
    if (Array.isArray(object)) {
      this.#seen.set(object, this.#seen.size);
      return this.#array(object, path, depth);
    }
    const prototype = Object.getPrototypeOf(object);
    if (prototype === Object.prototype || prototype === null) {
      if (isModule(object) || contents(() => isLive(object))) {
        return this.#refer(object, path, depth);
      }
      this.#seen.set(object, this.#seen.size);
      return this.#object(object as Record<string | symbol, unknown>, path, depth);
    }
    return this.#builtin(object, prototype, path, depth) ?? this.#refer(object, path, depth);
  }

  #refer(value: unknown, path: string, depth: number): string {
    return this.#exporter.refer(
      value,
      path,
      (inner, where) => this.#value(inner, where, depth - 1),
    );
  }

  #string(value: string, path: string): string {
    // A lone surrogate has no UTF-8; JSON escapes it.
    if (value.length <= LONG_STRING || !isWellFormed(value)) return JSON.stringify(value);
    const bytes = utf8.encode(value);
    return `["t",${this.#exporter.attach(bytes, path)},${bytes.length}]`;
  }

  #array(array: unknown[], path: string, depth: number): string {
    // `Array(2 ** 32 - 1)` must not take minutes: of a long array, the keys say what is there.
    if (array.length > 1e5) return this.#longArray(array, path, depth);
    let text = "[0";
    let holes = 0;
    for (let i = 0; i < array.length; i++) {
      const item = array[i];
      if (item === undefined && !(i in array)) {
        holes++;
        continue;
      }
      if (holes) text += `,["h",${holes}]`;
      holes = 0;
      text += "," + this.#value(item, `${path}[${i}]`, depth - 1);
    }
    return holes ? `${text},["h",${holes}]]` : text + "]";
  }

  #longArray(array: unknown[], path: string, depth: number): string {
    let text = "[0";
    let next = 0;
    for (const key of Object.keys(array)) {
      const index = Number(key);
      // Names of other properties come after all the indices.
      if (String(index >>> 0) !== key || index >= array.length) break;
      if (index > next) text += `,["h",${index - next}]`;
      next = index + 1;
      text += "," + this.#value(array[index], `${path}[${index}]`, depth - 1);
    }
    return next < array.length ? `${text},["h",${array.length - next}]]` : text + "]";
  }

  #object(object: Record<string | symbol, unknown>, path: string, depth: number): string {
    let text = "{";
    for (const key of Object.keys(object)) {
      const name = JSON.stringify(key);
      const value = this.#value(read(object, key, path), member(path, key), depth - 1);
      text += text === "{" ? `${name}:${value}` : `,${name}:${value}`;
    }
    text += "}";
    const symbols = Object.getOwnPropertySymbols(object)
      .filter((symbol) => Object.prototype.propertyIsEnumerable.call(object, symbol));
    if (symbols.length === 0) return text;
    text = `["o",${text}`;
    for (const symbol of symbols) {
      const where = `${path}[${String(symbol)}]`;
      text += `,${this.#value(symbol, where, depth)},${
        this.#value(read(object, symbol, path), where, depth - 1)
      }`;
    }
    return text + "]";
  }

  #builtin(object: object, prototype: object, path: string, depth: number): string | undefined {
    const count = this.#seen.size;
    if (ArrayBuffer.isView(object)) {
      this.#seen.set(object, count);
      return this.#view(object, path);
    }
    if (
      object instanceof ArrayBuffer ||
      typeof SharedArrayBuffer === "function" && object instanceof SharedArrayBuffer
    ) {
      this.#seen.set(object, count);
      return this.#bytes("ArrayBuffer", object, 0, object.byteLength, path);
    }
    if (object instanceof Error) {
      this.#seen.set(object, count);
      return this.#error(object, path, depth);
    }
    switch (prototype) {
      case Map.prototype: {
        const entries = contents(() => Map.prototype.entries.call(object));
        if (!entries) return undefined;
        this.#seen.set(object, count);
        let text = '["m"';
        let i = 0;
        for (const [key, value] of entries) {
          text += `,${this.#value(key, `${path}.keys()[${i}]`, depth - 1)}`;
          text += `,${this.#value(value, `${path}.values()[${i++}]`, depth - 1)}`;
        }
        return text + "]";
      }
      case Set.prototype: {
        const items = contents(() => Set.prototype.values.call(object));
        if (!items) return undefined;
        this.#seen.set(object, count);
        let text = '["s"';
        let i = 0;
        for (const item of items) {
          text += `,${this.#value(item, `${path}.values()[${i++}]`, depth - 1)}`;
        }
        return text + "]";
      }
      case Date.prototype: {
        const time = contents(() => Date.prototype.getTime.call(object));
        if (time === undefined) return undefined;
        this.#seen.set(object, count);
        return `["d",${Number.isNaN(time) ? "null" : time}]`;
      }
      case RegExp.prototype: {
        // `RegExp.prototype` itself has a source too, but none of its flags.
        const flags = contents(() => REGEXP_GLOBAL.call(object) === undefined);
        if (flags !== false) return undefined;
        this.#seen.set(object, count);
        const { source, flags: letters } = object as RegExp;
        return `["x",${JSON.stringify(source)},"${letters}"]`;
      }
    }
    if (typeof URL === "function" && prototype === URL.prototype) {
      const href = contents(() => (object as URL).href);
      if (href === undefined) return undefined;
      this.#seen.set(object, count);
      return `["l",${JSON.stringify(href)}]`;
    }
    return undefined;
  }

  #view(view: ArrayBufferView, path: string): string {
    if (!(view instanceof DataView)) {
      const kind = TYPED_ARRAY_TAG.call(view) as string;
      return this.#bytes(kind, view.buffer, view.byteOffset, view.byteLength, path);
    }
    let length: number;
    try {
      length = view.byteLength;
    } catch (cause) {
      throw new UncrossableError(path, "its buffer is detached, or has shrunk", { cause });
    }
    return this.#bytes("DataView", view.buffer, view.byteOffset, length, path);
  }

  #bytes(
    kind: string,
    buffer: ArrayBufferLike,
    offset: number,
    length: number,
    path: string,
  ): string {
    // A detached buffer has length 0 for every view of it; only a new view tells.
    if (length === 0 && isDetached(buffer)) {
      throw new UncrossableError(path, "its buffer is detached");
    }
    const position = this.#exporter.attach(new Uint8Array(buffer, offset, length), path);
    return `["b","${kind}",${position},${length}]`;
  }

  #error(error: Error, path: string, depth: number): string {
    const parts = errorParts(error);
    let text = `["e",${JSON.stringify(parts.type)},${JSON.stringify(parts.message)},${
      JSON.stringify(parts.stack)
    },${this.#object(parts.properties, path, depth)}`;
    text += "cause" in parts ? `,[${this.#value(parts.cause, `${path}.cause`, depth - 1)}]` : ",0";
    text += parts.errors ? `,${this.#value(parts.errors, `${path}.errors`, depth - 1)}` : ",0";
    return text + "]";
  }
}

/** Takes an error apart. Whatever its getters do, this does not throw. */
function errorParts(error: Error): ErrorParts {
  const read = (key: string): unknown =>
    contents(() => (error as unknown as Record<string, unknown>)[key]);
  const text = (key: string): string => contents(() => String(read(key) ?? "")) ?? "";
  const parts: ErrorParts = {
    type: "Error",
    message: text("message"),
    stack: text("stack"),
    properties: {},
  };
  const name = read("name");
  if (typeof name === "string") parts.type = name;
  // One that came from another side is not of the class that it is here.
  if (parts.type === "Error" && !contents(() => Object.hasOwn(error, "remoteStack"))) {
    const constructor = read("constructor");
    const own = contents(() => (constructor as { name?: unknown } | undefined)?.name);
    if (typeof own === "string" && own !== "") parts.type = own;
  }
  for (const key of contents(() => Object.keys(error)) ?? []) {
    const value = read(key);
    const plain = value === null || typeof value !== "object" && typeof value !== "function" &&
        typeof value !== "symbol";
    if (plain && !NOT_PROPERTIES.has(key)) parts.properties[key] = value;
  }
  if (contents(() => Object.hasOwn(error, "cause"))) parts.cause = read("cause");
  const errors = read("errors");
  if (Array.isArray(errors)) parts.errors = errors;
  return parts;
}

/** What `read` gives, or `undefined` where it throws: an object need not be what it claims to be. */
function contents<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Is this plain object more than data: something to await, or to iterate over? */
function isLive(object: object): boolean {
  const { then, [Symbol.asyncIterator]: iterator, [Symbol.iterator]: items } = object as Record<
    string | symbol,
    unknown
  >;
  return typeof then === "function" || typeof iterator === "function" ||
    typeof items === "function";
}

/** Is this what `import()` gives? */
function isModule(object: object): boolean {
  const tag = Object.getOwnPropertyDescriptor(object, Symbol.toStringTag);
  return tag?.value === "Module" && tag.configurable === false;
}

function read(object: Record<string | symbol, unknown>, key: string | symbol, path: string) {
  try {
    return object[key];
  } catch (cause) {
    const where = typeof key === "string" ? member(path, key) : `${path}[${String(key)}]`;
    throw new UncrossableError(where, "reading it threw an error", { cause });
  }
}

function member(path: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if (!(buffer instanceof ArrayBuffer)) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

function isWellFormed(text: string): boolean {
  const native = (text as { isWellFormed?: () => boolean }).isWellFormed;
  return native ? native.call(text) : !/\p{Surrogate}/u.test(text);
}
