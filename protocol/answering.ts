/**
 * Calls of the peer: they are run, and answered.
 *
 * @module
 */

import { type Access, isThenable, type RefOptions } from "./access.ts";
import { Answer } from "./answers.ts";
import type { Arrivals } from "./arrivals.ts";
import { blobSize } from "./blobs.ts";
import { ById } from "./by_id.ts";
import { count, integer, malformed } from "./checks.ts";
import { type Border, Incoming, isPath, LACKING, Outgoing } from "./crossing.ts";
import { ProtocolError } from "./errors.ts";
import { type CallMessage, How, Op, type Path } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import { encode, encodePlain } from "./values.ts";

/** Which call the running code belongs to; an interpreter's own way to know. */
export interface CallContext {
  /** Runs `work` on behalf of a call of the peer's. */
  run<T>(answer: Answer, work: () => T): T;
  /** The call that the running code descends from. */
  current(): Answer | undefined;
}

/** What answering needs of its session. */
export interface AnsweringHost extends Border {
  readonly closeReason: Error | undefined;
  /** What the peer finds at target 0. */
  readonly root: unknown;
  /** What the peer may do with the objects of this side. */
  readonly access: Access;
  /** Knows which call the running code descends from. */
  readonly context: CallContext | undefined;
  /** Queues a message. */
  add(message: string): void;
  /** Ends the session: the peer broke a rule. */
  fail(error: unknown): void;
  /** Runs what may fail with the session, where nobody else would catch it. */
  guard(work: () => void): void;
  /** Asks for the reaching half; calls back when it has come. */
  lack(then: () => void): void;
}

/** The calls of the peer that are not over, or whose results it may still use. */
export class Answering {
  readonly #host: AnsweringHost;
  readonly #outbox: Outbox;
  readonly #arrivals: Arrivals;
  readonly #answers = new ById<Answer>();
  /** The number of the peer's last call. It grows with each. */
  last = 0;
  /** Calls whose answers were sent and may still be used by the peer, in that order. */
  #unacknowledged: number[] = [];
  #unacknowledgedFrom = 0;
  /** How many bytes those answers have. */
  #untaken = 0;
  #sent = 0;
  #acknowledged = 0;

  /** The peer has called nothing yet. */
  constructor(host: AnsweringHost, outbox: Outbox, arrivals: Arrivals) {
    this.#host = host;
    this.#outbox = outbox;
    this.#arrivals = arrivals;
  }

  /** How many calls are being worked on. */
  get working(): number {
    let working = 0;
    for (const answer of this.#answers.values()) if (answer.state === "pending") working++;
    return working;
  }

  /** The peer calls. */
  onCall(message: CallMessage, attachments: Uint8Array): void {
    const [op, id, target, path, how, args, form, , blobs] = message;
    if (!Number.isSafeInteger(id) || id <= this.last) {
      throw new ProtocolError("The peer sent a call whose number is not new");
    }
    this.last = id;
    const { pendingCalls } = this.#host.limits;
    if (this.#answers.size >= pendingCalls) {
      throw new ProtocolError(
        `The peer sent more than ${pendingCalls} calls (limits.pendingCalls)`,
      );
    }
    if (!isPath(path)) throw malformed("path");
    const answer = new Answer(id, op === Op.callAndPull);
    this.#answers.add(answer);
    const at = integer(target);
    if (blobs === undefined) {
      this.#take(answer, at, path, how, args, form, attachments);
    } else {
      this.#arrivals.whenArrived(
        blobs,
        attachments,
        (held) => this.#take(answer, at, path, how, args, form, held),
      );
    }
  }

  #take(
    answer: Answer,
    target: number,
    path: Path,
    how: How,
    args: unknown,
    form: unknown,
    attachments: Uint8Array,
  ): void {
    const start = (args: unknown) => {
      if (!Array.isArray(args)) throw malformed("list of arguments");
      this.#start(answer, target, path, how, args);
    };
    if (args === undefined) return this.#start(answer, target, path, how, []);
    if (form !== 1) return start(args);
    let now = true;
    new Incoming(this.#host, attachments, answer).take(
      args,
      (args) => now ? start(args) : this.#host.guard(() => start(args)),
      (error) => this.#settle(answer, "rejected", error),
    );
    now = false;
  }

  #start(answer: Answer, target: number, path: Path, how: How, args: unknown[]): void {
    if (target === 0) {
      this.#perform(answer, this.#host.root, path, how, args, undefined);
    } else if (target < 0) {
      const { value, options } = this.#host.exports.get(-target);
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
    if (answer.cancelled) return this.#settle(answer, "rejected", answer.signal.reason);
    const { context, access } = this.#host;
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
    if (this.#host.closeReason) return;
    // An error is always reported: nobody may have asked for the value.
    if (answer.wanted || answer.dropped || state === "rejected") this.#reply(answer);
  }

  #reply(answer: Answer): void {
    if (answer.sent || this.#host.closeReason) return;
    const { answerBytes } = this.#host.limits;
    if (this.#untaken > answerBytes) {
      return this.#host.fail(
        new ProtocolError(
          `The peer left more than ${answerBytes} bytes of answers untaken (limits.answerBytes)`,
        ),
      );
    }
    answer.sent = true;
    try {
      answer.size = this.#sendAnswer(answer);
    } catch (error) {
      if (error !== LACKING) throw error;
      answer.sent = false;
      return this.#host.lack(() => this.#reply(answer));
    }
    this.#unacknowledged.push(answer.id);
    this.#sent = (this.#sent + 1) >>> 0;
    this.#untaken += answer.size;
  }

  #sendAnswer(answer: Answer): number {
    const { id, value } = answer;
    if (answer.state === "rejected") return this.#sendError(id, value);
    if (answer.dropped) {
      this.#host.add(`[${Op.return},${id},null]`);
      return 0;
    }
    try {
      return this.#send(Op.return, id, value, "the result");
    } catch (error) {
      if (error === LACKING) throw error;
      return this.#sendError(id, error);
    }
  }

  #sendError(id: number, error: unknown): number {
    try {
      return this.#send(Op.throw, id, error, "the error");
    } catch (worse) {
      if (worse === LACKING) throw worse;
      return this.#send(Op.throw, id, new Error(`${worse}`), "the error");
    }
  }

  #send(op: number, id: number, value: unknown, where: string): number {
    const plain = encodePlain(value, this.#host.limits.depth);
    if (plain !== undefined) {
      this.#host.add(`[${op},${id},${plain}]`);
      return plain.length;
    }
    this.#outbox.hold();
    const outgoing = new Outgoing(this.#host);
    try {
      const { text, form } = encode(value, outgoing, where, this.#host.limits.depth);
      const { blobs } = outgoing;
      const tail = blobs.length > 0 ? `,${form},[${blobs.join()}]]` : form === 1 ? ",1]" : "]";
      this.#host.add(`[${op},${id},${text}${tail}`);
      outgoing.sent();
      return blobs.length > 0 ? text.length + blobSize(blobs) : text.length;
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

  /** The peer asks for the value of an earlier call. */
  onPull(id: unknown): void {
    const answer = this.#answer(id);
    if (answer.wanted || answer.dropped) throw new ProtocolError("The peer asked twice");
    answer.wanted = true;
    if (answer.state !== "pending") this.#reply(answer);
  }

  /** The peer gives a result back that it never asked for. */
  onRelease(id: number): void {
    const answer = this.#answer(id);
    if (answer.wanted || answer.sent) return;
    answer.dropped = true;
    if (answer.state !== "pending") this.#reply(answer);
  }

  /** The peer has lost interest in a call. It is answered all the same. */
  onCancel(id: unknown, reason: unknown): void {
    const answer = this.#answers.get(count(id));
    if (!answer) {
      if (id as number > this.last) throw new ProtocolError(`The peer cancelled call ${id}`);
      return;
    }
    if (answer.sent) return;
    answer.dropped = true;
    if (answer.state === "pending") answer.cancel(reason);
    else this.#reply(answer);
  }

  /** The peer has taken in so many answers, modulo 2^32. */
  onAcknowledged(processed: number): void {
    if (processed === this.#acknowledged) return;
    const more = (processed - this.#acknowledged) >>> 0;
    if (more > (this.#sent - this.#acknowledged) >>> 0) {
      throw new ProtocolError("The peer acknowledged answers that were not sent");
    }
    this.#acknowledged = processed;
    this.#arrivals.whenSettled(() => this.#forget(more));
  }

  #forget(n: number): void {
    for (let i = 0; i < n; i++) {
      const id = this.#unacknowledged[this.#unacknowledgedFrom++]!;
      this.#untaken -= this.#answers.take(id)!.size;
    }
    if (this.#unacknowledgedFrom > 1024) {
      this.#unacknowledged = this.#unacknowledged.slice(this.#unacknowledgedFrom);
      this.#unacknowledgedFrom = 0;
    }
  }

  /** The value at a path from a target, as the peer names it; a promise if it is not there yet. */
  lookUp(target: number, path: Path): unknown {
    const { access, exports, root } = this.#host;
    const read = (value: unknown, options: RefOptions | undefined) =>
      path.length === 0 ? value : access(value, path, How.get, [], options);
    if (target === 0) return read(root, undefined);
    if (target < 0) {
      const { value, options } = exports.get(-target);
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

  /** The link is gone. */
  lose(reason: Error): void {
    for (const answer of this.#answers.values()) {
      if (answer.state === "pending") answer.cancel(reason);
    }
    this.#answers.clear();
    this.#unacknowledged = [];
  }
}
