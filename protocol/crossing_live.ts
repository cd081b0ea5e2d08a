/**
 * How what is live, and what is the peer's, crosses: the half of crossing that only a session needs that reaches its peer.
 *
 * @module
 */

import { Iteration } from "./access.ts";
import { type Inflow, ITERATOR_CREDIT, type Outflow, STREAM_CREDIT } from "./channels.ts";
import { integer, malformed } from "./checks.ts";
import { type Incoming, LABEL, liveTag, type Outgoing } from "./crossing.ts";
import { ProtocolError, UncrossableError } from "./errors.ts";
import type { Import, Imports } from "./imports.ts";
import type { Limits } from "./limits.ts";
import {
  givesBytes,
  pumpIterator,
  pumpReadable,
  pumpWritable,
  readableOf,
  RemoteIterator,
  writableOf,
} from "./live.ts";
import { How, type Path } from "./messages.ts";
import { type Caller, stubInfo } from "./proxy.ts";
import { quote } from "./short_json.ts";
import { printable } from "./text.ts";

/** Keyword arguments of a Python call; see `kwargs()`. */
export class Kwargs {
  /** The arguments, by name. */
  readonly values: Record<string, unknown>;

  /** Takes the arguments, by name. */
  constructor(values: Record<string, unknown>) {
    this.values = values;
  }
}

/** What live things need of a session. */
export interface LiveBorder {
  readonly caller: Caller;
  readonly imports: Imports;
  readonly limits: Limits;
  /** How many promises of the peer's are being waited for. */
  awaited: number;
  /** The number of a new channel of this side. */
  newChannel(): number;
  /** Opens the sending end of a channel; a negative number is one that the peer opened. */
  openOutflow(channel: number, credit: number): Outflow;
  /** Opens the reading end of a channel. */
  openInflow(channel: number, window: number, most: number, started: boolean): Inflow;
  /** Tells the peer that a signal was aborted. */
  sendAbort(id: number, reason: unknown): void;
}

type Encode = (value: unknown, path: string) => string;

/** The text of what is no plain data. */
export function refer(
  border: LiveBorder,
  outgoing: Outgoing,
  value: unknown,
  path: string,
  encode: Encode,
): string {
  const info = stubInfo(value);
  if (info) {
    if (info.caller.session === border.caller.session) {
      return stubText(outgoing, info, path, encode);
    }
    // A reference of another connection is an object of this side to this peer.
    return info.kind === "promise"
      ? promiseText(outgoing, Promise.resolve(value), path, true)
      : outgoing.reference(value, path);
  }
  if (typeof value !== "object" || value === null) return outgoing.reference(value, path);
  const home = signalsHome.get(value);
  if (home && border.imports.has(home)) return `["r",${-home.id}]`;
  const before = outgoing.live.get(value);
  if (before !== undefined) return `["=",${before}]`;
  return liveText(border, outgoing, value, path, encode) ?? outgoing.reference(value, path);
}

function stubText(
  outgoing: Outgoing,
  info: NonNullable<ReturnType<typeof stubInfo>>,
  path: string,
  encode: Encode,
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
      ? promiseText(outgoing, question.promise.then((value) => readPath(value, keys)), path, true)
      : pathTag(question.id, keys, path);
  }
  if (base.count <= 0) throw new UncrossableError(path, `${info.label} was released`);
  return info.kind === "reference" ? `["r",${-base.id}]` : pathTag(-base.id, keys, path);
}

function promiseText(
  outgoing: Outgoing,
  promise: Promise<unknown>,
  path: string,
  awaited: boolean,
): string {
  promise.catch(() => {
    // The peer is told of the error: it is not unhandled here.
  });
  outgoing.live.set(promise, outgoing.live.size);
  return `["P",${outgoing.introduce(promise, path).id}${awaited ? ",1" : ""}]`;
}

function liveText(
  border: LiveBorder,
  outgoing: Outgoing,
  value: object,
  path: string,
  encode: Encode,
): string | undefined {
  switch (liveTag(value)) {
    case "P":
      return promiseText(outgoing, value as Promise<unknown>, path, false);
    case "R": {
      const stream = value as ReadableStream;
      if (stream.locked) throw new UncrossableError(path, "the stream is locked to a reader");
      const channel = channelOf(border, outgoing, stream);
      const bytes = givesBytes(stream);
      outgoing.starts.push(() =>
        void pumpReadable(stream, bytes, border.openOutflow(channel, STREAM_CREDIT))
      );
      return `["R",${channel},${bytes ? 1 : 0}]`;
    }
    case "W": {
      const stream = value as WritableStream;
      if (stream.locked) throw new UncrossableError(path, "the stream is locked to a writer");
      const channel = channelOf(border, outgoing, stream);
      const { streamWindow } = border.limits;
      outgoing.starts.push(() =>
        void pumpWritable(stream, border.openInflow(channel, STREAM_CREDIT, streamWindow, true))
      );
      return `["W",${channel}]`;
    }
    case "S":
      return signalText(border, outgoing, value as AbortSignal, path, encode);
    case "I": {
      const started = value instanceof Iteration;
      const iterator = started ? value.iterator : value as Iterator<unknown>;
      const channel = channelOf(border, outgoing, value);
      outgoing.starts.push(() =>
        void pumpIterator(iterator, border.openOutflow(channel, started ? ITERATOR_CREDIT : 0))
      );
      return `["I",${channel},${started ? 1 : 0}]`;
    }
  }
  return value instanceof Kwargs ? `["k",${encode(value.values, path)}]` : undefined;
}

function channelOf(border: LiveBorder, outgoing: Outgoing, value: object): number {
  outgoing.live.set(value, outgoing.live.size);
  return border.newChannel();
}

function signalText(
  border: LiveBorder,
  outgoing: Outgoing,
  signal: AbortSignal,
  path: string,
  encode: Encode,
): string {
  const entry = outgoing.introduce(signal, path);
  outgoing.live.set(signal, outgoing.live.size);
  if (signal.aborted) return `["S",${entry.id},1,${encode(signal.reason, `${path}.reason`)}]`;
  if (entry.onRelease === undefined) {
    const listener = () => border.sendAbort(entry.id, signal.reason);
    signal.addEventListener("abort", listener, { once: true });
    entry.onRelease = () => signal.removeEventListener("abort", listener);
  }
  return `["S",${entry.id},0]`;
}

/** Signals that came from a peer, and what they are to it. */
const signalsHome = new WeakMap<object, Import>();
/** A signal keeps its controller alive, and nothing else does. */
const controllers = new WeakMap<object, AbortController>();

/** Aborts a signal that came from the peer, if it is still there. */
export function abortImported(signal: object | undefined, reason: unknown): void {
  if (signal) controllers.get(signal)?.abort(reason);
}

/** What a tag stands for that is the peer's, or live. */
export function resolve(
  border: LiveBorder,
  incoming: Incoming,
  tag: unknown[],
  decode: (value: unknown) => unknown,
): unknown {
  const id = integer(tag[1]);
  if (id <= 0) throw malformed("reference");
  if (tag[0] === "r") {
    const { caller, imports } = border;
    const stub = imports.introduce(id, (entry) => caller.reference(entry, label(tag)));
    if (!stubInfo(stub)) throw wrongKind(id);
    return stub;
  }
  const place = incoming.live.push(undefined) - 1;
  return incoming.live[place] = liveObject(border, incoming, id, tag, decode);
}

function liveObject(
  border: LiveBorder,
  incoming: Incoming,
  id: number,
  tag: unknown[],
  decode: (value: unknown) => unknown,
): unknown {
  const { streamWindow } = border.limits;
  switch (tag[0]) {
    case "P": {
      const promise = promiseOf(border, id);
      return tag[2] === 1 ? incoming.later(promise) : promise;
    }
    case "S":
      return signalOf(border, incoming, id, tag, decode);
    case "R":
      return readableOf(border.openInflow(-id, STREAM_CREDIT, streamWindow, true), tag[2] === 1);
    case "W":
      return writableOf(border.openOutflow(-id, STREAM_CREDIT));
    default:
      return new RemoteIterator(
        border.openInflow(-id, ITERATOR_CREDIT, Math.min(1 << 20, streamWindow), tag[2] === 1),
      );
  }
}

function promiseOf(border: LiveBorder, id: number): Promise<unknown> {
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

function signalOf(
  border: LiveBorder,
  incoming: Incoming,
  id: number,
  tag: unknown[],
  decode: (value: unknown) => unknown,
): AbortSignal {
  const signal = border.imports.introduce(id, (entry) => {
    const controller = new AbortController();
    controllers.set(controller.signal, controller);
    signalsHome.set(controller.signal, entry);
    return controller.signal;
  });
  if (!(signal instanceof AbortSignal)) throw wrongKind(id);
  if (tag[2] === 1) controllers.get(signal)?.abort(decode(tag[3]));
  // A signal lives as long as the call that brought it, and longer if somebody keeps it.
  if (incoming.answer) (incoming.answer.pins ??= []).push(signal);
  return signal;
}

function wrongKind(id: number): ProtocolError {
  return new ProtocolError(`The peer sent reference ${id} as something else than it was before`);
}

/** A path of this length, as text, is nobody's. */
const PATH_TEXT = 64 << 10;

/** The text of a path; refuses one that would not fit into a frame. */
export function pathText(path: Path, where: string): string {
  let text = "[";
  for (let i = 0; i < path.length; i++) text += (i === 0 ? "" : ",") + quote(path[i]!);
  text += "]";
  if (text.length > PATH_TEXT) {
    throw new UncrossableError(
      where,
      `the names of its properties take ${text.length} characters; a path has at most ${PATH_TEXT}`,
    );
  }
  return text;
}

function pathTag(target: number, keys: Path, where: string): string {
  return `["p",${target},${pathText(keys, where)}]`;
}

/** What a local value has at a path. */
export function readPath(value: unknown, path: Path): unknown {
  let current = value;
  for (const key of path) current = (current as Record<string, unknown>)[key];
  return current;
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
