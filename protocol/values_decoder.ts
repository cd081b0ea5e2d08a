/**
 * Takes the tagged form of a value apart, in place.
 *
 * The grammar is in `values.ts`. Whatever the peer sends is either a value or a `ProtocolError`.
 *
 * @module
 */

import { count, finite, integer, malformed, string, utf8Text } from "./checks.ts";
import { type ErrorParts, NOT_PROPERTIES, ProtocolError } from "./errors.ts";
import { printable } from "./text.ts";
import { NEW_VIEWS, VIEWS, WELL_KNOWN_SYMBOLS } from "./values_kinds.ts";

/** What the codec needs of a session to take in what is not plain data. */
export interface Importer {
  /** The value of a tag that is not the codec's own. */
  resolve(tag: unknown[], decode: (value: unknown) => unknown): unknown;
  /** The bytes at a position; they belong to the caller. */
  bytes(position: number, length: number): Uint8Array;
  /** A value that the peer may send, but that this interpreter cannot make: what stands in its place. */
  refuse(reason: Error): unknown;
}

/** Makes an error of its parts: cause and errors follow. */
export type MakeError = (parts: ErrorParts) => Error;

/** A value that is not there yet. The decoder says where it goes. */
export class Pending {
  /** Puts the value in its place. */
  fill: (value: unknown) => void = () => {};
}

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

const NUMBERS = new Set(["NaN", "Infinity", "-Infinity", "-0"]);

const ERRORS: Record<string, new (message: string) => Error> = Object.assign(Object.create(null), {
  Error,
  TypeError,
  RangeError,
  SyntaxError,
  ReferenceError,
  EvalError,
  URIError,
});

/** Decodes one value, and whatever is in it. */
export class Decoder {
  readonly #importer: Importer;
  readonly #limit: number;
  readonly #makeError: MakeError;
  readonly #objects: unknown[] = [];
  #depth = 0;

  constructor(importer: Importer, limit: number, makeError: MakeError = plainError) {
    this.#importer = importer;
    this.#limit = limit;
    this.#makeError = makeError;
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
        return utf8Text(this.#importer.bytes(integer(tag[1]), count(tag[2])));
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
    const error = this.#makeError(parts);
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

function bigint(hex: unknown): bigint {
  const text = string(hex);
  if (!/^-?[0-9a-f]+$/i.test(text)) throw malformed("bigint");
  return text.startsWith("-") ? -BigInt("0x" + text.slice(1)) : BigInt("0x" + text);
}
