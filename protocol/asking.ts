/**
 * Calls of this side: they leave, their values are asked for, and their answers come.
 *
 * @module
 */

import type { Answer } from "./answers.ts";
import type { Arrivals } from "./arrivals.ts";
import { ById } from "./by_id.ts";
import type { CallOptions } from "./caller.ts";
import { type Border, Incoming, Outgoing } from "./crossing.ts";
import { pathText, readPath } from "./crossing_live.ts";
import { ProtocolError } from "./errors.ts";
import { How, Op, type Path, type ReturnMessage, type ThrowMessage } from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import { type Base, stubInfo } from "./proxy.ts";
import { thrown } from "./remote_error.ts";
import { Question, Result } from "./questions.ts";
import { describe } from "./text.ts";
import { encode, encodePlain } from "./values.ts";

/** What asking needs of its half of the session. */
export interface AskingHost {
  /** The peer's call that the running code descends from. */
  currentCall(): Answer | undefined;
  /** Queues a message that ends with a reason, whatever it is. */
  addWithReason(head: string, reason: unknown): void;
  /** Gives a result back with the next batch. */
  releaseLater(id: number, n: number): void;
}

/** What asking needs of its session. */
export interface AskingBorder extends Border {
  readonly closeReason: Error | undefined;
  /** Queues a message. */
  add(message: string): void;
  /** The first call waits for its value, or the last one does no more. */
  busy(): void;
}

/** What a call has at most around its two texts, in characters: brackets, a number and its kind. */
const AROUND = 24;

/** A longer time is no limit: timers do not reach further. */
const LONGEST_TIMEOUT = 2 ** 31 - 1;

/** The calls of this side that are not over. */
export class Asking {
  readonly #host: AskingHost;
  readonly #border: AskingBorder;
  readonly #outbox: Outbox;
  readonly #arrivals: Arrivals;
  readonly #questions = new ById<Question>();
  readonly #abandoned = new Set<number>();
  /** Answered, but parts of the answer are still on their way. */
  readonly #arriving = new Set<Question>();
  readonly #droppedResults: FinalizationRegistry<Question>;
  /** A call has left whose value nobody has asked for: when nobody can any more, the peer may forget it. */
  readonly #watch = (question: Question) => {
    if (question.result) this.#droppedResults.register(question.result, question);
  };
  #last = 0;
  /** What the last call was about, and the text of that. */
  #lastPath: Path | undefined;
  #lastTarget = 0;
  #lastHow: How = How.get;
  #lastAbout = "";
  #wanted = 0;
  #unprocessed: { done: boolean }[] = [];
  /** Answers of the peer that were taken in, in the order in which they came. */
  processed = 0;
  /** Answers that were waited for. */
  roundTrips = 0;

  /** Nothing was asked yet. */
  constructor(host: AskingHost, border: AskingBorder, outbox: Outbox, arrivals: Arrivals) {
    this.#host = host;
    this.#border = border;
    this.#outbox = outbox;
    this.#arrivals = arrivals;
    this.#droppedResults = new FinalizationRegistry((question) => {
      if (question.state !== "pending" || question.wanted || question.dropped) return;
      question.dropped = true;
      host.releaseLater(question.id, 1);
    });
  }

  /** How many values are waited for. */
  get pending(): number {
    return this.#wanted;
  }

  /** Sends a call. What is wrong with it becomes its error. */
  call(
    base: Base,
    path: Path,
    how: How,
    args: unknown[],
    options: CallOptions,
    wanted: boolean,
  ): Result {
    const { closeReason, limits } = this.#border;
    if (closeReason) return new Result(Question.failed(closeReason));
    let target = 0;
    if (base !== null) {
      if ("question" in base) {
        const { question } = base;
        if (question.state !== "pending" || question.id === 0) {
          return new Result(this.#callSettled(question, path, how, args, options));
        }
        if (question.dropped) return new Result(Question.failed(released()));
        question.handedOn = true;
        target = question.id;
      } else {
        if (base.count <= 0) return new Result(Question.failed(released()));
        target = -base.id;
      }
    }
    const { signal, timeout } = options;
    if (signal?.aborted) return new Result(Question.failed(signal.reason));
    const parent = this.#host.currentCall()?.id;
    let question: Question;
    this.#outbox.hold();
    try {
      let sent: Outgoing | undefined;
      let about = "";
      let rest = "";
      try {
        about = this.#aboutText(target, path, how);
        const plain = parent === undefined ? encodePlain(args, limits.depth) : undefined;
        if (plain !== undefined) {
          if (plain !== "[]") rest += `,${plain}`;
        } else {
          sent = new Outgoing(this.#border);
          const encoded = encode(args, sent, "args", limits.depth);
          rest += `,${encoded.text}`;
          if (sent.blobs.length > 0) {
            rest += `,${encoded.form},${parent ?? 0},[${sent.blobs.join()}]`;
          } else if (parent !== undefined) {
            rest += `,${encoded.form},${parent}`;
          } else if (encoded.form === 1) {
            rest += ",1";
          }
        }
      } catch (error) {
        sent?.withdraw();
        return new Result(Question.failed(error));
      }
      // What was read to encode the arguments may have made calls of its own, or ended all of them.
      if (this.#border.closeReason) return new Result(Question.failed(this.#border.closeReason));
      if (signal?.aborted) {
        sent?.withdraw();
        return new Result(Question.failed(signal.reason));
      }
      const id = ++this.#last;
      question = new Question(id, about, rest, this.#watch);
      this.#questions.add(question);
      if (wanted) this.#want(question);
      this.#outbox.add(question, about.length + rest.length + AROUND);
      sent?.sent();
    } finally {
      this.#outbox.unhold();
    }
    if (signal || timeout !== undefined) this.#limit(question, signal, timeout);
    const result = new Result(question);
    if (!wanted) question.result = result;
    return result;
  }

  /** A function that is called again and again has the same path each time. */
  #aboutText(target: number, path: Path, how: How): string {
    if (path === this.#lastPath && target === this.#lastTarget && how === this.#lastHow) {
      return this.#lastAbout;
    }
    const text = `,${target},${pathText(path, "a path")},${how}`;
    this.#lastPath = path;
    this.#lastTarget = target;
    this.#lastHow = how;
    return this.#lastAbout = text;
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
      if (info?.kind === "reference" && info.caller.session === this.#host) {
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

  #limit(question: Question, signal: AbortSignal | undefined, timeout: number | undefined): void {
    const listener = () => this.cancel(question, signal!.reason);
    signal?.addEventListener("abort", listener, { once: true });
    const timer = timeout === undefined || timeout > LONGEST_TIMEOUT ? undefined : setTimeout(
      () =>
        this.cancel(
          question,
          new DOMException(`The call took longer than ${timeout} ms`, "TimeoutError"),
        ),
      timeout,
    );
    question.onSettled = () => {
      signal?.removeEventListener("abort", listener);
      clearTimeout(timer);
    };
  }

  /** Gives a call up: it rejects now, and the peer is told. */
  cancel(question: Question, reason: unknown): void {
    if (question.state !== "pending" || question.id === 0 || this.#border.closeReason) return;
    if (!this.#questions.take(question.id)) return;
    this.#abandoned.add(question.id);
    this.#host.addWithReason(`[${Op.cancel},${question.id}`, reason);
    if (question.wanted) {
      this.#unwant();
      question.reject(reason);
    } else {
      // Nobody has asked for its value, so it may be over long since: that is no failure.
      question.lose(reason);
    }
  }

  /** Asks for a call's value. */
  pull(question: Question): Promise<unknown> {
    if (!question.wanted && question.state === "pending") {
      if (question.dropped) return Promise.reject(released());
      this.#want(question);
      if (question.sent) this.#border.add(`[${Op.pull},${question.id}]`);
    }
    return question.promise;
  }

  #want(question: Question): void {
    question.wanted = true;
    if (++this.#wanted === 1) this.#border.busy();
  }

  #unwant(): void {
    if (--this.#wanted === 0) this.#border.busy();
  }

  /** Gives back a result that nobody is going to ask for. */
  release(question: Question): void {
    if (question.state !== "pending" || question.id === 0) return;
    if (question.wanted || question.dropped) return;
    question.dropped = true;
    this.#outbox.addBehind(`[${Op.release},[${question.id},1]]`);
  }

  /** The peer answers. */
  onAnswer(message: ReturnMessage | ThrowMessage, attachments: Uint8Array): void {
    const [op, id, value, form, blobs] = message;
    const question = this.#questions.get(id);
    if (question === undefined) {
      if (!this.#abandoned.delete(id)) {
        throw new ProtocolError(`The peer answered call ${String(id)}, which is not waiting`);
      }
    } else {
      if (!question.sent || op === Op.return && !question.wanted && !question.dropped) {
        throw new ProtocolError(`The peer answered call ${id} before it was asked`);
      }
      this.#questions.take(id);
    }
    if (form !== 1) {
      this.#processOne();
      this.#finish(question, op, value);
    } else if (blobs === undefined) {
      this.#take(question, op, value, attachments, undefined);
    } else {
      const place = this.#wait(question);
      this.#arrivals.whenArrived(
        blobs,
        attachments,
        (held) => this.#take(question, op, value, held, place),
      );
    }
  }

  #take(
    question: Question | undefined,
    op: number,
    value: unknown,
    attachments: Uint8Array,
    place: { done: boolean } | undefined,
  ): void {
    let finished = false;
    const finish = (op: number, value: unknown) => {
      finished = true;
      if (place) this.#arrived(question, place);
      else this.#processOne();
      this.#finish(question, op, value);
    };
    try {
      new Incoming(this.#border, attachments).take(
        value,
        (value) => finish(op, value),
        (error) => finish(Op.throw, error),
        op === Op.throw ? thrown : undefined,
      );
    } finally {
      // Also where the session is going to end for what was sent: the question hears of it.
      if (!finished) place ??= this.#wait(question);
    }
  }

  /** The answer stays in its place of the order: what is acknowledged, the peer forgets. */
  #wait(question: Question | undefined): { done: boolean } {
    const place = { done: false };
    this.#unprocessed.push(place);
    if (question) this.#arriving.add(question);
    return place;
  }

  #arrived(question: Question | undefined, place: { done: boolean }): void {
    if (question) this.#arriving.delete(question);
    place.done = true;
    let done = 0;
    while (this.#unprocessed[done]?.done) done++;
    this.processed += done;
    this.#unprocessed.splice(0, done);
  }

  #processOne(): void {
    if (this.#unprocessed.length > 0) this.#unprocessed.push({ done: true });
    else this.processed++;
  }

  #finish(question: Question | undefined, op: number, value: unknown): void {
    if (question === undefined || question.state !== "pending") return;
    if (question.wanted) {
      this.roundTrips++;
      this.#unwant();
    }
    if (op === Op.return) {
      question.fulfill(value);
      return;
    }
    question.reject(value);
  }

  /** The link is gone. */
  lose(reason: Error): void {
    const questions = [...this.#questions.values(), ...this.#arriving];
    this.#questions.clear();
    this.#arriving.clear();
    this.#abandoned.clear();
    this.#unprocessed = [];
    this.#wanted = 0;
    for (const question of questions) question.lose(reason);
  }
}

function released(): ReferenceError {
  return new ReferenceError("Cannot use a reference that was released");
}
