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
import type { Answer } from "./calls.ts";
import { type Inflow, ITERATOR_CREDIT, type Outflow, STREAM_CREDIT } from "./channels.ts";
import { count, integer, string } from "./checks.ts";
import { ProtocolError, UncrossableError } from "./errors.ts";
import type { AttachedMark } from "./frame.ts";
import type { Limits } from "./limits.ts";
import {
  givesBytes,
  isIterator,
  pumpIterator,
  pumpReadable,
  pumpWritable,
  readableOf,
  RemoteIterator,
  writableOf,
} from "./live.ts";
import { How, type Path } from "./messages.ts";
import { type Caller, stubInfo } from "./proxy.ts";
import type { Export, Exports, Import, Imports } from "./references.ts";
import { className, printable } from "./text.ts";
import { decode, type Exporter, type Importer, Pending } from "./values.ts";

/** Keyword arguments of a Python call; see `kwargs()`. */
export class Kwargs {
  /** The arguments, by name. */
  readonly values: Record<string, unknown>;

  /** Takes the arguments, by name. */
  constructor(values: Record<string, unknown>) {
    this.values = values;
  }
}

/** What crossing needs of a session. */
export interface Border {
  readonly caller: Caller;
  readonly exports: Exports;
  readonly imports: Imports;
  readonly limits: Limits;
  /** How many promises of the peer's are being waited for. */
  awaited: number;
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
  /** Opens the sending end of a channel; a negative number is one that the peer opened. */
  openOutflow(channel: number, credit: number): Outflow;
  /** Opens the reading end of a channel. */
  openInflow(channel: number, window: number, most: number, started: boolean): Inflow;
  /** Tells the peer that a signal was aborted. */
  sendAbort(id: number, reason: unknown): void;
  /** The value at a path from a target, as the peer names it; a promise if it is not there yet. */
  lookUp(target: number, path: Path): unknown;
  /** The bytes of a blob that has arrived. */
  takeBlob(channel: number, length: number): Uint8Array;
}

/** Bytes up to this size travel in the frame of their message. */
const INLINE_BYTES = 16 << 10;
/**
 * Bytes up to this size are copied when they are passed. More are not: a copy of a gigabyte costs more than to send it,
 * so whoever passes that leaves it alone until the call is answered.
 */
const SNAPSHOT_BYTES = 1 << 20;
const LABEL = 160;

/** What one outgoing message takes with it. If it cannot be sent, nothing of it has happened. */
export class Outgoing implements Exporter {
  /** `[channel, length, …]` of what follows in pieces. */
  readonly blobs: number[] = [];
  readonly #border: Border;
  readonly #inlineOnly: boolean;
  readonly #introduced: Export[] = [];
  readonly #bulk: [channel: number, bytes: Uint8Array][] = [];
  readonly #starts: (() => void)[] = [];
  readonly #live = new Map<object, number>();
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
      for (const start of this.#starts) start();
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
    const channel = this.#border.newChannel();
    // Up to a size, as it is now; a larger one is read while it is sent.
    const kept = bytes.length <= SNAPSHOT_BYTES ? bytes.slice() : bytes;
    this.blobs.push(channel, bytes.length);
    this.#bulk.push([channel, kept]);
    return -channel;
  }

  refer(value: unknown, path: string, encode: (value: unknown, path: string) => string): string {
    const info = stubInfo(value);
    if (info) {
      if (info.caller.session === this.#border.caller.session) {
        return this.#stub(info, path, encode);
      }
      // A reference of another connection is an object of this side to this peer.
      return info.kind === "promise"
        ? this.#promise(Promise.resolve(value), path, true)
        : this.#reference(value, path);
    }
    if (typeof value !== "object" || value === null) return this.#reference(value, path);
    const home = signalsHome.get(value);
    if (home && this.#border.imports.has(home)) return `["r",${-home.id}]`;
    const before = this.#live.get(value);
    if (before !== undefined) return `["=",${before}]`;
    return this.#liveObject(value, path, encode) ?? this.#reference(value, path);
  }

  #stub(
    info: NonNullable<ReturnType<typeof stubInfo>>,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string {
    const { base, path: keys } = info;
    if (base === null) return pathTag(0, keys, path);
    if ("question" in base) {
      const { question } = base;
      switch (question.state) {
        case "rejected":
          throw question.value;
        case "fulfilled":
          // What has arrived goes as what it is.
          return encode(readPath(question.value, keys), path);
      }
      if (question.dropped) throw new UncrossableError(path, "the call's result was released");
      question.handedOn = true;
      return question.id === 0
        ? this.#promise(question.promise.then((value) => readPath(value, keys)), path, true)
        : pathTag(question.id, keys, path);
    }
    if (base.count <= 0) throw new UncrossableError(path, `${info.label} was released`);
    return info.kind === "reference" ? `["r",${-base.id}]` : pathTag(-base.id, keys, path);
  }

  #introduce(value: unknown, path: string): Export {
    const { references } = this.#border.limits;
    if (this.#border.exports.size >= references) {
      throw new UncrossableError(
        path,
        `the peer holds ${references} references already (limits.references)`,
      );
    }
    const entry = this.#border.exports.introduce(value);
    this.#introduced.push(entry);
    return entry;
  }

  #reference(value: unknown, path: string): string {
    const entry = this.#introduce(value, path);
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

  #promise(promise: Promise<unknown>, path: string, awaited: boolean): string {
    promise.catch(() => {
      // The peer is told of the error: it is not unhandled here.
    });
    this.#live.set(promise, this.#live.size);
    return `["P",${this.#introduce(promise, path).id}${awaited ? ",1" : ""}]`;
  }

  #liveObject(
    value: object,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string | undefined {
    const border = this.#border;
    if (value instanceof Promise) return this.#promise(value, path, false);
    if (value instanceof Kwargs) return `["k",${encode(value.values, path)}]`;
    if (value instanceof ReadableStream) {
      if (value.locked) throw new UncrossableError(path, "the stream is locked to a reader");
      const channel = this.#channel(value);
      const bytes = givesBytes(value);
      this.#starts.push(() =>
        void pumpReadable(value, bytes, border.openOutflow(channel, STREAM_CREDIT))
      );
      return `["R",${channel},${bytes ? 1 : 0}]`;
    }
    if (value instanceof WritableStream) {
      if (value.locked) throw new UncrossableError(path, "the stream is locked to a writer");
      const channel = this.#channel(value);
      this.#starts.push(() =>
        void pumpWritable(
          value,
          border.openInflow(channel, STREAM_CREDIT, border.limits.streamWindow, true),
        )
      );
      return `["W",${channel}]`;
    }
    if (value instanceof AbortSignal) return this.#signal(value, path, encode);
    if (value instanceof Iteration || isIterator(value)) {
      const started = value instanceof Iteration;
      const iterator = started ? value.iterator : value as Iterator<unknown>;
      const channel = this.#channel(value);
      this.#starts.push(() =>
        void pumpIterator(iterator, border.openOutflow(channel, started ? ITERATOR_CREDIT : 0))
      );
      return `["I",${channel},${started ? 1 : 0}]`;
    }
    return undefined;
  }

  #channel(value: object): number {
    this.#live.set(value, this.#live.size);
    return this.#border.newChannel();
  }

  #signal(
    signal: AbortSignal,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string {
    const entry = this.#introduce(signal, path);
    this.#live.set(signal, this.#live.size);
    if (signal.aborted) return `["S",${entry.id},1,${encode(signal.reason, `${path}.reason`)}]`;
    if (entry.onRelease === undefined) {
      const listener = () => this.#border.sendAbort(entry.id, signal.reason);
      signal.addEventListener("abort", listener, { once: true });
      entry.onRelease = () => signal.removeEventListener("abort", listener);
    }
    return `["S",${entry.id},0]`;
  }
}

/** Signals that came from a peer, and what they are to it. */
const signalsHome = new WeakMap<object, Import>();
/** A signal keeps its controller alive, and nothing else does. */
const controllers = new WeakMap<object, AbortController>();

/** Aborts a signal that came from the peer, if it is still there. */
export function abortImported(signal: object | undefined, reason: unknown): void {
  if (signal) controllers.get(signal)?.abort(reason);
}

/** Takes in what one incoming message brings. */
export class Incoming implements Importer {
  readonly #border: Border;
  readonly #attachments: Uint8Array;
  readonly #answer: Answer | undefined;
  readonly #live: unknown[] = [];
  readonly #waiting: PromiseLike<unknown>[] = [];

  /** `answer` is the call whose arguments these are. */
  constructor(border: Border, attachments: Uint8Array, answer?: Answer) {
    this.#border = border;
    this.#attachments = attachments;
    this.#answer = answer;
  }

  /** Decodes a tagged value and hands it over: at once, or when its last part is there. */
  take(
    value: unknown,
    thrown: boolean,
    then: (value: unknown) => void,
    failed: (error: unknown) => void,
  ): void {
    let decoded = decode(value, 1, this, this.#border.limits.depth, thrown);
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
        if (id === 0) throw new ProtocolError("The peer sent a malformed reference");
        const stub = border.imports.introduce(
          id,
          (entry) => border.caller.reference(entry, label(tag)),
        );
        if (!stubInfo(stub)) throw wrongKind(id);
        return stub;
      }
      case "p": {
        const path = tag[2];
        if (!isPath(path)) throw new ProtocolError("The peer sent a malformed path");
        return this.#pending(integer(tag[1]), path);
      }
      case "P":
      case "S":
      case "R":
      case "W":
      case "I": {
        const place = this.#live.push(undefined) - 1;
        return this.#live[place] = this.#liveObject(tag, decode);
      }
      case "=": {
        const place = count(tag[1]);
        if (place >= this.#live.length) {
          throw new ProtocolError("The peer sent a malformed repeated value");
        }
        return this.#live[place];
      }
      case "k":
        return decode(tag[1]);
    }
    const kind = printable(string(tag[0]).slice(0, LABEL));
    throw new ProtocolError(`The peer sent an unknown kind of value: ${kind}`);
  }

  #liveObject(tag: unknown[], decode: (value: unknown) => unknown): unknown {
    const border = this.#border;
    const id = count(tag[1]);
    if (id === 0) throw new ProtocolError("The peer sent a malformed reference");
    const { streamWindow } = border.limits;
    switch (tag[0]) {
      case "P": {
        const promise = this.#promise(id);
        return tag[2] === 1 ? this.#later(promise) : promise;
      }
      case "S":
        return this.#signal(id, tag, decode);
      case "R":
        return readableOf(
          border.openInflow(-id, STREAM_CREDIT, streamWindow, true),
          tag[2] === 1,
        );
      case "W":
        return writableOf(border.openOutflow(-id, STREAM_CREDIT));
      default:
        return new RemoteIterator(
          border.openInflow(-id, ITERATOR_CREDIT, Math.min(1 << 20, streamWindow), tag[2] === 1),
        );
    }
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
    return isThenable(value) ? this.#later(value) : value;
  }

  #later(value: PromiseLike<unknown>): Pending {
    const pending = new Pending();
    this.#waiting.push(Promise.resolve(value).then((settled) => pending.fill(settled)));
    return pending;
  }

  #promise(id: number): Promise<unknown> {
    const border = this.#border;
    const { imports, caller, limits } = border;
    const holder = imports.introduce(id, (entry) => caller.reference(entry, "[remote promise]"));
    const base = stubInfo(holder)?.base;
    if (!base) throw wrongKind(id);
    if (++border.awaited > limits.pendingCalls) {
      throw new ProtocolError(
        `The peer sent more than ${limits.pendingCalls} promises (limits.pendingCalls)`,
      );
    }
    const result = caller.call(base, [], How.get, [], true);
    const promise = caller.pull(result.question).finally(() => {
      border.awaited--;
      // By way of the holder, which must not be collected before: that would put this off to the next tick.
      caller.release(stubInfo(holder)!.base);
    });
    promise.catch(() => {
      // Whoever awaits the value sees the error; a value that nobody looks at has none to report.
    });
    return promise;
  }

  #signal(id: number, tag: unknown[], decode: (value: unknown) => unknown): AbortSignal {
    const signal = this.#border.imports.introduce(id, (entry) => {
      const controller = new AbortController();
      controllers.set(controller.signal, controller);
      signalsHome.set(controller.signal, entry);
      return controller.signal;
    });
    if (!(signal instanceof AbortSignal)) throw wrongKind(id);
    if (tag[2] === 1) controllers.get(signal)?.abort(decode(tag[3]));
    // A signal lives as long as the call that brought it, and longer if somebody keeps it.
    if (this.#answer) (this.#answer.pins ??= []).push(signal);
    return signal;
  }
}

function wrongKind(id: number): ProtocolError {
  return new ProtocolError(`The peer sent reference ${id} as something else than it was before`);
}

/** A path of this length, as text, is nobody's. */
const PATH_TEXT = 64 << 10;

/** The text of a path; refuses one that would not fit into a frame. */
export function pathText(path: Path, where: string): string {
  const text = JSON.stringify(path);
  if (text.length > PATH_TEXT) {
    throw new UncrossableError(where, `the names of its properties have ${text.length} characters`);
  }
  return text;
}

function pathTag(target: number, keys: Path, where: string): string {
  return `["p",${target},${pathText(keys, where)}]`;
}

/** Is this a path: an array of names? */
export function isPath(value: unknown): value is Path {
  return Array.isArray(value) && value.every((key) => typeof key === "string");
}

/** What a local value has at a path. */
export function readPath(value: unknown, path: Path): unknown {
  let current = value;
  for (const key of path) current = (current as Record<string, unknown>)[key];
  return current;
}

function unwrap(value: unknown): unknown {
  return value instanceof ByRef ? value.value : value;
}

function label(tag: unknown[]): string {
  // Cut first: it may be long. It is shown in one line, among others.
  const text = typeof tag[3] === "string" ? tag[3].slice(0, 2 * LABEL) : "";
  const name = printable(text).replaceAll(/\s+/g, " ").slice(0, LABEL);
  switch (tag[2]) {
    case 1:
      return name ? `[remote function ${name}]` : "[remote function]";
    case 2:
      return `[remote class ${name}]`;
    case 3:
      return `[remote ${name}]`;
    case 4:
      return `[remote ${name}]`;
    default:
      return `[remote object ${name || "without a class"}]`;
  }
}
