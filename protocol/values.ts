/**
 * Values and their JSON text.
 *
 * Plain form: the text means itself. Tagged form, for whatever JSON cannot say:
 *
 * ```text
 * string, number, true, false, null        themselves; {...} a plain object
 * [0, item, …]                             an array; ["h", n] among its items: n holes
 * ["u"]                                    undefined
 * ["n", "NaN" | "Infinity" | "-Infinity" | "-0"]
 * ["i", hex]                               a bigint: "ff", "-1a"
 * ["d", ms | null]                         a Date; null is an invalid one
 * ["x", source, flags]  ["l", href]        a RegExp, a URL
 * ["m", key, value, …]  ["s", item, …]     a Map, a Set
 * ["o", {...}, symbol, value, …]           a plain object that has symbols for keys too
 * ["e", type, message, stack, {...}, [cause] | 0, errors | 0]
 * ["b", kind, position, bytes]             an ArrayBuffer or a view of that kind
 * ["t", position, bytes]                   a long string, as UTF-8
 * ["y", key]  ["Y", name]                  Symbol.for(key), Symbol[name]
 * ["J", position, bytes, form]             (outermost only) a value whose text is that long
 * ["#", n]                                 the n-th object of this value, counted as they begin
 * [other, …]                               a reference or a live object: see `live.ts`
 * ```
 *
 * A position that is not negative is an offset among the frame's attachments; a negative one is the
 * channel on which the bytes come. Objects are counted as they begin, in the order of the text.
 *
 * @module
 */

import { type ErrorParts, ProtocolError, RemoteError, UncrossableError } from "./errors.ts";
import { printable } from "./text.ts";

/** What the codec needs of a session to send what is not plain data. */
export interface Exporter {
  /** The JSON text of the tagged form of something that goes by reference or as a live object. */
  refer(value: unknown, path: string, encode: (value: unknown, path: string) => string): string;
  /** Takes bytes, as they are now; gives their position. `path` names the value that they belong to. */
  attach(bytes: Uint8Array, path: string): number;
}

/** What the codec needs of a session to take in what is not plain data. */
export interface Importer {
  /** The value of a tag that is not the codec's own. */
  resolve(tag: unknown[], decode: (value: unknown) => unknown): unknown;
  /** The bytes at a position; they belong to the caller. */
  bytes(position: number, length: number): Uint8Array;
  /** A value that the peer may send, but that this interpreter cannot make: what stands in its place. */
  refuse(reason: Error): unknown;
}

/** A value that is not there yet. The decoder says where it goes. */
export class Pending {
  /** Puts the value in its place. */
  fill: (value: unknown) => void = () => {};
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

/** An importer for data alone: it refuses references. */
export const NULL_IMPORTER: Importer = {
  resolve(tag) {
    throw new ProtocolError(`The peer sent an unknown kind of value: ${String(tag[0])}`);
  },
  bytes() {
    throw new ProtocolError("The peer sent a value whose bytes are missing");
  },
  refuse(reason) {
    throw reason;
  },
};

/** JSON text, and whether it is tagged. */
export interface Encoded {
  text: string;
  form: 0 | 1;
}

/** A string of more characters than this goes as bytes beside the text. */
const LONG_STRING = 16 << 10;
/** A value with more text than this goes as bytes beside the message. */
const LONG_TEXT = 64 << 10;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const UNDEFINED: Encoded = Object.freeze({ text: '["u"]', form: 1 });

/**
 * Encodes a value. `where` names it in the error that refuses what cannot cross. Nothing has been sent when
 * that is thrown.
 */
export function encode(
  value: unknown,
  exporter: Exporter,
  where: string,
  depth: number,
): Encoded {
  if (value === undefined) return UNDEFINED;
  const plain = encodePlain(value, depth, Infinity);
  if (plain !== undefined) {
    return plain.length > LONG_TEXT ? hoist(plain, 0, exporter, where) : { text: plain, form: 0 };
  }
  const text = new Encoder(exporter, depth).encode(value, where);
  return text.length > LONG_TEXT ? hoist(text, 1, exporter, where) : { text, form: 1 };
}

/** The text of a value for which JSON is enough and which is no longer than `most`, or `undefined`. */
export function encodePlain(value: unknown, depth: number, most = LONG_TEXT): string | undefined {
  switch (typeof value) {
    case "boolean":
      return value ? "true" : "false";
    case "string":
      return value.length <= LONG_STRING ? JSON.stringify(value) : undefined;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? String(value) : undefined;
    case "object": {
      if (value === null) return "null";
      if (Array.isArray(value) && value.length === 0) return "[]";
      if (!isPlainSafely(value, depth, { first: undefined, seen: undefined })) return undefined;
      const text = JSON.stringify(value);
      return text.length <= most ? text : undefined;
    }
  }
  return undefined;
}

function hoist(text: string, form: 0 | 1, exporter: Exporter, where: string): Encoded {
  const bytes = encoder.encode(text);
  return { text: `["J",${exporter.attach(bytes, where)},${bytes.length},${form}]`, form: 1 };
}

/** Decodes a value that `JSON.parse` made; a tagged one is taken apart in place. */
export function decode(
  value: unknown,
  form: unknown,
  importer: Importer,
  depth: number,
  thrown = false,
): unknown {
  if (form !== 1) return value;
  if (Array.isArray(value) && value[0] === "J") {
    const text = utf8(importer.bytes(integer(value[1]), count(value[2])));
    const inner = parse(text, depth);
    return value[3] === 1 ? new Decoder(importer, depth, thrown).decode(inner) : inner;
  }
  return new Decoder(importer, depth, thrown).decode(value);
}

/** Parses JSON text that came from the peer; refuses what is nested too deep before it is parsed. */
export function parse(text: string, depth: number): unknown {
  // Brackets come in pairs: a short text cannot be deep.
  const most = 3 * depth + 16;
  if (text.length > 2 * most) checkDepth(text, most);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ProtocolError("The peer sent malformed JSON", { cause });
  }
}

function checkDepth(text: string, most: number): void {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // a string: brackets inside it do not count
        do {
          i = text.indexOf('"', i + 1);
          if (i < 0) return;
        } while (escaped(text, i));
        break;
      case 0x5b:
      case 0x7b:
        if (++depth > most) {
          throw new ProtocolError("The peer sent a value that is nested too deep (limits.depth)");
        }
        break;
      case 0x5d:
      case 0x7d:
        depth--;
    }
  }
}

function escaped(text: string, quote: number): boolean {
  let slashes = 0;
  while (text.charCodeAt(quote - 1 - slashes) === 0x5c) slashes++;
  return slashes % 2 === 1;
}

/** The objects met so far. Most values have one: a set is made for the second. */
interface Met {
  first: object | undefined;
  seen: Set<object> | undefined;
}

/** Is JSON enough for this? A shared or cyclic object is not plain: JSON would lose that. */
function isPlain(value: unknown, depth: number, met: Met): boolean {
  switch (typeof value) {
    case "string":
      return value.length <= LONG_STRING;
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth <= 0) return false;
  if (Array.isArray(value)) {
    let nested = false;
    for (let i = 0; i < value.length; i++) {
      const item = value[i];
      if (typeof item === "object" && item !== null) {
        if (!nested) {
          nested = true;
          if (!note(value, met)) return false;
        }
      }
      if (!isPlain(item, depth - 1, met)) return false;
    }
    return nested || note(value, met);
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  if (!note(value, met)) return false;
  const object = value as Record<string, unknown>;
  const keys = Object.keys(object);
  for (let i = 0; i < keys.length; i++) {
    if (!isPlain(object[keys[i]!], depth - 1, met)) return false;
  }
  return Object.getOwnPropertySymbols(object).length === 0;
}

function isPlainSafely(value: unknown, depth: number, met: Met): boolean {
  try {
    return isPlain(value, depth, met);
  } catch {
    // A getter or a proxy threw: the encoder meets it again, and names its place.
    return false;
  }
}

/** Notes an object; says whether it is new. */
function note(object: object, met: Met): boolean {
  if (met.seen === undefined) {
    if (met.first === undefined) {
      met.first = object;
      return true;
    }
    met.seen = new Set([met.first]);
  }
  const before = met.seen.size;
  return met.seen.add(object).size !== before;
}

const TYPED_ARRAY_TAG = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype),
  Symbol.toStringTag,
)!.get!;

type ViewConstructor = new (buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView;

/** The views that cross, by name; an interpreter may lack the newest. */
const VIEWS: Record<string, [constructor: ViewConstructor, bytes: number]> = Object.assign(
  Object.create(null),
  Object.fromEntries(
    [
      "Int8Array",
      "Uint8Array",
      "Uint8ClampedArray",
      "Int16Array",
      "Uint16Array",
      "Int32Array",
      "Uint32Array",
      "Float16Array",
      "Float32Array",
      "Float64Array",
      "BigInt64Array",
      "BigUint64Array",
    ].flatMap((name) => {
      const constructor = (globalThis as unknown as Record<string, unknown>)[name] as
        | (ViewConstructor & { BYTES_PER_ELEMENT: number })
        | undefined;
      return constructor ? [[name, [constructor, constructor.BYTES_PER_ELEMENT]]] : [];
    }),
  ),
);

/** Views that not every interpreter has. */
const NEW_VIEWS = new Set(["Float16Array"]);

const ERRORS: Record<string, new (message: string) => Error> = Object.assign(Object.create(null), {
  Error,
  TypeError,
  RangeError,
  SyntaxError,
  ReferenceError,
  EvalError,
  URIError,
});

const REGEXP_GLOBAL = Object.getOwnPropertyDescriptor(RegExp.prototype, "global")!.get!;

const WELL_KNOWN_SYMBOLS = new Map<symbol, string>(
  Object.getOwnPropertyNames(Symbol).flatMap((name) => {
    const symbol = (Symbol as unknown as Record<string, unknown>)[name];
    return typeof symbol === "symbol" ? [[symbol, name] as const] : [];
  }),
);

class Encoder {
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
    const bytes = encoder.encode(value);
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
export function errorParts(error: Error): ErrorParts {
  const read = (key: string): unknown =>
    contents(() => (error as unknown as Record<string, unknown>)[key]);
  const text = (key: string): string => contents(() => String(read(key) ?? "")) ?? "";
  const parts: ErrorParts = {
    type: "Error",
    message: text("message"),
    stack: text("stack"),
    properties: {},
  };
  if (error instanceof RemoteError) {
    parts.type = error.type;
    parts.stack = text("stack");
  } else {
    const name = read("name");
    parts.type = typeof name === "string" ? name : "Error";
    if (parts.type === "Error") {
      const constructor = read("constructor");
      const own = contents(() => (constructor as { name?: unknown } | undefined)?.name);
      if (typeof own === "string" && own !== "") parts.type = own;
    }
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

const NOT_PROPERTIES = new Set([
  "name",
  "message",
  "stack",
  "cause",
  "errors",
  "type",
  "remoteStack",
  "__proto__",
  // An error that cannot be shown would hide what went wrong.
  "toString",
  "toJSON",
  "valueOf",
  "then",
]);

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

class Decoder {
  readonly #importer: Importer;
  readonly #limit: number;
  readonly #thrown: boolean;
  readonly #objects: unknown[] = [];
  #depth = 0;

  constructor(importer: Importer, limit: number, thrown: boolean) {
    this.#importer = importer;
    this.#limit = limit;
    this.#thrown = thrown;
  }

  /** Decodes an item; one that is not there yet is put in its place later. */
  #item(value: unknown, place: (value: unknown) => void): unknown {
    const decoded = this.decode(value);
    if (!(decoded instanceof Pending)) return decoded;
    decoded.fill = place;
    return undefined;
  }

  decode(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (++this.#depth > this.#limit + 2) {
      throw new ProtocolError("The peer sent a value that is nested too deep (limits.depth)");
    }
    const decoded = Array.isArray(value) ? this.#tag(value) : this.#object(value);
    this.#depth--;
    return decoded;
  }

  #object(object: object): unknown {
    this.#objects.push(object);
    const fields = object as Record<string, unknown>;
    for (const key of Object.keys(fields)) {
      const value = fields[key];
      if (typeof value !== "object" || value === null) continue;
      const place = placeOf(fields, key);
      const decoded = this.#item(value, place);
      if (decoded !== value) place(decoded);
    }
    return object;
  }

  #tag(tag: unknown[]): unknown {
    switch (tag[0]) {
      case 0:
        return this.#array(tag);
      case "u":
        return undefined;
      case "n":
        if (!NUMBERS.has(tag[1] as string)) throw malformed("number");
        return Number(tag[1]);
      case "i":
        return bigint(tag[1]);
      case "d": {
        const date = new Date(tag[1] === null ? NaN : finite(tag[1]));
        this.#objects.push(date);
        return date;
      }
      case "x": {
        const slot = this.#objects.push(undefined) - 1;
        const [, source, flags] = tag;
        return this.#objects[slot] = this.#make(() => new RegExp(string(source), string(flags)));
      }
      case "l": {
        const slot = this.#objects.push(undefined) - 1;
        const href = string(tag[1]);
        return this.#objects[slot] = this.#make(() => new URL(href));
      }
      case "m":
        return this.#map(tag);
      case "s":
        return this.#set(tag);
      case "o": {
        const object = tag[1];
        if (typeof object !== "object" || object === null || Array.isArray(object)) {
          throw malformed("object");
        }
        this.#object(object);
        if (tag.length % 2 !== 0) throw malformed("object");
        for (let i = 2; i < tag.length; i += 2) {
          const key = this.decode(tag[i]);
          if (typeof key !== "symbol" && typeof key !== "function") throw malformed("symbol");
          const place = (value: unknown) =>
            (object as Record<symbol, unknown>)[key as symbol] = value;
          const value = this.#item(tag[i + 1], place);
          // A symbol of the peer's own is a reference here, and no name.
          if (typeof key === "symbol") place(value);
        }
        return object;
      }
      case "e":
        return this.#error(tag);
      case "b":
        return this.#bytes(tag);
      case "t":
        return utf8(this.#importer.bytes(integer(tag[1]), count(tag[2])));
      case "y":
        return Symbol.for(string(tag[1]));
      case "Y": {
        const name = string(tag[1]);
        for (const [symbol, known] of WELL_KNOWN_SYMBOLS) if (known === name) return symbol;
        // One that is newer than this interpreter.
        return Symbol.for(`Symbol.${name}`);
      }
      case "#": {
        const index = count(tag[1]);
        if (index >= this.#objects.length) throw malformed("repeated object");
        return this.#objects[index];
      }
    }
    return this.#importer.resolve(tag, (value) => this.decode(value));
  }

  /** A value that one interpreter can make and another cannot. */
  #make<T>(make: () => T): unknown {
    try {
      return make();
    } catch (cause) {
      if (cause instanceof ProtocolError) throw cause;
      const { message } = cause as Error;
      return this.#importer.refuse(new TypeError(`Cannot receive a value: ${printable(message)}`));
    }
  }

  #map(tag: unknown[]): unknown {
    const map = new Map();
    this.#objects.push(map);
    if (tag.length % 2 !== 1) throw malformed("Map");
    const entries: [key: unknown, value: unknown][] = [];
    let late = false;
    // What comes later must not change the order.
    const again = () => {
      map.clear();
      for (const [key, value] of entries) map.set(key, value);
    };
    for (let i = 1; i < tag.length; i += 2) {
      const entry: [unknown, unknown] = [undefined, undefined];
      for (const at of [0, 1] as const) {
        const part = this.decode(tag[i + at]);
        entry[at] = part;
        if (!(part instanceof Pending)) continue;
        late = true;
        entry[at] = undefined;
        part.fill = (value) => {
          entry[at] = value;
          again();
        };
      }
      if (!late) map.set(entry[0], entry[1]);
      entries.push(entry);
    }
    if (late) again();
    return map;
  }

  #set(tag: unknown[]): unknown {
    const set = new Set();
    this.#objects.push(set);
    const items: unknown[] = [];
    const again = () => {
      set.clear();
      for (const item of items) set.add(item);
    };
    for (let i = 1; i < tag.length; i++) {
      const item = this.#item(tag[i], (value) => {
        items[i - 1] = value;
        again();
      });
      items.push(item);
      set.add(item);
    }
    return set;
  }

  #array(tag: unknown[]): unknown {
    // The array that JSON.parse made becomes the value: its tag is shifted out unless there are holes.
    const holes = tag.some((item) => Array.isArray(item) && item[0] === "h");
    if (!holes) {
      this.#objects.push(tag);
      tag.shift();
      for (let i = 0; i < tag.length; i++) {
        const item = tag[i];
        if (typeof item === "object" && item !== null) {
          tag[i] = this.#item(item, (value) => tag[i] = value);
        }
      }
      return tag;
    }
    const array: unknown[] = [];
    this.#objects.push(array);
    let length = 0;
    for (let i = 1; i < tag.length; i++) {
      const item = tag[i];
      if (Array.isArray(item) && item[0] === "h") length += count(item[1]);
      else {
        const at = length++;
        array[at] = this.#item(item, (value) => array[at] = value);
      }
      if (length > 0xffff_ffff) throw malformed("array");
    }
    array.length = length;
    return array;
  }

  #error(tag: unknown[]): unknown {
    const slot = this.#objects.push(undefined) - 1;
    const properties = tag[4];
    if (typeof properties !== "object" || properties === null || Array.isArray(properties)) {
      throw malformed("error");
    }
    const fields = properties as Record<string, unknown>;
    for (const key of Object.keys(fields)) {
      fields[key] = this.#item(fields[key], () => {});
      if (typeof fields[key] === "function") delete fields[key];
    }
    const parts: ErrorParts = {
      type: string(tag[1]),
      message: string(tag[2]),
      stack: string(tag[3]),
      properties: fields,
    };
    const cause = Array.isArray(tag[5]) ? tag[5] : undefined;
    const error = this.#thrown ? new RemoteError(parts) : plainError(parts);
    this.#objects[slot] = error;
    const part = (key: string, value: unknown) => {
      const place = (value: unknown) => hidden(error, key, value);
      place(this.#item(value, place));
    };
    if (cause) part("cause", cause[0]);
    if (Array.isArray(tag[6])) part("errors", tag[6]);
    return error;
  }

  #bytes(tag: unknown[]): unknown {
    const kind = string(tag[1]);
    const length = count(tag[3]);
    const view = VIEWS[kind];
    if (view && length % view[1] !== 0) throw malformed(kind);
    const bytes = this.#importer.bytes(integer(tag[2]), length);
    const buffer = bytes.buffer as ArrayBuffer;
    let value: unknown;
    if (kind === "Uint8Array") {
      value = bytes;
    } else if (kind === "ArrayBuffer") {
      value = buffer;
    } else if (kind === "DataView") {
      value = new DataView(buffer);
    } else if (view) {
      value = new view[0](buffer, 0, length / view[1]);
    } else if (NEW_VIEWS.has(kind)) {
      const reason = `this interpreter has no ${kind}`;
      value = this.#importer.refuse(new TypeError(`Cannot receive a value: ${reason}`));
    } else {
      throw malformed(`array of type ${printable(kind.slice(0, 100))}`);
    }
    this.#objects.push(value);
    return value;
  }
}

/** Is this what `import()` gives? */
function isModule(object: object): boolean {
  const tag = Object.getOwnPropertyDescriptor(object, Symbol.toStringTag);
  return tag?.value === "Module" && tag.configurable === false;
}

/** Puts a value under a key of a plain object that the peer sent. */
function placeOf(fields: Record<string, unknown>, key: string): (value: unknown) => void {
  switch (key) {
    case "__proto__":
      // Assigning to this name would set the prototype.
      return (value) =>
        Object.defineProperty(fields, key, {
          value,
          writable: true,
          enumerable: true,
          configurable: true,
        });
    case "then":
      return (value) => {
        // No peer hooks an `await`: a promise comes as one, and a thenable object as a reference.
        if (typeof value === "function") throw malformed("object: it poses as a promise");
        fields[key] = value;
      };
    default:
      return (value) => fields[key] = value;
  }
}

/** An error that came as a value, not thrown: of the same built-in class where there is one. */
function plainError(parts: ErrorParts): Error {
  const constructor = ERRORS[parts.type] ?? Error;
  const error = new constructor(printable(parts.message));
  if (error.name !== parts.type) hidden(error, "name", printable(parts.type));
  hidden(error, "stack", printable(parts.stack));
  for (const key of Object.keys(parts.properties)) {
    const name = printable(key);
    if (!NOT_PROPERTIES.has(name)) {
      (error as unknown as Record<string, unknown>)[name] = parts.properties[key];
    }
  }
  return error;
}

function hidden(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, writable: true, configurable: true });
}

/** A few words on a value, for an error or the console. It runs no code of the value's. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  switch (typeof value) {
    case "function":
      return value.name ? `the function ${value.name}` : "a function";
    case "object": {
      const name = className(value);
      return name ? `an instance of ${name}` : "an object without a class";
    }
    case "symbol":
      return String(value);
    default:
      return `a ${typeof value}`;
  }
}

/** The name of an object's class, or "" where it has none. Getters are not run. */
export function className(value: object): string {
  try {
    const prototype = Object.getPrototypeOf(value);
    const constructor = prototype &&
      Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    const name = typeof constructor === "function" &&
      Object.getOwnPropertyDescriptor(constructor, "name")?.value;
    return typeof name === "string" ? name : "";
  } catch {
    return "";
  }
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

const NUMBERS = new Set(["NaN", "Infinity", "-Infinity", "-0"]);

function isWellFormed(text: string): boolean {
  const native = (text as { isWellFormed?: () => boolean }).isWellFormed;
  return native ? native.call(text) : !/\p{Surrogate}/u.test(text);
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

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new ProtocolError("The peer sent a string that is not UTF-8", { cause });
  }
}

function bigint(hex: unknown): bigint {
  const text = string(hex);
  if (!/^-?[0-9a-f]+$/i.test(text)) throw malformed("bigint");
  return text.startsWith("-") ? -BigInt("0x" + text.slice(1)) : BigInt("0x" + text);
}

function malformed(what: string): ProtocolError {
  return new ProtocolError(`The peer sent a malformed ${what}`);
}

/** A string of the peer's, or a `ProtocolError`. */
export function string(value: unknown): string {
  if (typeof value !== "string") throw malformed("string");
  return value;
}

/** An integer of the peer's, or a `ProtocolError`. */
export function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw malformed("number");
  return value as number;
}

/** An integer of the peer's that is not negative, or a `ProtocolError`. */
export function count(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw malformed("count");
  return value as number;
}

function finite(value: unknown): number {
  if (typeof value !== "number") throw malformed("number");
  return value;
}
