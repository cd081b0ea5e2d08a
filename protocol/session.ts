/**
 * The protocol peer: bytes in, bytes out, closed with a reason.
 *
 * A session does no I/O and starts no timer. Whoever owns it hands it what arrives ({@linkcode Session.receive}),
 * takes what is to be sent (`send`), and calls {@linkcode Session.tick} now and then. Both sides run the same
 * code; they differ in the object that they offer as a root, and in what they let the other do.
 *
 * @module
 */

import { type Access, isThenable, type RefOptions } from "./access.ts";
import { Answer, Question, Result } from "./calls.ts";
import { Blobs, type ChannelPort, Inflow, Outflow } from "./channels.ts";
import { abortImported, type Border, Incoming, isPath, Outgoing, readPath } from "./crossing.ts";
import {
  addLocalStack,
  ConnectionClosedError,
  ConnectionLostError,
  ProtocolError,
  RemoteError,
  UncrossableError,
} from "./errors.ts";
import { chunkFrames, FrameReader, type FrameSink, HEAD } from "./frame.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { How, type Message, Op, type Path } from "./messages.ts";
import { Outbox, type Send } from "./outbox.ts";
import { type Base, type Caller, referenceStub, stubInfo } from "./proxy.ts";
import { Exports, type Import, Imports } from "./references.ts";
import { printable, shorten } from "./text.ts";
import { count, decode, describe, encode, type Encoded, integer, parse } from "./values.ts";

/** Which call the running code belongs to; an interpreter's own way to know. */
export interface CallContext {
  /** Runs `work` on behalf of a call of the peer's. */
  run<T>(answer: Answer, work: () => T): T;
  /** The call that the running code descends from. */
  current(): Answer | undefined;
}

/** What a session is made of. */
export interface SessionOptions {
  /** Takes bytes to the peer. If it gives a promise, no more are sent until it resolves. */
  send: Send;
  /** What the peer may do with the objects of this side. */
  access: Access;
  /** What the peer finds at target 0. */
  root?: unknown;
  /** Limits that differ from the defaults. */
  limits?: Partial<Limits>;
  /** Knows which call the running code descends from. */
  context?: CallContext;
  /** The peer's program printed something; the bytes are valid during the call. */
  onOutput?: (descriptor: number, bytes: Uint8Array) => void;
  /** The peer's first message. */
  onHello?: (settings: Record<string, unknown>) => void;
  /** There is something to wait for now, or nothing any more. */
  onBusy?: (busy: boolean) => void;
  /** The session is over. Called once. */
  onClose?: (reason: Error) => void;
  /** Are collected references given back? Default: always. */
  gcEnabled?: () => boolean;
}

/** Live numbers of a session. */
export interface SessionStats {
  /** Bytes sent to the peer. */
  readonly bytesSent: number;
  /** Bytes that came from the peer. */
  readonly bytesReceived: number;
  /** Frames sent. */
  readonly framesSent: number;
  /** Frames that came. */
  readonly framesReceived: number;
  /** Answers that this side asked for and waited on. */
  readonly roundTrips: number;
  /** Calls of this side that wait for an answer. */
  readonly pending: number;
  /** Objects of this side that the peer holds. */
  readonly localRefs: number;
  /** Objects of the peer that this side holds. */
  readonly remoteRefs: number;
}

/** What goes with one call. */
export interface CallOptions {
  /** Gives the call up when it is aborted: the peer is told, and the call rejects with its reason. */
  signal?: AbortSignal;
  /** Gives the call up after so many milliseconds, with a `TimeoutError`. Default: no limit. */
  timeout?: number;
}

/** How many questions may be open for a call to remember the stack of its caller: it takes a microsecond. */
const STACKS = 64;
/** After so many answers without an occasion to acknowledge them, they are acknowledged on their own. */
const ACKNOWLEDGE = 1000;

/** One end of a connection. */
export class Session implements FrameSink, ChannelPort, Border {
  readonly limits: Limits;
  readonly exports: Exports = new Exports();
  readonly imports: Imports;
  readonly caller: SessionCaller;
  readonly #options: SessionOptions;
  readonly #outbox: Outbox;
  readonly #reader: FrameReader;
  readonly #questions = new Map<number, Question>();
  readonly #abandoned = new Set<number>();
  readonly #answers = new Map<number, Answer>();
  readonly #blobs: Blobs;
  readonly #inflows = new Map<number, Inflow>();
  readonly #outflows = new Map<number, Outflow>();
  readonly #droppedResults: FinalizationRegistry<Question>;
  readonly #toRelease = new Map<number, number>();
  readonly #pings = new Map<number, () => void>();
  #lastQuestion = 0;
  #lastAnswer = 0;
  #lastChannel = 0;
  #lastPeerChannel = 0;
  #lastPing = 0;
  #wanted = 0;
  #waits = 0;
  #busy = false;
  #roundTrips = 0;
  #bytesReceived = 0;
  #framesReceived = 0;
  /** Answers of the peer that were taken in, in the order in which they came. */
  #processed = 0;
  #acknowledged = 0;
  #unprocessed: { done: boolean }[] = [];
  /** Calls whose answers were sent and may still be used by the peer, in that order. */
  #unacknowledged: number[] = [];
  #unacknowledgedFrom = 0;
  #peerProcessed = 0;
  /** Messages that wait for their blobs; what gives things back waits for them. */
  #deferred = 0;
  #afterDeferred: (() => void)[] = [];
  #channelOrder = new Map<number, Promise<void>>();
  #closeReason: Error | undefined;
  #written: Promise<void> = Promise.resolve();
  #calledSinceHeard = false;

  /** Makes one end; nothing is sent by it. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.limits = resolveLimits(options.limits);
    this.#blobs = new Blobs(this.limits);
    this.#reader = new FrameReader(this, this.limits.frameBytes);
    this.imports = new Imports(this.limits.references, (id, n) => {
      if (options.gcEnabled?.() ?? true) this.#releaseLater(-id, n);
    });
    this.#droppedResults = new FinalizationRegistry((question) => {
      if (question.state !== "pending" || question.wanted || question.dropped) return;
      question.dropped = true;
      if (options.gcEnabled?.() ?? true) this.#releaseLater(question.id, 1);
    });
    this.#outbox = new Outbox(
      options.send,
      () => {
        this.#acknowledged = this.#processed;
        return this.#processed >>> 0;
      },
      (error) =>
        this.end(
          new ConnectionLostError("The connection was lost: it cannot be written to", {
            cause: error,
          }),
        ),
    );
    this.caller = new SessionCaller(this, {});
  }

  /** Why the session is over, or `undefined` while it is not. */
  get closeReason(): Error | undefined {
    return this.#closeReason;
  }

  /** Live numbers. */
  get stats(): SessionStats {
    return {
      bytesSent: this.#outbox.sent.bytes,
      bytesReceived: this.#bytesReceived,
      framesSent: this.#outbox.sent.frames,
      framesReceived: this.#framesReceived,
      roundTrips: this.#roundTrips,
      pending: this.#wanted,
      localRefs: this.exports.size,
      remoteRefs: this.imports.size,
    };
  }

  /** Is the outgoing half still writing, or about to? */
  get writing(): boolean {
    return this.#outbox.busy;
  }

  /** May the peer be silent because it works? Calls wait for it, or were sent since it was last heard. */
  get mayBeBusy(): boolean {
    return this.#wanted > 0 || this.#calledSinceHeard;
  }

  /** How many calls of the peer are being worked on. */
  get working(): number {
    let working = 0;
    for (const answer of this.#answers.values()) if (answer.state === "pending") working++;
    return working;
  }

  /** What the peer finds at target 0. */
  get root(): unknown {
    return this.#options.root;
  }

  /** The largest single value, in bytes. */
  get valueBytes(): number {
    return this.limits.valueBytes;
  }

  /** The most bytes that a stream may have under way. */
  get streamWindow(): number {
    return this.limits.streamWindow;
  }

  // ---- bytes in

  /** Takes in bytes as they come. A peer that breaks the rules ends the session; this does not throw. */
  receive(bytes: Uint8Array): void {
    if (this.#closeReason) return;
    this.#bytesReceived += bytes.length;
    this.#calledSinceHeard = false;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      this.#fail(error);
      return;
    }
    if (this.#processed - this.#acknowledged > ACKNOWLEDGE) this.#outbox.acknowledge();
  }

  /** The link is gone, for this reason. Every pending call settles. */
  end(reason: Error): void {
    if (this.#closeReason) return;
    this.#closeReason = reason;
    this.#outbox.close();
    const questions = [...this.#questions.values()];
    this.#questions.clear();
    this.#abandoned.clear();
    this.#wanted = 0;
    for (const question of questions) question.lose(reason);
    for (const answer of this.#answers.values()) {
      if (answer.state === "pending") answer.cancel(reason);
    }
    this.#answers.clear();
    for (const inflow of [...this.#inflows.values()]) inflow.lose(reason);
    for (const outflow of [...this.#outflows.values()]) outflow.lose(reason);
    this.#inflows.clear();
    this.#outflows.clear();
    this.#blobs.clear();
    this.exports.clear();
    this.imports.clear();
    for (const pong of this.#pings.values()) pong();
    this.#pings.clear();
    this.#toRelease.clear();
    this.#updateBusy();
    this.#options.onClose?.(reason);
  }

  /** Says goodbye, and ends. The owner sends what is queued, and closes the link. */
  close(reason: Error = new ConnectionClosedError()): void {
    if (this.#closeReason) return;
    this.#add(`[${Op.bye}]`);
    this.#written = this.#outbox.finish();
    this.end(reason);
  }

  /** Resolves when the last message has been written, or cannot be. */
  get written(): Promise<void> {
    return this.#written;
  }

  #fail(error: unknown): void {
    const reason = error instanceof ProtocolError
      ? error
      : new ProtocolError("The peer sent something that cannot be handled", { cause: error });
    this.#add(`[${Op.bye},${JSON.stringify(shorten(reason.message, 1000))}]`);
    this.#written = this.#outbox.finish();
    this.end(reason);
  }

  /** What the owner calls every now and then, at least every few seconds: gives back what was collected. */
  tick(): void {
    if (this.#closeReason) return;
    if (this.#toRelease.size > 0 && this.#deferred === 0) {
      const counts: number[] = [];
      for (const [id, n] of this.#toRelease) counts.push(id, n);
      this.#toRelease.clear();
      this.#add(`[${Op.release},[${counts.join()}]]`);
    } else if (this.#processed !== this.#acknowledged) {
      this.#outbox.acknowledge();
    }
  }

  #releaseLater(id: number, n: number): void {
    if (this.#closeReason) return;
    this.#toRelease.set(id, (this.#toRelease.get(id) ?? 0) + n);
    if (this.#toRelease.size >= 10_000) this.tick();
  }

  /** Sends this side's first message. */
  hello(settings: Record<string, unknown>): void {
    this.#add(`[${Op.hello},${JSON.stringify(settings)}]`);
  }

  /** Sends what this side's program printed. */
  output(descriptor: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 32 << 10) {
      const piece = bytes.subarray(at, at + (32 << 10));
      this.#outbox.hold();
      const offset = this.#outbox.attach(piece);
      this.#add(`[${Op.output},${descriptor},${offset},${piece.length}]`);
      this.#outbox.unhold();
    }
  }

  /** Sends what there is, now, instead of at the end of this turn. */
  flush(): void {
    this.#outbox.flush();
  }

  /** Asks the peer for a sign of life; resolves when it comes, or when the session is over. */
  ping(): Promise<void> {
    if (this.#closeReason) return Promise.resolve();
    const number = ++this.#lastPing;
    return new Promise((resolve) => {
      this.#pings.set(number, resolve);
      this.#add(`[${Op.ping},${number}]`);
    });
  }

  // ---- calls out

  /** Sends a call. What is wrong with it becomes its error. */
  call(
    base: Base,
    path: Path,
    how: How,
    args: unknown[],
    options: CallOptions,
    wanted: boolean,
  ): Result {
    if (this.#closeReason) return new Result(Question.failed(this.#closeReason));
    let target = 0;
    if (base !== null) {
      if ("question" in base) {
        const { question } = base;
        if (question.state !== "pending" || question.id === 0) {
          return new Result(this.#callSettled(question, path, how, args, options));
        }
        question.handedOn = true;
        target = question.id;
      } else {
        if (base.count <= 0) {
          return new Result(
            Question.failed(new ReferenceError("Cannot use a reference that was released")),
          );
        }
        target = -base.id;
      }
    }
    const signal = signalOf(options);
    if (signal?.aborted) return new Result(Question.failed(signal.reason));
    const id = ++this.#lastQuestion;
    this.#calledSinceHeard = true;
    const parent = this.#options.context?.current()?.id;
    let question: Question;
    this.#outbox.hold();
    try {
      const head = `${id},${target},${path.length === 0 ? "[]" : JSON.stringify(path)},${how}`;
      let sent: Outgoing | undefined;
      let body = head;
      if (args.length > 0 || parent !== undefined) {
        const outgoing = new Outgoing(this);
        sent = outgoing;
        let encoded: Encoded;
        try {
          encoded = encode(args, outgoing, "args", this.limits.depth);
        } catch (error) {
          outgoing.withdraw();
          return new Result(Question.failed(error));
        }
        body += `,${encoded.text}`;
        if (outgoing.blobs.length > 0) {
          body += `,${encoded.form},${parent ?? 0},[${outgoing.blobs.join()}]`;
        } else if (parent !== undefined) {
          body += `,${encoded.form},${parent}`;
        } else if (encoded.form === 1) {
          body += ",1";
        }
      }
      question = new Question(id, body);
      this.#questions.set(id, question);
      if (wanted) this.#want(question);
      this.#outbox.add(question, body.length);
      sent?.sent();
    } finally {
      this.#outbox.unhold();
    }
    question.traced = this.#questions.size < STACKS;
    if (signal) this.#cancelWith(question, signal);
    const result = new Result(question);
    if (!wanted) this.#droppedResults.register(result, question);
    return result;
  }

  /** A call on something that has arrived already, or never leaves this side. */
  #callSettled(
    question: Question,
    path: Path,
    how: How,
    args: unknown[],
    options: CallOptions,
  ): Question {
    if (question.state === "fulfilled") {
      const info = stubInfo(question.value);
      if (info?.kind === "reference" && info.caller.session === this) {
        return this.call(info.base, path, how, args, options, false).question;
      }
    }
    const value = question.promise.then(async (value) => {
      const info = stubInfo(value);
      if (info?.kind === "reference") {
        const { question } = info.caller.call(info.base, path, how, args);
        return info.caller.pull(question);
      }
      const parts = await Promise.all(args);
      const owner = readPath(value, path.slice(0, -1));
      const found = path.length > 0 ? readPath(owner, path.slice(-1)) : owner;
      if (how === How.get) return found;
      if (how === How.call && typeof found === "function") {
        return Reflect.apply(found, path.length > 0 ? owner : undefined, parts);
      }
      throw new TypeError(`${describe(found)} arrived by value: use it where it is`);
    });
    question.handedOn = true;
    return Question.local(value);
  }

  #cancelWith(question: Question, signal: AbortSignal): void {
    const listener = () => this.cancel(question, signal.reason);
    signal.addEventListener("abort", listener, { once: true });
    question.onSettled = () => signal.removeEventListener("abort", listener);
  }

  /** Gives a call up: it rejects now, and the peer is told. */
  cancel(question: Question, reason: unknown): void {
    if (question.state !== "pending" || question.id === 0 || this.#closeReason) return;
    this.#questions.delete(question.id);
    this.#abandoned.add(question.id);
    if (question.wanted) this.#unwant();
    const { text, form } = this.#encodeReason(reason);
    this.#add(`[${Op.cancel},${question.id},${text},${form}]`);
    question.reject(reason);
  }

  /** Asks for a call's value. */
  pull(question: Question): Promise<unknown> {
    if (!question.wanted && question.state === "pending") {
      this.#want(question);
      if (question.sent) this.#add(`[${Op.pull},${question.id}]`);
    }
    return question.promise;
  }

  #want(question: Question): void {
    question.wanted = true;
    this.#wanted++;
    if (this.#wanted === 1) this.#updateBusy();
  }

  #unwant(): void {
    this.#wanted--;
    if (this.#wanted === 0) this.#updateBusy();
  }

  /** Something here waits for the peer, or has stopped waiting. */
  waiting(waits: boolean): void {
    this.#waits += waits ? 1 : -1;
    this.#updateBusy();
  }

  #updateBusy(): void {
    const busy = this.#closeReason === undefined && (this.#wanted > 0 || this.#waits > 0);
    if (busy === this.#busy) return;
    this.#busy = busy;
    this.#options.onBusy?.(busy);
  }

  /** Gives back one introduction of a reference, or a result that nobody is going to ask for. */
  release(base: Base): void {
    if (base === null || this.#closeReason) return;
    if ("question" in base) {
      const { question } = base;
      if (question.state === "fulfilled") {
        const info = stubInfo(question.value);
        if (info?.kind === "reference") info.caller.release(info.base);
      } else if (question.state === "pending" && question.id !== 0 && !question.wanted) {
        question.dropped = true;
        question.handedOn ||= false;
        this.#add(`[${Op.release},[${question.id},1]]`);
      }
      return;
    }
    if (base.count <= 0) return;
    this.imports.release(base);
    this.#add(`[${Op.release},[${-base.id},1]]`);
  }

  // ---- messages in

  /** A frame of messages. Called by the frame reader. */
  messages(text: string, attachments: Uint8Array, acknowledged: number): void {
    this.#framesReceived++;
    if (text !== "") {
      const messages = parse(text, this.limits.depth);
      if (!Array.isArray(messages)) throw new ProtocolError("The peer sent a malformed frame");
      for (let i = 0; i < messages.length; i++) {
        this.#dispatch(messages[i] as Message, attachments);
        if (this.#closeReason) return;
      }
    }
    this.#peerAcknowledges(acknowledged);
  }

  /** Bytes of a channel. Called by the frame reader. */
  chunk(channel: number, bytes: Uint8Array): void {
    // The sender's own channels are negative here.
    if (channel > 0 && this.#blobs.fill(channel, bytes)) return;
    const inflow = this.#inflow(-channel);
    inflow.push({ bytes: bytes.slice() }, bytes.length);
  }

  #dispatch(message: Message, attachments: Uint8Array): void {
    if (!Array.isArray(message)) throw new ProtocolError("The peer sent a malformed message");
    switch (message[0]) {
      case Op.call:
      case Op.callAndPull:
        return this.#onCall(message, attachments);
      case Op.return:
      case Op.throw:
        return this.#onAnswer(message, attachments);
      case Op.pull: {
        const answer = this.#answer(message[1]);
        if (answer.wanted || answer.dropped) throw new ProtocolError("The peer asked twice");
        answer.wanted = true;
        if (answer.state !== "pending") this.#reply(answer);
        return;
      }
      case Op.release: {
        const counts: unknown = message[1];
        if (!Array.isArray(counts)) throw new ProtocolError("The peer sent a malformed release");
        this.#whenUndeferred(() => this.#onRelease(counts));
        return;
      }
      case Op.cancel: {
        const answer = this.#answers.get(count(message[1]));
        if (answer && answer.state === "pending") {
          answer.wanted = true;
          answer.cancel(this.#decode(message[2], message[3], attachments));
        }
        return;
      }
      case Op.credit: {
        const amount = count(message[2]);
        const channel = -integer(message[1]);
        const outflow = this.#outflows.get(channel);
        if (outflow) outflow.grant(amount);
        else this.#checkPast(channel);
        return;
      }
      case Op.items: {
        const channel = -integer(message[1]);
        const size = JSON.stringify(message[2]).length;
        const [, , items, form, blobs] = message;
        const cost = claimedCost(message[5], blobSize(blobs) + size);
        const awaited = Array.isArray(blobs) && blobs.length === 0 ? undefined : blobs;
        this.#inOrder(channel, awaited, attachments, (held) => {
          const inflow = this.#inflow(channel);
          const decoded = this.#decode(items, form, held);
          if (!Array.isArray(decoded)) throw new ProtocolError("The peer sent malformed items");
          inflow.push({ items: decoded }, cost);
        });
        return;
      }
      case Op.end: {
        const channel = -integer(message[1]);
        const [, , failed, value, form] = message;
        this.#inOrder(channel, undefined, attachments, (held) => {
          const inflow = this.#inflow(channel);
          const decoded = value === undefined
            ? undefined
            : this.#decode(value, form, held, failed === 1);
          inflow.push({ failed: failed === 1, value: decoded }, 0);
        });
        return;
      }
      case Op.stop: {
        const channel = -integer(message[1]);
        const outflow = this.#outflows.get(channel);
        if (!outflow) throw new ProtocolError(`The peer stopped channel ${channel}, which is none`);
        const [, , early, reason, form] = message;
        outflow.stop(
          early === 1,
          reason === undefined ? undefined : this.#decode(reason, form, attachments),
        );
        return;
      }
      case Op.abort: {
        const reason = this.#decode(message[2], message[3], attachments);
        abortImported(this.imports.stub(count(message[1])), reason);
        return;
      }
      case Op.output: {
        const [, descriptor, offset, length] = message;
        const end = count(offset) + count(length);
        if (end > attachments.length) throw new ProtocolError("The peer sent malformed output");
        this.#options.onOutput?.(descriptor === 2 ? 2 : 1, attachments.subarray(offset, end));
        return;
      }
      case Op.ping:
        this.#add(`[${Op.pong},${count(message[1])}]`);
        return;
      case Op.pong: {
        const number = count(message[1]);
        const pong = this.#pings.get(number);
        if (!pong) throw new ProtocolError("The peer answered a ping that was not sent");
        this.#pings.delete(number);
        pong();
        return;
      }
      case Op.hello: {
        const settings: unknown = message[1];
        if (typeof settings !== "object" || settings === null) {
          throw new ProtocolError("The peer sent a malformed greeting");
        }
        this.#options.onHello?.(settings as Record<string, unknown>);
        return;
      }
      case Op.bye: {
        const reason = typeof message[1] === "string" ? printable(message[1]) : "";
        this.end(
          new ConnectionLostError(
            reason
              ? `The remote side ended the connection: ${shorten(reason, 1000)}`
              : "The remote side closed the connection",
          ),
        );
        return;
      }
    }
    throw new ProtocolError(
      `The peer sent an unknown message: ${shorten(printable(JSON.stringify(message)), 100)}`,
    );
  }

  // ---- calls in

  #onCall(message: Message & { 0: 1 | 2 }, attachments: Uint8Array): void {
    const [op, id, target, path, how, args, form, , blobs] = message;
    if (!Number.isSafeInteger(id) || id <= this.#lastAnswer) {
      throw new ProtocolError("The peer sent a call whose number is not new");
    }
    this.#lastAnswer = id;
    if (this.#answers.size >= this.limits.pendingCalls) {
      throw new ProtocolError(
        `The peer sent more than ${this.limits.pendingCalls} calls (limits.pendingCalls)`,
      );
    }
    if (!isPath(path)) throw new ProtocolError("The peer sent a malformed path");
    const answer = new Answer(id, op === Op.callAndPull);
    this.#answers.set(id, answer);
    if (blobs !== undefined) {
      this.#whenArrived(
        blobs,
        attachments,
        (held) => this.#run(answer, integer(target), path, how, args, form, held),
      );
    } else {
      this.#run(answer, integer(target), path, how, args, form, attachments);
    }
  }

  #run(
    answer: Answer,
    target: number,
    path: Path,
    how: How,
    args: unknown,
    form: unknown,
    attachments: Uint8Array,
  ): void {
    let parts: unknown[] = [];
    if (args !== undefined) {
      const incoming = new Incoming(this, attachments, answer);
      const decoded = decode(args, form, incoming, this.limits.depth);
      if (!Array.isArray(decoded)) throw new ProtocolError("The peer sent malformed arguments");
      parts = decoded;
      if (incoming.waiting.length > 0) {
        // Arguments that are promises of this side's own: the call starts when they have resolved.
        Promise.all(incoming.waiting).then(
          () => this.#startAt(answer, target, path, how, parts),
          (error) => this.#settle(answer, "rejected", error),
        );
        return;
      }
    }
    this.#startAt(answer, target, path, how, parts);
  }

  #startAt(answer: Answer, target: number, path: Path, how: How, args: unknown[]): void {
    if (target === 0) {
      this.#perform(answer, this.#options.root, path, how, args, undefined);
    } else if (target < 0) {
      const { value, options } = this.exports.get(-target);
      this.#perform(answer, value, path, how, args, options);
    } else {
      const earlier = this.#answer(target);
      earlier.whenSettled(() => {
        if (earlier.state === "rejected") this.#settle(answer, "rejected", earlier.value);
        else this.#perform(answer, earlier.value, path, how, args, undefined);
      });
    }
  }

  #perform(
    answer: Answer,
    target: unknown,
    path: Path,
    how: How,
    args: unknown[],
    options: RefOptions | undefined,
  ): void {
    const { context, access } = this.#options;
    let value: unknown;
    try {
      value = context
        ? context.run(answer, () => access(target, path, how, args, options))
        : access(target, path, how, args, options);
      if (isThenable(value)) {
        Promise.resolve(value).then(
          (settled) => this.#settle(answer, "fulfilled", settled),
          (error) => this.#settle(answer, "rejected", error),
        );
        return;
      }
    } catch (error) {
      this.#settle(answer, "rejected", error);
      return;
    }
    this.#settle(answer, "fulfilled", value);
  }

  #settle(answer: Answer, state: "fulfilled" | "rejected", value: unknown): void {
    answer.settle(state, value);
    if (this.#closeReason) return;
    // An error is always reported: nobody may have asked for the value.
    if (answer.wanted || answer.dropped || state === "rejected") this.#reply(answer);
  }

  #reply(answer: Answer): void {
    if (answer.sent || this.#closeReason) return;
    answer.sent = true;
    this.#unacknowledged.push(answer.id);
    if (answer.state === "fulfilled") {
      if (answer.dropped) {
        this.#add(`[${Op.return},${answer.id},null]`);
        return;
      }
      try {
        this.#send(Op.return, answer.id, answer.value, "the result");
        return;
      } catch (error) {
        this.#sendError(answer.id, error);
        return;
      }
    }
    this.#sendError(answer.id, answer.value);
  }

  #sendError(id: number, error: unknown): void {
    try {
      this.#send(Op.throw, id, error, "the error");
    } catch (worse) {
      this.#send(Op.throw, id, new Error(`${worse}`), "the error");
    }
  }

  #send(op: number, id: number, value: unknown, where: string): void {
    this.#outbox.hold();
    const outgoing = new Outgoing(this);
    try {
      const { text, form } = encode(value, outgoing, where, this.limits.depth);
      const tail = outgoing.blobs.length > 0
        ? `,${form},[${outgoing.blobs.join()}]]`
        : form === 1
        ? ",1]"
        : "]";
      const message = `[${op},${id},${text}${tail}`;
      this.#add(message);
      outgoing.sent();
    } catch (error) {
      outgoing.withdraw();
      throw error;
    } finally {
      this.#outbox.unhold();
    }
  }

  #answer(id: unknown): Answer {
    const answer = this.#answers.get(count(id));
    if (!answer) throw new ProtocolError(`The peer used call ${id}, whose result it does not hold`);
    return answer;
  }

  #onRelease(counts: unknown[]): void {
    if (this.#closeReason) return;
    for (let i = 0; i < counts.length; i += 2) {
      const id = integer(counts[i]);
      const n = count(counts[i + 1]);
      if (id < 0) {
        this.exports.release(-id, n);
        continue;
      }
      const answer = this.#answer(id);
      if (answer.wanted || answer.sent) continue;
      answer.dropped = true;
      if (answer.state !== "pending") this.#reply(answer);
    }
  }

  #peerAcknowledges(processed: number): void {
    if (processed === this.#peerProcessed) return;
    const more = (processed - this.#peerProcessed) >>> 0;
    if (more > this.#unacknowledged.length - this.#unacknowledgedFrom) {
      throw new ProtocolError("The peer acknowledged answers that were not sent");
    }
    this.#peerProcessed = processed;
    this.#whenUndeferred(() => {
      for (let i = 0; i < more; i++) {
        this.#answers.delete(this.#unacknowledged[this.#unacknowledgedFrom++]!);
      }
      if (this.#unacknowledgedFrom > 1024) {
        this.#unacknowledged = this.#unacknowledged.slice(this.#unacknowledgedFrom);
        this.#unacknowledgedFrom = 0;
      }
    });
  }

  // ---- answers in

  #onAnswer(message: Message & { 0: 4 | 5 }, attachments: Uint8Array): void {
    const [op, id, value, form, blobs] = message;
    const question = this.#questions.get(id);
    if (question === undefined && !this.#abandoned.has(id)) {
      throw new ProtocolError(`The peer answered call ${String(id)}, which is not waiting`);
    }
    if (question) {
      if (!question.sent || op === Op.return && !question.wanted && !question.dropped) {
        throw new ProtocolError(`The peer answered call ${id} before it was asked`);
      }
      this.#questions.delete(id);
    } else {
      this.#abandoned.delete(id);
    }
    if (blobs !== undefined) {
      const place = { done: false };
      this.#unprocessed.push(place);
      if (question) this.#questions.set(-id, question);
      this.#whenArrived(blobs, attachments, (held) => {
        this.#questions.delete(-id);
        place.done = true;
        this.#advance();
        this.#settleQuestion(question, op, value, form, held);
      });
      return;
    }
    if (this.#unprocessed.length > 0) this.#unprocessed.push({ done: true });
    else this.#processed++;
    this.#settleQuestion(question, op, value, form, attachments);
  }

  #advance(): void {
    let done = 0;
    while (done < this.#unprocessed.length && this.#unprocessed[done]!.done) done++;
    this.#processed += done;
    this.#unprocessed.splice(0, done);
  }

  #settleQuestion(
    question: Question | undefined,
    op: number,
    value: unknown,
    form: unknown,
    attachments: Uint8Array,
  ): void {
    let decoded = value;
    if (form === 1) {
      const incoming = new Incoming(this, attachments);
      decoded = decode(value, form, incoming, this.limits.depth, op === Op.throw);
      if (incoming.waiting.length > 0) {
        const settle = (op: number, value: unknown) => this.#finishQuestion(question, op, value);
        Promise.all(incoming.waiting).then(
          () => settle(op, decoded),
          (error) => settle(Op.throw, error),
        );
        return;
      }
    }
    this.#finishQuestion(question, op, decoded);
  }

  #finishQuestion(question: Question | undefined, op: number, decoded: unknown): void {
    if (question === undefined) return;
    if (question.wanted) {
      this.#roundTrips++;
      this.#unwant();
    }
    if (op === Op.return) {
      question.fulfill(decoded);
      return;
    }
    if (decoded instanceof RemoteError) addLocalStack(decoded, question.caller?.stack);
    question.reject(decoded);
  }

  #decode(value: unknown, form: unknown, attachments: Uint8Array, thrown = false): unknown {
    if (form !== 1) return value;
    return decode(value, form, new Incoming(this, attachments), this.limits.depth, thrown);
  }

  // ---- what waits for blobs

  #whenArrived(
    blobs: unknown,
    attachments: Uint8Array,
    then: (attachments: Uint8Array) => void,
  ): void {
    if (!Array.isArray(blobs) || blobs.length % 2 !== 0) {
      throw new ProtocolError("The peer sent a malformed list of channels");
    }
    const channels: number[] = [];
    for (let i = 0; i < blobs.length; i += 2) {
      const channel = this.#newPeerChannel(blobs[i]);
      this.#blobs.announce(channel, count(blobs[i + 1]));
      channels.push(channel);
    }
    const held = attachments.slice();
    this.#deferred++;
    this.waiting(true);
    this.#blobs.whenArrived(channels, () => {
      if (this.#closeReason) return;
      then(held);
      for (const channel of channels) this.#blobs.forget(channel);
      this.waiting(false);
      if (--this.#deferred === 0) {
        const after = this.#afterDeferred;
        this.#afterDeferred = [];
        for (const next of after) next();
      }
    });
  }

  #whenUndeferred(then: () => void): void {
    if (this.#deferred === 0) then();
    else this.#afterDeferred.push(then);
  }

  #inOrder(
    channel: number,
    blobs: unknown,
    attachments: Uint8Array,
    then: (attachments: Uint8Array) => void,
  ): void {
    const before = this.#channelOrder.get(channel);
    if (blobs === undefined && before === undefined) return then(attachments);
    const { promise, resolve } = withResolvers();
    this.#channelOrder.set(channel, promise);
    const go = (held: Uint8Array) => {
      const run = () => {
        try {
          if (!this.#closeReason) then(held);
        } catch (error) {
          this.#fail(error);
        }
        if (this.#channelOrder.get(channel) === promise) this.#channelOrder.delete(channel);
        resolve();
      };
      if (before) before.then(run);
      else run();
    };
    if (blobs === undefined) go(attachments.slice());
    else this.#whenArrived(blobs, attachments, go);
  }

  // ---- channels

  #inflow(channel: number): Inflow {
    const inflow = this.#inflows.get(channel);
    if (!inflow) throw new ProtocolError(`The peer sent on channel ${channel}, which is not open`);
    return inflow;
  }

  #checkPast(channel: number): void {
    const last = channel > 0 ? this.#lastChannel : this.#lastPeerChannel;
    if (Math.abs(channel) > last || channel === 0) {
      throw new ProtocolError(`The peer used channel ${channel}, which was never open`);
    }
  }

  #newPeerChannel(channel: unknown): number {
    const number = count(channel);
    if (number <= this.#lastPeerChannel) {
      throw new ProtocolError(`The peer opened channel ${number} twice`);
    }
    this.#lastPeerChannel = number;
    return number;
  }

  newChannel(): number {
    return ++this.#lastChannel;
  }

  attach(bytes: Uint8Array): number | undefined {
    const room = this.limits.frameBytes / 2 - HEAD;
    return this.#outbox.frameSize + bytes.length > Math.min(room, 512 << 10)
      ? undefined
      : this.#outbox.attach(bytes);
  }

  sendBlob(frames: Uint8Array[]): void {
    this.#outbox.addBulk(frames);
  }

  openOutflow(channel: number, credit: number): Outflow {
    this.#checkChannel(channel);
    const outflow = new Outflow(channel, this, credit);
    if (this.#closeReason) outflow.lose(this.#closeReason);
    else this.#outflows.set(channel, outflow);
    return outflow;
  }

  openInflow(channel: number, window: number, most: number, started: boolean): Inflow {
    this.#checkChannel(channel);
    const inflow = new Inflow(channel, this, window, Math.max(window, most), started);
    if (this.#closeReason) inflow.lose(this.#closeReason);
    else this.#inflows.set(channel, inflow);
    return inflow;
  }

  #checkChannel(channel: number): void {
    if (channel < 0) this.#newPeerChannel(-channel);
    if (this.#inflows.size + this.#outflows.size >= this.limits.channels) {
      throw new ProtocolError(
        `There are more than ${this.limits.channels} open streams (limits.channels)`,
      );
    }
  }

  sendCredit(channel: number, amount: number): void {
    this.#add(`[${Op.credit},${channel},${amount}]`);
  }

  sendBytes(channel: number, bytes: Uint8Array, taken: () => void): void {
    this.#outbox.addBulk(chunkFrames(channel, bytes), taken);
  }

  sendItems(channel: number, items: unknown[]): number {
    this.#outbox.hold();
    const outgoing = new Outgoing(this);
    try {
      const { text, form } = encode(items, outgoing, "item", this.limits.depth);
      const { blobs } = outgoing;
      const size = text.length + blobSize(blobs);
      this.#add(`[${Op.items},${channel},${text},${form},[${blobs.join()}],${size}]`);
      outgoing.sent();
      return size;
    } catch (error) {
      outgoing.withdraw();
      throw error;
    } finally {
      this.#outbox.unhold();
    }
  }

  sendEnd(channel: number, failed: boolean, value: unknown): void {
    const { text, form } = this.#encodeReason(value);
    this.#add(
      value === undefined
        ? `[${Op.end},${channel},${failed ? 1 : 0}]`
        : `[${Op.end},${channel},${failed ? 1 : 0},${text},${form}]`,
    );
  }

  sendStop(channel: number, early: boolean, reason: unknown): void {
    const { text, form } = this.#encodeReason(reason);
    this.#add(
      reason === undefined
        ? `[${Op.stop},${channel},${early ? 1 : 0}]`
        : `[${Op.stop},${channel},${early ? 1 : 0},${text},${form}]`,
    );
  }

  closed(channel: number): void {
    this.#inflows.delete(channel);
    this.#outflows.delete(channel);
  }

  sendAbort(id: number, reason: unknown): void {
    if (this.#closeReason) return;
    const { text, form } = this.#encodeReason(reason);
    this.#add(`[${Op.abort},${id},${text},${form}]`);
  }

  takeBlob(channel: number, length: number): Uint8Array {
    return this.#blobs.take(channel, length);
  }

  lookUp(target: number, path: Path): unknown {
    const { access } = this.#options;
    const read = (value: unknown, options: RefOptions | undefined) =>
      path.length === 0 ? value : access(value, path, How.get, [], options);
    if (target === 0) return read(this.#options.root, undefined);
    if (target < 0) {
      const { value, options } = this.exports.get(-target);
      return read(value, options);
    }
    const answer = this.#answer(target);
    if (answer.state === "fulfilled") return read(answer.value, undefined);
    return new Promise((resolve, reject) =>
      answer.whenSettled(() => {
        if (answer.state === "rejected") return reject(answer.value);
        try {
          resolve(read(answer.value, undefined));
        } catch (error) {
          reject(error);
        }
      })
    );
  }

  // ---- messages out

  #add(message: string): void {
    this.#outbox.add(message, message.length);
  }

  /** A reason crosses whatever it is: what cannot, goes as its description. */
  #encodeReason(reason: unknown): Encoded {
    const outgoing = new Outgoing(this, true);
    this.#outbox.hold();
    try {
      return encode(reason, outgoing, "the reason", this.limits.depth);
    } catch (error) {
      outgoing.withdraw();
      const text = error instanceof UncrossableError ? describe(reason) : String(error);
      return { text: JSON.stringify(text), form: 0 };
    } finally {
      outgoing.sent();
      this.#outbox.unhold();
    }
  }
}

/** Calls of one session, all with the same options. */
export class SessionCaller implements Caller {
  readonly session: Session;
  readonly #options: CallOptions;

  /** Calls on `session` with `options`. */
  constructor(session: Session, options: CallOptions) {
    this.session = session;
    this.#options = options;
  }

  call(base: Base, path: Path, how: How, args: unknown[], wanted = false): Result {
    return this.session.call(base, path, how, args, this.#options, wanted);
  }

  pull(question: Question): Promise<unknown> {
    return this.session.pull(question);
  }

  iterate(base: Base, path: Path): AsyncIterator<unknown> {
    const { question } = this.call(base, path, How.iterate, [], true);
    return new PendingIterator(this.pull(question) as Promise<AsyncIterator<unknown>>);
  }

  release(base: Base): void {
    this.session.release(base);
  }

  reference(entry: Import, label: string): object {
    return referenceStub(this.session.caller, entry, label);
  }
}

/** An iterator that is still on its way. */
class PendingIterator implements AsyncIterableIterator<unknown> {
  readonly #arriving: Promise<AsyncIterator<unknown>>;
  #iterator: AsyncIterator<unknown> | undefined;

  constructor(arriving: Promise<AsyncIterator<unknown>>) {
    this.#arriving = arriving;
    arriving.then((iterator) => this.#iterator = iterator, () => {});
  }

  next(): Promise<IteratorResult<unknown>> {
    return this.#iterator?.next() ?? this.#arriving.then((iterator) => iterator.next());
  }

  async return(value?: unknown): Promise<IteratorResult<unknown>> {
    const iterator = await this.#arriving;
    return await iterator.return!(value);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

function signalOf({ signal, timeout }: CallOptions): AbortSignal | undefined {
  if (timeout === undefined) return signal;
  const late = AbortSignal.timeout(timeout);
  return signal ? AbortSignal.any([signal, late]) : late;
}

/**
 * What the source of a channel says that its message costs. An interpreter of another language writes numbers and strings
 * in another length; a source that claims far too little would not be held back.
 */
function claimedCost(claimed: unknown, measured: number): number {
  if (claimed === undefined) return measured;
  if (count(claimed) * 4 < measured) {
    throw new ProtocolError("The peer sent items that are larger than it says");
  }
  return claimed as number;
}

function blobSize(blobs: unknown): number {
  let size = 0;
  if (Array.isArray(blobs)) { for (let i = 1; i < blobs.length; i += 2) size += count(blobs[i]); }
  return size;
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => resolve = done);
  return { promise, resolve };
}
