/**
 * How what is not plain data crosses: references, promises, streams, iterators, signals.
 *
 * ```text
 * ["r", id, kind, label]      an object of the sender's; kind 0 object, 1 function, 2 class, 3 symbol
 * ["r", -id]                  the receiver's own object comes home
 * ["p", target, path]         the value at a path, from a target as in a call: the receiver has it, or will
 * ["P", id]                   a promise of the sender's; with 1 behind it, its value once it has one
 * ["S", id, aborted, reason]  an AbortSignal of the sender's
 * ["R", channel, bytes]       a ReadableStream; bytes is 1 for a byte stream
 * ["W", channel]              a WritableStream
 * ["I", channel, started]     an iterator
 * ["k", {...}]                keyword arguments, for a Python peer
 * ["=", n]                    the n-th of the P, S, R, W and I of this value, once more
 * ```
 *
 * What flows on a channel follows the last piece of the blobs that its message brought: the receiver
 * opens the channel when it reads the message, and it reads the message when the blobs are there.
 *
 * @module
 */

import { ByRef, isThenable, Iteration } from "./access.ts";
import type { Answer } from "./answers.ts";
import { count, integer, malformed, string } from "./checks.ts";
import { ProtocolError, UncrossableError } from "./errors.ts";
import type { Export, Exports } from "./exports.ts";
import type { AttachedMark } from "./frame.ts";
import type { Limits } from "./limits.ts";
import type { Path } from "./messages.ts";
import type { Reaching } from "./reaching.ts";
import { className, printable } from "./text.ts";
import { decode, type Exporter, type Importer, type MakeError, Pending } from "./values.ts";

/** What crossing needs of a session. */
export interface Border {
  readonly exports: Exports;
  readonly limits: Limits;
  /** The half that knows what is the peer's, and what is live; it may not be there yet. */
  readonly reaching: Reaching | undefined;
  /** The number of a new channel of this side. */
  newChannel(): number;
  /** What is attached to the frame that is being made. */
  markAttached(): AttachedMark;
  /** Attaches bytes to the frame that is being made. `undefined`: they would make it too long. */
  attach(bytes: Uint8Array): number | undefined;
  /** Takes back what was attached since. */
  detach(mark: AttachedMark): void;
  /** Queues the bytes of a blob; calls back when the last of them was written. */
  sendBlob(channel: number, bytes: Uint8Array, done: () => void): void;
  /** The value at a path from a target, as the peer names it; a promise if it is not there yet. */
  lookUp(target: number, path: Path): unknown;
  /** The bytes of a blob that has arrived. */
  takeBlob(channel: number, length: number): Uint8Array;
}

/** Nothing of a message was sent, because this side lacks its reaching half: to be tried again when that has come. */
export const LACKING: unique symbol = Symbol("pushy.lacking");

/** The tag of what crosses as something live, if this does. */
export function liveTag(value: object): "P" | "R" | "W" | "S" | "I" | undefined {
  if (value instanceof Promise) return "P";
  if (value instanceof ReadableStream) return "R";
  if (value instanceof WritableStream) return "W";
  if (value instanceof AbortSignal) return "S";
  return value instanceof Iteration || isIterator(value) ? "I" : undefined;
}

/** Bytes up to this size travel in the frame of their message. */
const INLINE_BYTES = 16 << 10;
/**
 * Bytes up to this size are copied when they are passed. More are not: a copy of a gigabyte costs more than to send it,
 * so whoever passes that leaves it alone until the call is answered.
 */
const SNAPSHOT_BYTES = 1 << 20;
/** For as much a peer has better memory (`runtime/large_arrays.ts`), if it has all of itself. */
const LARGE_BYTES = 8 << 20;
/** How much of a name is shown. */
export const LABEL = 160;

/** What one outgoing message takes with it. If it cannot be sent, nothing of it has happened. */
export class Outgoing implements Exporter {
  /** `[channel, length, …]` of what follows in pieces. */
  readonly blobs: number[] = [];
  readonly #border: Border;
  readonly #inlineOnly: boolean;
  /** What starts when the message has left. */
  readonly starts: (() => void)[] = [];
  /** The live objects of this message, and which each is. */
  readonly live: Map<object, number> = new Map();
  readonly #introduced: Export[] = [];
  readonly #bulk: [channel: number, bytes: Uint8Array][] = [];
  #mark: AttachedMark | undefined;

  /** With `inlineOnly`, all bytes travel with the message. */
  constructor(border: Border, inlineOnly = false) {
    this.#border = border;
    this.#inlineOnly = inlineOnly;
  }

  /** The message has been queued: blobs follow, and then streams start. */
  sent(): void {
    let missing = this.#bulk.length;
    const start = () => {
      for (const start of this.starts) start();
    };
    if (missing === 0) return start();
    for (const [channel, bytes] of this.#bulk) {
      this.#border.sendBlob(channel, bytes, () => {
        if (--missing === 0) start();
      });
    }
  }

  /** The message is not going to be sent. */
  withdraw(): void {
    for (const entry of this.#introduced) this.#border.exports.withdraw(entry);
    if (this.#mark) this.#border.detach(this.#mark);
  }

  attach(bytes: Uint8Array, path: string): number {
    const { valueBytes } = this.#border.limits;
    if (bytes.length > valueBytes) {
      throw new UncrossableError(
        path,
        `it has ${bytes.length} bytes; limits.valueBytes is ${valueBytes}`,
      );
    }
    if (bytes.length <= INLINE_BYTES || this.#inlineOnly) {
      this.#mark ??= this.#border.markAttached();
      const offset = this.#border.attach(bytes);
      if (offset !== undefined) return offset;
      if (this.#inlineOnly) {
        throw new UncrossableError(path, `its ${bytes.length} bytes are too many for a reason`);
      }
    }
    if (bytes.length >= LARGE_BYTES) this.#border.reaching?.sendRest();
    const channel = this.#border.newChannel();
    // Up to a size, as it is now; a larger one is read while it is sent.
    const kept = bytes.length <= SNAPSHOT_BYTES ? bytes.slice() : bytes;
    this.blobs.push(channel, bytes.length);
    this.#bulk.push([channel, kept]);
    return -channel;
  }

  refer(value: unknown, path: string, encode: (value: unknown, path: string) => string): string {
    const { reaching } = this.#border;
    if (reaching) return reaching.refer(this, value, path, encode);
    if (typeof value === "object" && liveTag(value!)) throw LACKING;
    return this.reference(value, path);
  }

  /** Counts one more introduction of an object of this side. */
  introduce(value: unknown, path: string): Export {
    const { references } = this.#border.limits;
    if (this.#border.exports.size >= references) {
      throw new UncrossableError(
        path,
        `the peer holds ${references} references already (limits.references)`,
      );
    }
    // To use it the peer needs its other half.
    this.#border.reaching?.sendRest();
    const entry = this.#border.exports.introduce(value);
    this.#introduced.push(entry);
    return entry;
  }

  /** An object of this side, by reference. */
  reference(value: unknown, path: string): string {
    const entry = this.introduce(value, path);
    const shown = value instanceof ByRef ? value.value : value;
    let kind = 0;
    let label: string;
    if (typeof shown === "function") {
      const isClass = /^class\b/.test(Function.prototype.toString.call(shown));
      kind = isClass ? 2 : 1;
      label = shown.name;
    } else if (typeof shown === "symbol") {
      kind = 3;
      label = String(shown);
    } else {
      label = className(shown as object) || Object.prototype.toString.call(shown).slice(8, -1);
    }
    return `["r",${entry.id},${kind},${JSON.stringify(String(label).slice(0, LABEL))}]`;
  }
}

/** Takes in what one incoming message brings. */
export class Incoming implements Importer {
  readonly #border: Border;
  readonly #attachments: Uint8Array;
  /** The call whose arguments these are. */
  readonly answer: Answer | undefined;
  /** The live objects of this message. */
  readonly live: unknown[] = [];
  readonly #waiting: PromiseLike<unknown>[] = [];

  /** `answer` is the call whose arguments these are. */
  constructor(border: Border, attachments: Uint8Array, answer?: Answer) {
    this.#border = border;
    this.#attachments = attachments;
    this.answer = answer;
  }

  /** Decodes a tagged value and hands it over: at once, or when its last part is there. */
  take(
    value: unknown,
    then: (value: unknown) => void,
    failed: (error: unknown) => void,
    makeError?: MakeError,
  ): void {
    let decoded = decode(value, 1, this, this.#border.limits.depth, makeError);
    if (decoded instanceof Pending) decoded.fill = (value) => decoded = value;
    if (this.#waiting.length === 0) then(decoded);
    else Promise.all(this.#waiting).then(() => then(decoded), failed);
  }

  bytes(position: number, length: number): Uint8Array {
    if (position < 0) return this.#border.takeBlob(-position, length);
    if (position + length > this.#attachments.length) {
      throw new ProtocolError("The peer sent a value whose bytes are missing");
    }
    return this.#attachments.slice(position, position + length);
  }

  refuse(reason: Error): unknown {
    this.#waiting.push(Promise.reject(reason));
    return undefined;
  }

  resolve(tag: unknown[], decode: (value: unknown) => unknown): unknown {
    const border = this.#border;
    switch (tag[0]) {
      case "r": {
        const id = integer(tag[1]);
        if (id < 0) return unwrap(border.exports.get(-id).value);
        if (id === 0) throw malformed("reference");
        break;
      }
      case "p": {
        const path = tag[2];
        if (!isPath(path)) throw malformed("path");
        return this.#pending(integer(tag[1]), path);
      }
      case "P":
      case "S":
      case "R":
      case "W":
      case "I":
        break;
      case "=": {
        const place = count(tag[1]);
        if (place >= this.live.length) {
          throw malformed("repeated value");
        }
        return this.live[place];
      }
      case "k":
        return decode(tag[1]);
      default: {
        const kind = printable(string(tag[0]).slice(0, LABEL));
        throw new ProtocolError(`The peer sent an unknown kind of value: ${kind}`);
      }
    }
    if (!border.reaching) {
      throw new ProtocolError("The peer sent what needs the rest, and not that");
    }
    return border.reaching.resolve(this, tag, decode);
  }

  #pending(target: number, path: Path): unknown {
    let value: unknown;
    try {
      value = this.#border.lookUp(target, path);
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      // There is no such property, or it is not the peer's to read: the call fails, and nothing else.
      this.#waiting.push(Promise.reject(error));
      return undefined;
    }
    return isThenable(value) ? this.later(value) : value;
  }

  /** A place that is filled when a promise settles. */
  later(value: PromiseLike<unknown>): Pending {
    const pending = new Pending();
    this.#waiting.push(Promise.resolve(value).then((settled) => pending.fill(settled)));
    return pending;
  }
}

/** Is this a path: an array of names? */
export function isPath(value: unknown): value is Path {
  return Array.isArray(value) && value.every((key) => typeof key === "string");
}

function unwrap(value: unknown): unknown {
  return value instanceof ByRef ? value.value : value;
}

const { isPrototypeOf } = Object.prototype;
const ITERATOR = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
const ASYNC_ITERATOR = Object.getPrototypeOf(
  Object.getPrototypeOf(Object.getPrototypeOf((async function* () {})())),
);

/** Is this a generator, or another iterator of the language's own? Such cross as live iterators. */
function isIterator(value: object): boolean {
  return isPrototypeOf.call(ITERATOR, value) || isPrototypeOf.call(ASYNC_ITERATOR, value);
}
