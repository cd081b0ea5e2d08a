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

import { count, integer, utf8Text } from "./checks.ts";
import { ProtocolError } from "./errors.ts";
import { quote } from "./short_json.ts";
import { Decoder, type Importer, type MakeError } from "./values_decoder.ts";
import { Encoder, type Exporter } from "./values_encoder.ts";
import { LONG_STRING } from "./values_kinds.ts";

export { type Importer, type MakeError, NULL_IMPORTER, Pending } from "./values_decoder.ts";
export { type Exporter, NULL_EXPORTER } from "./values_encoder.ts";

/** JSON text, and whether it is tagged. */
export interface Encoded {
  text: string;
  form: 0 | 1;
}

/** A value with more text than this goes as bytes beside the message. */
const LONG_TEXT = 64 << 10;

const encoder = new TextEncoder();

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
      return value.length <= LONG_STRING ? quote(value) : undefined;
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? String(value) : undefined;
    case "object": {
      if (value === null) return "null";
      if (Array.isArray(value) && value.length <= FEW && depth > 0) {
        const text = encodeFewSafely(value);
        if (text !== undefined && text.length <= most) return text;
      }
      if (!isPlainSafely(value, depth, { first: undefined, seen: undefined })) return undefined;
      const text = JSON.stringify(value);
      return text.length <= most ? text : undefined;
    }
  }
  return undefined;
}

/** How many arguments most calls have at most. */
const FEW = 4;

/** The text of a list of few items, if none is an object. */
function encodeFew(list: unknown[]): string | undefined {
  let text = "[";
  for (let i = 0; i < list.length; i++) {
    const item = list[i];
    const plain = item !== null && typeof item === "object" ? undefined : encodePlain(item, 0);
    if (plain === undefined) return undefined;
    text += i === 0 ? plain : "," + plain;
  }
  return text + "]";
}

/** The same; a list that throws when it is read is left to who names the place. */
function encodeFewSafely(list: unknown[]): string | undefined {
  try {
    return encodeFew(list);
  } catch {
    return undefined;
  }
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
  makeError?: MakeError,
): unknown {
  if (form !== 1) return value;
  if (Array.isArray(value) && value[0] === "J") {
    const text = utf8Text(importer.bytes(integer(value[1]), count(value[2])));
    const inner = parse(text, depth);
    return value[3] === 1 ? new Decoder(importer, depth, makeError).decode(inner) : inner;
  }
  return new Decoder(importer, depth, makeError).decode(value);
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
