/**
 * JSON of short texts that are made of lists, names and whole numbers, as most calls and answers are.
 *
 * To make a string of bytes, and to have the engine parse it, visits much code that is cold whenever a process has waited
 * for the other one: so small a text is read from the bytes themselves. Whatever is more than that is left to the engine.
 *
 * @module
 */

/** Longer texts are the engine's. */
export const SHORT_TEXT = 160;

/** Lists in lists, at most: a peer's limit of the depth is not smaller. */
const DEPTH = 16;

/** There is more to this text. */
const MORE = Symbol("more");

let bytes: Uint8Array;
/** Where they are being read, and where the text ends. */
let at = 0;
let end = 0;

/** What `JSON.parse` would make of the text in these bytes, or `undefined` where that is to be asked. */
export function parseShort(text: Uint8Array, from: number, to: number): unknown {
  if (to - from > SHORT_TEXT) return undefined;
  bytes = text;
  at = from;
  end = to;
  const value = parseValue(DEPTH);
  return value === MORE || at !== end ? undefined : value;
}

function parseValue(depth: number): unknown {
  if (at === end) return MORE;
  const first = bytes[at]!;
  if (first === 0x5b) return parseList(depth - 1);
  if (first === 0x22) return parseName();
  if (first >= 0x30 && first <= 0x39) return parseNumber();
  if (first === 0x74) return parseWord("true", true);
  if (first === 0x66) return parseWord("false", false);
  if (first === 0x6e) return parseWord("null", null);
  return MORE;
}

function parseList(depth: number): unknown {
  if (depth < 0) return MORE;
  if (bytes[++at] === 0x5d && at < end) {
    at++;
    return [];
  }
  const first = parseValue(depth);
  if (first === MORE) return MORE;
  const list = [first];
  while (at < end) {
    const next = bytes[at++];
    if (next === 0x5d) return list;
    if (next !== 0x2c) return MORE;
    const item = parseValue(depth);
    if (item === MORE) return MORE;
    list.push(item);
  }
  return MORE;
}

const NAMES = 64;
/** Names that were met: most are met again. */
const names: string[] = new Array(NAMES).fill("");

function parseName(): unknown {
  const start = ++at;
  let sum = 0;
  for (; at < end; at++) {
    const code = bytes[at]!;
    if (code === 0x22) return nameAt(start, at++, sum % NAMES);
    if (code < 0x20 || code === 0x5c || code >= 0x80) return MORE;
    sum += code;
  }
  return MORE;
}

function nameAt(start: number, stop: number, place: number): string {
  const name = names[place]!;
  let i = name.length === stop - start ? start : stop + 1;
  while (i < stop && name.charCodeAt(i - start) === bytes[i]) i++;
  if (i === stop) return name;
  let made = "";
  for (let i = start; i < stop; i++) made += String.fromCharCode(bytes[i]!);
  return names[place] = made;
}

/** No more digits than a number has exactly; neither a sign nor a fraction. */
function parseNumber(): unknown {
  let number = bytes[at]! - 0x30;
  const most = Math.min(end, at + 15);
  for (at++; at < most; at++) {
    const digit = bytes[at]! - 0x30;
    if (!(digit >= 0 && digit <= 9)) break;
    // A zero does not lead.
    if (number === 0) return MORE;
    number = 10 * number + digit;
  }
  return number;
}

function parseWord(word: string, value: unknown): unknown {
  for (let i = 0; i < word.length; i++, at++) {
    if (at === end || bytes[at] !== word.charCodeAt(i)) return MORE;
  }
  return value;
}

/** What `JSON.stringify` makes of a string. */
export function quote(text: string): string {
  if (text.length > SHORT_TEXT) return JSON.stringify(text);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x22 || code === 0x5c || code >= 0xd800) {
      return JSON.stringify(text);
    }
  }
  return '"' + text + '"';
}
