/**
 * How what is not plain data crosses: references, promises, streams, iterators, signals.
 *
 * ```text
 * ["r", id, kind, label]      an object of the sender's; kind 0 object, 1 function, 2 class, 3 symbol
 * ["r", -id]                  the receiver's own object comes home
 * ["p", target, path]         the value at a path, from a target as in a call: the receiver has it, or will
 * ["P", id]                   a promise of the sender's
 * ["S", id, aborted, reason]  an AbortSignal of the sender's
 * ["R", channel, bytes]       a ReadableStream; bytes is 1 for a byte stream
 * ["W", channel]              a WritableStream
 * ["I", channel, started]     an iterator
 * ["k", {...}]                keyword arguments, for a Python peer
 * ```
 *
 * @module
 */

import { ByRef, isThenable, Iteration } from "./access.ts";
import type { Answer } from "./calls.ts";
import { type Inflow, ITERATOR_CREDIT, type Outflow, STREAM_CREDIT } from "./channels.ts";
import { ProtocolError, UncrossableError } from "./errors.ts";
import { chunkFrames } from "./frame.ts";
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
import { printable } from "./text.ts";
import {
  className,
  count,
  type Exporter,
  type Importer,
  integer,
  Pending,
  string,
} from "./values.ts";

/** Keyword arguments of a Python call; see `kwargs()`. */
export class Kwargs {
  readonly values: Record<string, unknown>;

  constructor(values: Record<string, unknown>) {
    this.values = values;
  }
}

/** What crossing needs of a session. */
export interface Border {
  readonly caller: Caller;
  readonly exports: Exports;
  readonly imports: Imports;
  readonly root: unknown;
  readonly valueBytes: number;
  readonly streamWindow: number;
  /** The number of a new channel of this side. */
  newChannel(): number;
  /** Attaches bytes to the frame that is being made. `undefined`: they would make it too long. */
  attach(bytes: Uint8Array): number | undefined;
  /** Queues the frames of a blob. */
  sendBlob(frames: Uint8Array[]): void;
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
const LABEL = 160;

/** What one outgoing message takes with it. If it cannot be sent, nothing of it has happened. */
export class Outgoing implements Exporter {
  /** `[channel, length, …]` of what follows in pieces. */
  readonly blobs: number[] = [];
  readonly #border: Border;
  readonly #inlineOnly: boolean;
  readonly #introduced: Export[] = [];
  readonly #onSent: (() => void)[] = [];
  /** Each can be opened once. */
  readonly #streams = new Set<object>();

  /** With `inlineOnly`, all bytes travel with the message. */
  constructor(border: Border, inlineOnly = false) {
    this.#border = border;
    this.#inlineOnly = inlineOnly;
  }

  /** The message has been queued: streams start, blobs follow. */
  sent(): void {
    for (const then of this.#onSent) then();
  }

  /** The message is not going to be sent. */
  withdraw(): void {
    for (const entry of this.#introduced) this.#border.exports.withdraw(entry);
  }

  attach(bytes: Uint8Array): number {
    const { valueBytes } = this.#border;
    if (bytes.length > valueBytes) {
      throw new UncrossableError(
        "a value",
        `it has ${bytes.length} bytes; limits.valueBytes is ${valueBytes}`,
      );
    }
    if (bytes.length <= INLINE_BYTES || this.#inlineOnly) {
      const offset = this.#border.attach(bytes);
      if (offset !== undefined) return offset;
      if (this.#inlineOnly) throw new UncrossableError("a value", "it is too long for a reason");
    }
    const channel = this.#border.newChannel();
    const frames = chunkFrames(channel, bytes);
    this.blobs.push(channel, bytes.length);
    this.#onSent.push(() => this.#border.sendBlob(frames));
    return -channel;
  }

  refer(value: unknown, path: string, encode: (value: unknown, path: string) => string): string {
    const info = stubInfo(value);
    if (info) {
      if (info.caller.session === this.#border.caller.session) return this.#stub(info, path);
      // A reference of another connection is an object of this side to this peer.
      return info.kind === "promise"
        ? this.#promise(Promise.resolve(value))
        : this.#reference(value);
    }
    if (typeof value !== "object" || value === null) return this.#reference(value);
    const home = signalsHome.get(value);
    if (home && this.#border.imports.has(home)) return `["r",${-home.id}]`;
    if (this.#streams.has(value)) {
      throw new UncrossableError(path, "the same stream or iterator is in this message already");
    }
    return this.#liveObject(value, path, encode) ?? this.#reference(value);
  }

  #stub(info: NonNullable<ReturnType<typeof stubInfo>>, path: string): string {
    const { base } = info;
    if (base === null) return `["p",0,${JSON.stringify(info.path)}]`;
    if ("question" in base) {
      const { question } = base;
      if (question.state === "fulfilled" || question.id === 0) {
        const value = info.path.length === 0 ? question.value : undefined;
        const settled = stubInfo(value);
        if (settled?.kind === "reference" && settled.base !== null && "stub" in settled.base) {
          return `["r",${-settled.base.id}]`;
        }
        return this.#promise(
          Promise.resolve(info.caller.pull(question)).then((v) =>
            info.path.length === 0 ? v : readPath(v, info.path)
          ),
        );
      }
      if (question.state === "rejected") return this.#promise(question.promise);
      question.handedOn = true;
      return `["p",${question.id},${JSON.stringify(info.path)}]`;
    }
    if (base.count <= 0) {
      throw new UncrossableError(path, `${info.label} was released`);
    }
    return info.kind === "reference"
      ? `["r",${-base.id}]`
      : `["p",${-base.id},${JSON.stringify(info.path)}]`;
  }

  #introduce(value: unknown): Export {
    const entry = this.#border.exports.introduce(value);
    this.#introduced.push(entry);
    return entry;
  }

  #reference(value: unknown): string {
    const entry = this.#introduce(value);
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

  #promise(promise: Promise<unknown>): string {
    promise.catch(() => {
      // The peer is told of the error: it is not unhandled here.
    });
    return `["P",${this.#introduce(promise).id}]`;
  }

  #liveObject(
    value: object,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string | undefined {
    const border = this.#border;
    if (value instanceof Promise) return this.#promise(value);
    if (value instanceof Kwargs) return `["k",${encode(value.values, path)}]`;
    if (value instanceof ReadableStream) {
      if (value.locked) throw new UncrossableError(path, "the stream is locked to a reader");
      this.#streams.add(value);
      const channel = border.newChannel();
      this.#onSent.push(() => void pumpReadable(value, border.openOutflow(channel, STREAM_CREDIT)));
      return `["R",${channel},${givesBytes(value) ? 1 : 0}]`;
    }
    if (value instanceof WritableStream) {
      if (value.locked) throw new UncrossableError(path, "the stream is locked to a writer");
      this.#streams.add(value);
      const channel = border.newChannel();
      this.#onSent.push(() =>
        void pumpWritable(
          value,
          border.openInflow(channel, STREAM_CREDIT, border.streamWindow, true),
        )
      );
      return `["W",${channel}]`;
    }
    if (value instanceof AbortSignal) return this.#signal(value, path, encode);
    if (value instanceof Iteration || isIterator(value)) {
      const started = value instanceof Iteration;
      const iterator = started ? value.iterator : value as Iterator<unknown>;
      this.#streams.add(value);
      const channel = border.newChannel();
      this.#onSent.push(() =>
        void pumpIterator(iterator, border.openOutflow(channel, started ? ITERATOR_CREDIT : 0))
      );
      return `["I",${channel},${started ? 1 : 0}]`;
    }
    return undefined;
  }

  #signal(
    signal: AbortSignal,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string {
    const entry = this.#introduce(signal);
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
  /** Places in the value that are filled when their promise resolves. */
  readonly waiting: PromiseLike<unknown>[] = [];

  /** `answer` is the call whose arguments these are. */
  constructor(border: Border, attachments: Uint8Array, answer?: Answer) {
    this.#border = border;
    this.#attachments = attachments;
    this.#answer = answer;
  }

  bytes(position: number, length: number): Uint8Array {
    if (position < 0) return this.#border.takeBlob(-position, length);
    if (position + length > this.#attachments.length) {
      throw new ProtocolError("The peer sent a value whose bytes are missing");
    }
    return this.#attachments.slice(position, position + length);
  }

  resolve(tag: unknown[], decode: (value: unknown) => unknown): unknown {
    const border = this.#border;
    switch (tag[0]) {
      case "r": {
        const id = integer(tag[1]);
        if (id < 0) return unwrap(border.exports.get(-id).value);
        return border.imports.introduce(id, (entry) => border.caller.reference(entry, label(tag)));
      }
      case "p": {
        const path = tag[2];
        if (!isPath(path)) throw new ProtocolError("The peer sent a malformed path");
        return this.#pending(border.lookUp(integer(tag[1]), path));
      }
      case "P":
        return this.#promise(count(tag[1]));
      case "S":
        return this.#signal(count(tag[1]), tag, decode);
      case "R":
        return readableOf(
          border.openInflow(-count(tag[1]), STREAM_CREDIT, border.streamWindow, true),
          tag[2] === 1,
        );
      case "W":
        return writableOf(border.openOutflow(-count(tag[1]), STREAM_CREDIT));
      case "I": {
        const most = Math.min(1 << 20, border.streamWindow);
        return new RemoteIterator(
          border.openInflow(-count(tag[1]), ITERATOR_CREDIT, most, tag[2] === 1),
        );
      }
      case "k":
        return decode(tag[1]);
    }
    throw new ProtocolError(`The peer sent an unknown kind of value: ${printable(string(tag[0]))}`);
  }

  #pending(value: unknown): unknown {
    if (!isThenable(value)) return value;
    const pending = new Pending();
    this.waiting.push(Promise.resolve(value).then((settled) => pending.fill(settled)));
    return pending;
  }

  #promise(id: number): Promise<unknown> {
    const { imports, caller } = this.#border;
    const holder = imports.introduce(id, (entry) => caller.reference(entry, "[remote promise]"));
    const base = stubInfo(holder)!.base;
    const result = caller.call(base, [], How.get, [], true);
    const promise = caller.pull(result.question).finally(() => caller.release(base));
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
    }) as AbortSignal;
    if (tag[2] === 1) controllers.get(signal)?.abort(decode(tag[3]));
    // A signal lives as long as the call that brought it, and longer if somebody keeps it.
    if (this.#answer) (this.#answer.pins ??= []).push(signal);
    return signal;
  }
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
  const name = printable(typeof tag[3] === "string" ? tag[3] : "").slice(0, LABEL);
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
