/**
 * The protocol peer: bytes in, bytes out, closed with a reason.
 *
 * A session does no I/O, and starts no timer but the limits of calls that have one. Whoever owns it hands it what
 * arrives ({@linkcode Session.receive}), takes what is to be sent (`send`), and calls {@linkcode Session.tick} now
 * and then. Both sides run the same code; they differ in the object that they offer as a root, and in what they
 * let the other do.
 *
 * This file says who is told of which message. What happens then is elsewhere: calls of the peer in `answering.ts`, what
 * must wait in `arrivals.ts`, and all that reaches the peer in `reaching.ts`, which an agent has only when it is needed.
 *
 * @module
 */

import type { Access } from "./access.ts";
import { Answering, type AnsweringHost, type CallContext } from "./answering.ts";
import { type ArrivalHost, Arrivals } from "./arrivals.ts";
import type { AskingBorder } from "./asking.ts";
import { ChannelNumbers, type MakeArray } from "./blobs.ts";
import type { SessionCaller } from "./caller.ts";
import { count, integer, malformed, string } from "./checks.ts";
import { Incoming } from "./crossing.ts";
import { ConnectionClosedError, ConnectionLostError, ProtocolError } from "./errors.ts";
import { Exports } from "./exports.ts";
import type { FlowBorder } from "./flows.ts";
import { type AttachedMark, FrameReader, type FrameSink, HEAD, type ParseShort } from "./frame.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { type Message, Op, type OutputMessage, type Path } from "./messages.ts";
import { Outbox, type Send } from "./outbox.ts";
import { Reaching, type SessionStats } from "./reaching.ts";
import { printable, shorten } from "./text.ts";
import { parse } from "./values.ts";

export type { CallContext } from "./answering.ts";
export type { CallOptions } from "./caller.ts";
export type { SessionStats } from "./reaching.ts";

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
  /** Reads short frames sooner than the engine does. An agent goes without: each of its bytes is sent. */
  parseShort?: ParseShort;
  /** Makes the memory of a large value that comes. Default: an array like any other. */
  makeArray?: MakeArray;
  /** What the peer lacks of itself until it needs it: how it is packed, and the text of it. */
  rest?: readonly [packing: string, text: string];
  /**
   * Takes in what this side lacks until then of itself, the code of its reaching half. If it gives a promise, what came behind
   * it waits. Without this option nothing is lacking.
   */
  complete?: (packing: string, text: string) => void | Promise<void>;
}

/** After so many answers, or bytes, without an occasion to acknowledge them, they are acknowledged on their own. */
const ACKNOWLEDGE = 1000;
const ACKNOWLEDGE_BYTES = 1 << 20;
/** How many signs of life may wait to be taken by a peer that asked for them. */
const PONGS = 10_000;

/** One end of a connection. */
export class Session implements FrameSink, ArrivalHost, AnsweringHost, AskingBorder, FlowBorder {
  readonly limits: Limits;
  readonly exports: Exports = new Exports();
  readonly channels: ChannelNumbers;
  readonly access: Access;
  readonly root: unknown;
  readonly context: CallContext | undefined;
  readonly #options: SessionOptions;
  readonly #outbox: Outbox;
  readonly #reader: FrameReader;
  readonly #arrivals: Arrivals;
  readonly #answering: Answering;
  #reaching: Reaching | undefined;
  /** What waits for the reaching half. */
  #lacking: (() => void)[] | undefined;
  /** What came behind that half while it is being unpacked. */
  #behind: (() => void)[] | undefined;
  #pongs = 0;
  #waits = 0;
  #busy = false;
  /** What came so far. */
  readonly received = { bytes: 0, frames: 0 };
  /** Answers, and bytes, that had come when something was last sent. */
  #acknowledged = 0;
  #acknowledgedBytes = 0;
  #closeReason: Error | undefined;
  #written: Promise<void> = Promise.resolve();

  /** Makes one end; nothing is sent by it. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.access = options.access;
    this.root = options.root;
    this.context = options.context;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#reader = new FrameReader(this, this.limits.frameBytes, options.parseShort);
    this.channels = new ChannelNumbers(this.limits);
    this.#outbox = new Outbox(
      options.send,
      () => {
        this.#acknowledgedBytes = this.received.bytes;
        return (this.#acknowledged = this.#processed) >>> 0;
      },
      (error) =>
        this.end(
          new ConnectionLostError("The connection was lost: it cannot be written to", {
            cause: error,
          }),
        ),
    );
    this.#arrivals = new Arrivals(this, options.makeArray);
    this.#answering = new Answering(this, this.#outbox, this.#arrivals);
    if (!options.complete) this.#reach();
  }

  #reach(): void {
    this.#reaching = new Reaching(this, this.#outbox, this.#arrivals, this.#options.rest);
  }

  /** The half that reaches the peer, if it is there. */
  get reaching(): Reaching | undefined {
    return this.#reaching;
  }

  /** What makes calls of this side. */
  get caller(): SessionCaller {
    return this.#reaching!.caller;
  }

  get #processed(): number {
    return this.#reaching?.asking.processed ?? 0;
  }

  get #pending(): number {
    return this.#reaching?.asking.pending ?? 0;
  }

  /** Why the session is over, or `undefined` while it is not. */
  get closeReason(): Error | undefined {
    return this.#closeReason;
  }

  /** Live numbers; of a session that reaches its peer. */
  get stats(): SessionStats {
    return this.#reaching!.stats;
  }

  /** Is the outgoing half still writing, or about to? */
  get writing(): boolean {
    return this.#outbox.busy;
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
    return this.#reaching?.flows.size ?? 0;
  }

  // ---- the life of a session

  /**
   * Takes in the first `length` bytes of what came. A peer that breaks the rules ends the session; this does not throw.
   */
  receive(bytes: Uint8Array, length: number = bytes.length): void {
    if (this.#closeReason) return;
    this.received.bytes += length;
    this.#reaching?.heard();
    try {
      this.#reader.push(bytes, length);
    } catch (error) {
      this.fail(error);
      return;
    }
    const unacknowledged = this.#processed - this.#acknowledged;
    if (
      unacknowledged > ACKNOWLEDGE ||
      unacknowledged > 0 && this.received.bytes - this.#acknowledgedBytes > ACKNOWLEDGE_BYTES
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
    if (!this.#reaching?.tick() && this.#processed !== this.#acknowledged) {
      this.#outbox.acknowledge();
    }
  }

  /** Says goodbye, and ends. The owner sends what is queued, and closes the link. */
  close(reason: Error = new ConnectionClosedError()): void {
    if (this.#closeReason) return;
    // The peer is told the reason if it is not simply that this side closes.
    const told = reason instanceof ConnectionClosedError
      ? ""
      : `,${JSON.stringify(shorten(reason.message, 1000))}`;
    this.add(`[${Op.bye}${told}]`);
    this.#written = this.#outbox.finish();
    this.end(reason);
  }

  /** Ends the session because of what the peer did. */
  fail(error: unknown): void {
    this.close(
      error instanceof ProtocolError
        ? error
        : new ProtocolError("The peer sent something that cannot be handled", { cause: error }),
    );
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
    this.#reaching?.end(reason);
    this.#answering.lose(reason);
    this.#lacking = this.#behind = undefined;
    this.#arrivals.clear();
    this.exports.clear();
    this.#updateBusy();
    this.#options.onClose?.(reason);
  }

  /** Resolves when the last message has been written, or cannot be. */
  get written(): Promise<void> {
    return this.#written;
  }

  /** Asks the peer for a sign of life; resolves when it comes, or when the session is over. */
  ping(): Promise<void> {
    return this.#reaching?.ping() ?? Promise.resolve();
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
    const busy = this.#closeReason === undefined && (this.#pending > 0 || this.#waits > 0);
    if (busy === this.#busy) return;
    this.#busy = busy;
    this.#options.onBusy?.(busy);
  }

  /** Are collected references given back? */
  get gcEnabled(): boolean {
    return this.#options.gcEnabled?.() ?? true;
  }

  // ---- the other half

  /** Asks for the reaching half; calls back when it has come. */
  lack(then: () => void): void {
    if (this.#lacking) {
      this.#lacking.push(then);
    } else {
      this.#lacking = [then];
      this.add(`[${Op.need}]`);
    }
  }

  #onRest(packing: string, text: string): void {
    const { complete } = this.#options;
    if (!complete || this.#reaching || this.#behind) {
      throw new ProtocolError("The peer sent what nothing lacks");
    }
    const done = () => {
      this.#reach();
      const waiting = this.#lacking ?? [];
      this.#lacking = undefined;
      for (const then of waiting) then();
    };
    const completing = complete(packing, text);
    if (!completing) return done();
    this.#behind = [done];
    completing.then(
      () =>
        this.guard(() => {
          const behind = this.#behind ?? [];
          this.#behind = undefined;
          for (const work of behind) work();
        }),
      (error) => this.fail(error),
    );
  }

  // ---- messages in

  /** A frame of messages. Called by the frame reader. */
  messages(text: string, attachments: Uint8Array, acknowledged: number): void {
    const messages = text === "" ? [] : parse(text, this.limits.depth);
    this.parsed(messages, text.length, attachments, acknowledged);
  }

  /** The same, read. Called by the frame reader, too. */
  parsed(messages: unknown, size: number, attachments: Uint8Array, acknowledged: number): void {
    if (this.#closeReason) return;
    this.received.frames++;
    if (!Array.isArray(messages)) throw malformed("frame");
    this.#dispatchAll(messages, attachments, acknowledged, size);
  }

  #dispatchAll(
    messages: Message[],
    attachments: Uint8Array,
    acknowledged: number,
    frameText: number,
  ): void {
    for (let i = 0; i < messages.length && !this.#behind; i++) {
      this.#dispatch(messages[i]!, attachments, frameText);
      if (this.#closeReason) return;
      if (this.#behind) messages = messages.slice(i + 1);
    }
    if (this.#behind) {
      const held = attachments.slice();
      this.#behind.push(() => this.#dispatchAll(messages, held, acknowledged, frameText));
    } else {
      this.#answering.onAcknowledged(acknowledged);
    }
  }

  /** Bytes of a channel. Called by the frame reader. */
  chunk(channel: number, bytes: Uint8Array): void {
    if (this.#closeReason) return;
    if (this.#behind) {
      const held = bytes.slice();
      this.#behind.push(() => this.chunk(channel, held));
      return;
    }
    // The sender's own channels are negative here.
    if (channel > 0 && this.#arrivals.fill(channel, bytes)) return;
    if (!this.#reaching) {
      throw new ProtocolError(`The peer sent on channel ${channel}, which is not open`);
    }
    this.#reaching.flows.onBytes(-channel, bytes);
  }

  #dispatch(message: Message, attachments: Uint8Array, frameText: number): void {
    if (!Array.isArray(message)) throw malformed("message");
    switch (message[0]) {
      case Op.call:
      case Op.callAndPull:
        return this.#answering.onCall(message, attachments);
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
      case Op.abort: {
        const [, id, reason, form] = message;
        const signal = count(id);
        return this.#withReason(
          reason,
          form,
          attachments,
          // The signal may be in a message that waits for its blobs.
          (reason) => this.#arrivals.whenSettled(() => this.#reaching?.onAbort(signal, reason)),
        );
      }
      case Op.output:
        return this.#onOutput(message, attachments);
      case Op.ping:
        return this.#onPing(count(message[1]));
      case Op.hello: {
        const settings: unknown = message[1];
        if (typeof settings !== "object" || settings === null) {
          throw malformed("greeting");
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
      case Op.rest:
        return this.#onRest(string(message[1]), string(message[2]));
    }
    if (this.#reaching?.dispatch(message, attachments, frameText)) return;
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
    new Incoming(this, attachments).take(reason, go, go);
    now = false;
  }

  #onRelease(counts: unknown): void {
    if (!Array.isArray(counts)) throw malformed("release");
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
    if (end > attachments.length) throw malformed("output");
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
      this.together(() => {
        const offset = this.#outbox.attach(piece);
        this.add(`[${Op.output},${descriptor},${offset},${piece.length}]`);
      });
    }
  }

  /** Sends what there is, now, instead of at the end of this turn. */
  flush(): void {
    this.#outbox.flush();
  }

  /** What `work` adds goes in one frame, with the bytes that belong to it. */
  together(work: () => void): void {
    this.#outbox.hold();
    try {
      work();
    } finally {
      this.#outbox.unhold();
    }
  }

  // ---- what crossing needs

  newChannel(): number {
    return this.channels.next();
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
