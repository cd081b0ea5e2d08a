/**
 * The protocol peer: bytes in, bytes out, closed with a reason.
 *
 * A session does no I/O, and starts no timer but the limits of calls that have one. Whoever owns it hands it what
 * arrives ({@linkcode Session.receive}), takes what is to be sent (`send`), and calls {@linkcode Session.tick} now
 * and then. Both sides run the same code; they differ in the object that they offer as a root, and in what they
 * let the other do.
 *
 * This file says who is told of which message. What happens then is elsewhere: calls of this side in `asking.ts`,
 * calls of the peer in `answering.ts`, channels in `flows.ts`, and what must wait in `arrivals.ts`.
 *
 * @module
 */

import type { Access } from "./access.ts";
import { Answering, type AnsweringHost, type CallContext } from "./answering.ts";
import { type ArrivalHost, Arrivals } from "./arrivals.ts";
import { Asking, type AskingHost } from "./asking.ts";
import { type CallingSession, type CallOptions, SessionCaller } from "./caller.ts";
import type { Answer, Question, Result } from "./calls.ts";
import type { Inflow, Outflow } from "./channels.ts";
import { count, integer } from "./checks.ts";
import { abortImported, Incoming, Outgoing } from "./crossing.ts";
import {
  ConnectionClosedError,
  ConnectionLostError,
  ProtocolError,
  UncrossableError,
} from "./errors.ts";
import { type FlowHost, Flows } from "./flows.ts";
import { type AttachedMark, FrameReader, type FrameSink, HEAD } from "./frame.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { type How, type Message, Op, type OutputMessage, type Path } from "./messages.ts";
import { Outbox, type Send } from "./outbox.ts";
import { type Base, stubInfo } from "./proxy.ts";
import { Exports, Imports } from "./references.ts";
import { describe, printable, shorten } from "./text.ts";
import { encode, type Encoded, parse } from "./values.ts";

export type { CallContext } from "./answering.ts";
export { type CallOptions, SessionCaller } from "./caller.ts";

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

/** After so many answers, or bytes, without an occasion to acknowledge them, they are acknowledged on their own. */
const ACKNOWLEDGE = 1000;
const ACKNOWLEDGE_BYTES = 1 << 20;
/** How many signs of life may wait to be taken by a peer that asked for them. */
const PONGS = 10_000;
/** So many references to be given back do not wait for the next tick. */
const RELEASES = 10_000;

/** One end of a connection. */
export class Session
  implements FrameSink, CallingSession, ArrivalHost, AskingHost, AnsweringHost, FlowHost {
  readonly limits: Limits;
  readonly exports: Exports = new Exports();
  readonly imports: Imports;
  readonly caller: SessionCaller;
  readonly access: Access;
  readonly root: unknown;
  readonly context: CallContext | undefined;
  /** How many promises of the peer's are being waited for. */
  awaited = 0;
  readonly #options: SessionOptions;
  readonly #outbox: Outbox;
  readonly #reader: FrameReader;
  readonly #arrivals: Arrivals;
  readonly #asking: Asking;
  readonly #answering: Answering;
  readonly #flows: Flows;
  readonly #toRelease = new Map<number, number>();
  readonly #pings = new Map<number, () => void>();
  #lastPing = 0;
  #pongs = 0;
  #waits = 0;
  #busy = false;
  #bytesReceived = 0;
  #framesReceived = 0;
  #frameText = 0;
  /** Answers, and bytes, that had come when something was last sent. */
  #acknowledged = 0;
  #acknowledgedBytes = 0;
  #closeReason: Error | undefined;
  #written: Promise<void> = Promise.resolve();
  #calledSinceHeard = false;

  /** Makes one end; nothing is sent by it. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.access = options.access;
    this.root = options.root;
    this.context = options.context;
    this.limits = resolveLimits(options.limits);
    this.#reader = new FrameReader(this, this.limits.frameBytes);
    this.imports = new Imports(this.limits.references, (id, n) => this.releaseLater(-id, n));
    this.#outbox = new Outbox(
      options.send,
      () => {
        this.#acknowledgedBytes = this.#bytesReceived;
        return (this.#acknowledged = this.#asking.processed) >>> 0;
      },
      (error) =>
        this.end(
          new ConnectionLostError("The connection was lost: it cannot be written to", {
            cause: error,
          }),
        ),
    );
    this.#arrivals = new Arrivals(this);
    this.#asking = new Asking(this, this.#outbox, this.#arrivals);
    this.#answering = new Answering(this, this.#outbox, this.#arrivals);
    this.#flows = new Flows(this, this.#outbox, this.#arrivals);
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
      roundTrips: this.#asking.roundTrips,
      pending: this.#asking.pending,
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
    return this.#asking.pending > 0 || this.#calledSinceHeard;
  }

  /** How many calls of the peer are being worked on. */
  get working(): number {
    return this.#answering.working;
  }

  /** The number of the peer's last call. It grows with each. */
  get lastCall(): number {
    return this.#answering.last;
  }

  /** How many bytes of messages wait to be written. */
  get waitingBytes(): number {
    return this.#outbox.waiting;
  }

  /** How many streams and iterators are open, in both directions. */
  get openChannels(): number {
    return this.#flows.size;
  }

  // ---- the life of a session

  /** Takes in bytes as they come. A peer that breaks the rules ends the session; this does not throw. */
  receive(bytes: Uint8Array): void {
    if (this.#closeReason) return;
    this.#bytesReceived += bytes.length;
    this.#calledSinceHeard = false;
    try {
      this.#reader.push(bytes);
    } catch (error) {
      this.fail(error);
      return;
    }
    const unacknowledged = this.#asking.processed - this.#acknowledged;
    if (
      unacknowledged > ACKNOWLEDGE ||
      unacknowledged > 0 && this.#bytesReceived - this.#acknowledgedBytes > ACKNOWLEDGE_BYTES
    ) {
      this.#outbox.acknowledge();
    }
  }

  /** Sends this side's first message. */
  hello(settings: Record<string, unknown>): void {
    this.add(`[${Op.hello},${JSON.stringify(settings)}]`);
  }

  /** What the owner calls every now and then, at least every few seconds: gives back what was collected. */
  tick(): void {
    if (this.#closeReason) return;
    if (this.#toRelease.size > 0) this.#release();
    else if (this.#asking.processed !== this.#acknowledged) this.#outbox.acknowledge();
  }

  /** Says goodbye, and ends. The owner sends what is queued, and closes the link. */
  close(reason: Error = new ConnectionClosedError()): void {
    if (this.#closeReason) return;
    // The peer is told the reason if it is not simply that this side closes.
    this.add(
      reason instanceof ConnectionClosedError
        ? `[${Op.bye}]`
        : `[${Op.bye},${JSON.stringify(shorten(reason.message, 1000))}]`,
    );
    this.#written = this.#outbox.finish();
    this.end(reason);
  }

  /** Ends the session because of what the peer did. */
  fail(error: unknown): void {
    if (this.#closeReason) return;
    const reason = error instanceof ProtocolError
      ? error
      : new ProtocolError("The peer sent something that cannot be handled", { cause: error });
    this.add(`[${Op.bye},${JSON.stringify(shorten(reason.message, 1000))}]`);
    this.#written = this.#outbox.finish();
    this.end(reason);
  }

  /** Runs what may fail with the session, where nobody else would catch it; not after the end. */
  guard(work: () => void): void {
    if (this.#closeReason) return;
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  }

  /** The link is gone, for this reason. Every pending call settles. */
  end(reason: Error): void {
    if (this.#closeReason) return;
    this.#closeReason = reason;
    this.#outbox.close();
    this.#asking.lose(reason);
    this.#answering.lose(reason);
    this.#flows.lose(reason);
    this.#arrivals.clear();
    this.exports.clear();
    this.imports.clear();
    for (const pong of this.#pings.values()) pong();
    this.#pings.clear();
    this.#toRelease.clear();
    this.#updateBusy();
    this.#options.onClose?.(reason);
  }

  /** Resolves when the last message has been written, or cannot be. */
  get written(): Promise<void> {
    return this.#written;
  }

  /** Asks the peer for a sign of life; resolves when it comes, or when the session is over. */
  ping(): Promise<void> {
    if (this.#closeReason) return Promise.resolve();
    const number = ++this.#lastPing;
    return new Promise((resolve) => {
      this.#pings.set(number, resolve);
      this.add(`[${Op.ping},${number}]`);
    });
  }

  /** Something here waits for the peer, or has stopped waiting. */
  waiting(waits: boolean): void {
    this.#waits += waits ? 1 : -1;
    this.#updateBusy();
  }

  /** The first call waits for its value, or the last one does no more. */
  busy(): void {
    this.#updateBusy();
  }

  #updateBusy(): void {
    const busy = this.#closeReason === undefined && (this.#asking.pending > 0 || this.#waits > 0);
    if (busy === this.#busy) return;
    this.#busy = busy;
    this.#options.onBusy?.(busy);
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
    this.#calledSinceHeard = true;
    return this.#asking.call(base, path, how, args, options, wanted);
  }

  /** Asks for a call's value. */
  pull(question: Question): Promise<unknown> {
    return this.#asking.pull(question);
  }

  /** Gives a call up: it rejects now, and the peer is told. */
  cancel(question: Question, reason: unknown): void {
    this.#asking.cancel(question, reason);
  }

  /** The peer's call that the running code descends from. */
  currentCall(): Answer | undefined {
    return this.context?.current();
  }

  /** Gives back one introduction of a reference, or a result that nobody is going to ask for. */
  release(base: Base): void {
    if (base === null || this.#closeReason) return;
    if ("question" in base) {
      const { question } = base;
      const info = question.state === "fulfilled" ? stubInfo(question.value) : undefined;
      if (info?.kind === "reference") info.caller.release(info.base);
      else this.#asking.release(question);
      return;
    }
    if (base.count <= 0) return;
    this.imports.release(base);
    this.add(`[${Op.release},[${-base.id},1]]`);
  }

  /** Gives something back with the next batch, if what was collected is given back at all. */
  releaseLater(id: number, n: number): void {
    if (this.#closeReason || !(this.#options.gcEnabled?.() ?? true)) return;
    this.#toRelease.set(id, (this.#toRelease.get(id) ?? 0) + n);
    if (this.#toRelease.size >= RELEASES) this.#release();
  }

  #release(): void {
    const counts: number[] = [];
    for (const [id, n] of this.#toRelease) counts.push(id, n);
    this.#toRelease.clear();
    this.add(`[${Op.release},[${counts.join()}]]`);
  }

  // ---- messages in

  /** A frame of messages. Called by the frame reader. */
  messages(text: string, attachments: Uint8Array, acknowledged: number): void {
    if (this.#closeReason) return;
    this.#framesReceived++;
    if (text !== "") {
      this.#frameText = text.length;
      const messages = parse(text, this.limits.depth);
      if (!Array.isArray(messages)) throw new ProtocolError("The peer sent a malformed frame");
      for (let i = 0; i < messages.length; i++) {
        this.#dispatch(messages[i] as Message, attachments);
        if (this.#closeReason) return;
      }
    }
    this.#answering.onAcknowledged(acknowledged);
  }

  /** Bytes of a channel. Called by the frame reader. */
  chunk(channel: number, bytes: Uint8Array): void {
    if (this.#closeReason) return;
    // The sender's own channels are negative here.
    if (channel > 0 && this.#arrivals.fill(channel, bytes)) return;
    this.#flows.onBytes(-channel, bytes);
  }

  #dispatch(message: Message, attachments: Uint8Array): void {
    if (!Array.isArray(message)) throw new ProtocolError("The peer sent a malformed message");
    switch (message[0]) {
      case Op.call:
      case Op.callAndPull:
        return this.#answering.onCall(message, attachments);
      case Op.return:
      case Op.throw:
        return this.#asking.onAnswer(message, attachments);
      case Op.pull:
        return this.#answering.onPull(message[1]);
      case Op.release:
        return this.#onRelease(message[1]);
      case Op.cancel: {
        const [, id, reason, form] = message;
        return this.#withReason(
          reason,
          form,
          attachments,
          (reason) => this.#answering.onCancel(id, reason),
        );
      }
      case Op.credit:
        return this.#flows.onCredit(message);
      case Op.items:
        return this.#flows.onItems(message, attachments, this.#frameText);
      case Op.end:
        return this.#flows.onEnd(message, attachments);
      case Op.stop:
        return this.#flows.onStop(message, attachments);
      case Op.abort: {
        const [, id, reason, form] = message;
        const signal = count(id);
        return this.#withReason(
          reason,
          form,
          attachments,
          // The signal may be in a message that waits for its blobs.
          (reason) =>
            this.#arrivals.whenSettled(() => abortImported(this.imports.stub(signal), reason)),
        );
      }
      case Op.output:
        return this.#onOutput(message, attachments);
      case Op.ping:
        return this.#onPing(count(message[1]));
      case Op.pong: {
        const number = count(message[1]);
        const pong = this.#pings.get(number);
        if (!pong) throw new ProtocolError("The peer answered a ping that was not sent");
        this.#pings.delete(number);
        return pong();
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
        return this.end(
          new ConnectionLostError(
            reason
              ? `The remote side ended the connection: ${shorten(reason, 1000)}`
              : "The remote side closed the connection",
          ),
        );
      }
    }
    const shown = shorten(printable(JSON.stringify(message).slice(0, 1000)), 100);
    throw new ProtocolError(`The peer sent an unknown message: ${shown}`);
  }

  #withReason(
    reason: unknown,
    form: unknown,
    attachments: Uint8Array,
    then: (reason: unknown) => void,
  ): void {
    if (form !== 1) return then(reason);
    let now = true;
    const go = (reason: unknown) => now ? then(reason) : this.guard(() => then(reason));
    new Incoming(this, attachments).take(reason, false, go, go);
    now = false;
  }

  #onRelease(counts: unknown): void {
    if (!Array.isArray(counts)) throw new ProtocolError("The peer sent a malformed release");
    this.#arrivals.whenSettled(() => {
      for (let i = 0; i < counts.length; i += 2) {
        const id = integer(counts[i]);
        const n = count(counts[i + 1]);
        if (id < 0) this.exports.release(-id, n);
        else this.#answering.onRelease(id);
      }
    });
  }

  #onOutput(message: OutputMessage, attachments: Uint8Array): void {
    const [, descriptor, offset, length] = message;
    const end = count(offset) + count(length);
    if (end > attachments.length) throw new ProtocolError("The peer sent malformed output");
    this.#options.onOutput?.(descriptor === 2 ? 2 : 1, attachments.subarray(offset, end));
  }

  #onPing(number: number): void {
    if (!this.#outbox.busy) this.#pongs = 0;
    if (++this.#pongs > PONGS) throw new ProtocolError("The peer asks, and does not listen");
    this.add(`[${Op.pong},${number}]`);
  }

  // ---- messages out

  /** Queues a message. */
  add(message: string): void {
    this.#outbox.add(message, message.length);
  }

  /** Sends what this side's program printed. */
  output(descriptor: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 32 << 10) {
      const piece = bytes.subarray(at, at + (32 << 10));
      this.#outbox.hold();
      const offset = this.#outbox.attach(piece);
      this.add(`[${Op.output},${descriptor},${offset},${piece.length}]`);
      this.#outbox.unhold();
    }
  }

  /** Sends what there is, now, instead of at the end of this turn. */
  flush(): void {
    this.#outbox.flush();
  }

  /** Tells the peer that a signal which it holds was aborted. */
  sendAbort(id: number, reason: unknown): void {
    if (this.#closeReason) return;
    this.addWithReason(`[${Op.abort},${id}`, reason);
  }

  /** Queues a message that ends with a reason, in one frame with the bytes of it. */
  addWithReason(head: string, reason: unknown): void {
    this.#outbox.hold();
    try {
      const { text, form } = this.#encodeReason(reason);
      this.add(`${head},${text},${form}]`);
    } finally {
      this.#outbox.unhold();
    }
  }

  /** A reason crosses whatever it is: what cannot, goes as its description. */
  #encodeReason(reason: unknown): Encoded {
    const outgoing = new Outgoing(this, true);
    try {
      const encoded = encode(reason, outgoing, "the reason", this.limits.depth);
      outgoing.sent();
      return encoded;
    } catch (error) {
      outgoing.withdraw();
      const text = error instanceof UncrossableError ? describe(reason) : String(error);
      return { text: JSON.stringify(text), form: 0 };
    }
  }

  // ---- what crossing needs

  /** The number of a new channel of this side. */
  newChannel(): number {
    return this.#flows.newChannel();
  }

  /** Notes the number of a channel that the peer opens, or refuses it. */
  peerOpens(channel: unknown): number {
    return this.#flows.peerOpens(channel);
  }

  openOutflow(channel: number, credit: number): Outflow {
    return this.#flows.openOutflow(channel, credit);
  }

  openInflow(channel: number, window: number, most: number, started: boolean): Inflow {
    return this.#flows.openInflow(channel, window, most, started);
  }

  attach(bytes: Uint8Array): number | undefined {
    const room = this.limits.frameBytes / 2 - HEAD;
    return this.#outbox.frameSize + bytes.length > Math.min(room, 512 << 10)
      ? undefined
      : this.#outbox.attach(bytes);
  }

  markAttached(): AttachedMark {
    return this.#outbox.markAttached();
  }

  detach(mark: AttachedMark): void {
    this.#outbox.detach(mark);
  }

  sendBlob(channel: number, bytes: Uint8Array, done: () => void): void {
    this.#outbox.addBulk(channel, bytes, done);
  }

  takeBlob(channel: number, length: number): Uint8Array {
    return this.#arrivals.take(channel, length);
  }

  lookUp(target: number, path: Path): unknown {
    return this.#answering.lookUp(target, path);
  }
}
