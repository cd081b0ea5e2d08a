/**
 * The half of a session that reaches its peer: calls of this side, references to the peer's objects, and what flows on
 * channels.
 *
 * An agent that is only called, and given and asked for nothing but values, does without it. So it is sent without it:
 * the code of this half, and of all that only it needs, follows when it is first needed.
 *
 * @module
 */

import type { Answer } from "./answers.ts";
import type { Arrivals } from "./arrivals.ts";
import { Asking, type AskingHost } from "./asking.ts";
import { type CallingSession, type CallOptions, SessionCaller } from "./caller.ts";
import type { Inflow, Outflow } from "./channels.ts";
import { count } from "./checks.ts";
import { type Incoming, Outgoing } from "./crossing.ts";
import { abortImported, type LiveBorder, refer, resolve } from "./crossing_live.ts";
import { ProtocolError, UncrossableError } from "./errors.ts";
import { type FlowHost, Flows } from "./flows.ts";
import { Imports } from "./imports.ts";
import type { Limits } from "./limits.ts";
import { How, type Message, Op, type Path } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import { type Base, stubInfo } from "./proxy.ts";
import type { Question, Result } from "./questions.ts";
import type { Session, SessionOptions } from "./session.ts";
import { describe } from "./text.ts";
import { encode, type Encoded } from "./values.ts";

/** So many references to be given back do not wait for the next tick. */
const RELEASES = 10_000;

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

/** Calls of this side, the peer's objects, and channels. */
export class Reaching implements CallingSession, AskingHost, FlowHost, LiveBorder {
  readonly asking: Asking;
  readonly flows: Flows;
  readonly imports: Imports;
  readonly caller: SessionCaller;
  /** How many promises of the peer's are being waited for. */
  awaited = 0;
  readonly #session: Session;
  readonly #outbox: Outbox;
  readonly #lacked: SessionOptions["rest"];
  #sentRest = false;
  readonly #toRelease = new Map<number, number>();
  readonly #pings = new Map<number, () => void>();
  #lastPing = 0;
  #calledSinceHeard = false;

  /** Nothing was asked yet. */
  constructor(
    session: Session,
    outbox: Outbox,
    arrivals: Arrivals,
    lacked: SessionOptions["rest"],
  ) {
    this.#session = session;
    this.#outbox = outbox;
    this.#lacked = lacked;
    this.imports = new Imports(session.limits.references, (id, n) => this.releaseLater(-id, n));
    this.asking = new Asking(this, session, outbox, arrivals);
    this.flows = new Flows(this, session, outbox, arrivals);
    this.caller = new SessionCaller(this, {});
  }

  /** Live numbers. */
  get stats(): SessionStats {
    return {
      bytesSent: this.#outbox.sent.bytes,
      bytesReceived: this.#session.received.bytes,
      framesSent: this.#outbox.sent.frames,
      framesReceived: this.#session.received.frames,
      roundTrips: this.asking.roundTrips,
      pending: this.asking.pending,
      localRefs: this.#session.exports.size,
      remoteRefs: this.imports.size,
    };
  }

  /** May the peer be silent because it works? Calls wait for it, or were sent since it was last heard. */
  get mayBeBusy(): boolean {
    return this.asking.pending > 0 || this.#calledSinceHeard;
  }

  /** Something came. */
  heard(): void {
    this.#calledSinceHeard = false;
  }

  /** Gives back what was collected; says whether there was something. */
  tick(): boolean {
    if (this.#toRelease.size === 0) return false;
    this.#release();
    return true;
  }

  /** The session is over. */
  end(reason: Error): void {
    this.asking.lose(reason);
    this.flows.lose(reason);
    this.imports.clear();
    for (const pong of this.#pings.values()) pong();
    this.#pings.clear();
    this.#toRelease.clear();
  }

  /** Asks the peer for a sign of life; resolves when it comes, or when the session is over. */
  ping(): Promise<void> {
    if (this.#session.closeReason) return Promise.resolve();
    const number = ++this.#lastPing;
    return new Promise((resolve) => {
      this.#pings.set(number, resolve);
      this.#session.add(`[${Op.ping},${number}]`);
    });
  }

  /** Sends the peer what it lacks of itself, if that was not done. */
  sendRest(): void {
    if (!this.#lacked || this.#sentRest) return;
    this.#sentRest = true;
    this.#session.add(`[${Op.rest},${this.#lacked.map((part) => JSON.stringify(part)).join()}]`);
  }

  // ---- messages in

  /** Messages that only this half has a use for; says whether this was one. */
  dispatch(message: Message, attachments: Uint8Array, frameText: number): boolean {
    switch (message[0]) {
      case Op.return:
      case Op.throw:
        this.asking.onAnswer(message, attachments);
        return true;
      case Op.credit:
        this.flows.onCredit(message);
        return true;
      case Op.items:
        this.flows.onItems(message, attachments, frameText);
        return true;
      case Op.end:
        this.flows.onEnd(message, attachments);
        return true;
      case Op.stop:
        this.flows.onStop(message, attachments);
        return true;
      case Op.need:
        if (!this.#lacked) throw new ProtocolError("The peer asked for what it does not lack");
        // It may be on its way already.
        this.sendRest();
        return true;
      case Op.pong: {
        const number = count(message[1]);
        const pong = this.#pings.get(number);
        if (!pong) throw new ProtocolError("The peer answered a ping that was not sent");
        this.#pings.delete(number);
        pong();
        return true;
      }
    }
    return false;
  }

  /** A signal of the peer's was aborted. */
  onAbort(signal: number, reason: unknown): void {
    abortImported(this.imports.stub(signal), reason);
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
    // Else the peer would have to ask for it.
    if (how === How.iterate || how === How.copy) this.sendRest();
    return this.asking.call(base, path, how, args, options, wanted);
  }

  /** Asks for a call's value. */
  pull(question: Question): Promise<unknown> {
    return this.asking.pull(question);
  }

  /** The peer's call that the running code descends from. */
  currentCall(): Answer | undefined {
    return this.#session.context?.current();
  }

  /** Gives back one introduction of a reference, or a result that nobody is going to ask for. */
  release(base: Base): void {
    if (base === null || this.#session.closeReason) return;
    if ("question" in base) {
      const { question } = base;
      const info = question.state === "fulfilled" ? stubInfo(question.value) : undefined;
      if (info?.kind === "reference") info.caller.release(info.base);
      else this.asking.release(question);
      return;
    }
    if (base.count <= 0) return;
    this.imports.release(base);
    this.#outbox.addBehind(`[${Op.release},[${-base.id},1]]`);
  }

  /** Gives something back with the next batch, if what was collected is given back at all. */
  releaseLater(id: number, n: number): void {
    if (this.#session.closeReason || !this.#session.gcEnabled) return;
    this.#toRelease.set(id, (this.#toRelease.get(id) ?? 0) + n);
    if (this.#toRelease.size >= RELEASES) this.#release();
  }

  #release(): void {
    const counts: number[] = [];
    for (const [id, n] of this.#toRelease) counts.push(id, n);
    this.#toRelease.clear();
    this.#outbox.addBehind(`[${Op.release},[${counts.join()}]]`);
  }

  // ---- crossing

  /** The text of what is no plain data. */
  refer(
    outgoing: Outgoing,
    value: unknown,
    path: string,
    encode: (value: unknown, path: string) => string,
  ): string {
    return refer(this, outgoing, value, path, encode);
  }

  /** What a tag stands for that is the peer's, or live. */
  resolve(incoming: Incoming, tag: unknown[], decode: (value: unknown) => unknown): unknown {
    return resolve(this, incoming, tag, decode);
  }

  get limits(): Limits {
    return this.#session.limits;
  }

  newChannel(): number {
    // Whoever is told of a channel needs this half too.
    this.sendRest();
    return this.#session.newChannel();
  }

  openOutflow(channel: number, credit: number): Outflow {
    return this.flows.openOutflow(channel, credit);
  }

  openInflow(channel: number, window: number, most: number, started: boolean): Inflow {
    return this.flows.openInflow(channel, window, most, started);
  }

  /** Tells the peer that a signal which it holds was aborted. */
  sendAbort(id: number, reason: unknown): void {
    if (this.#session.closeReason) return;
    this.addWithReason(`[${Op.abort},${id}`, reason);
  }

  /** Queues a message that ends with a reason, in one frame with the bytes of it. */
  addWithReason(head: string, reason: unknown): void {
    this.#session.together(() => {
      const { text, form } = this.#encodeReason(reason);
      this.#session.add(`${head},${text},${form}]`);
    });
  }

  /** A reason crosses whatever it is: what cannot, goes as its description. */
  #encodeReason(reason: unknown): Encoded {
    const outgoing = new Outgoing(this.#session, true);
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
}
