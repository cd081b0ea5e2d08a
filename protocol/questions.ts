/**
 * A call of this side, and what users hold of it.
 *
 * @module
 */

import type { CallState } from "./answers.ts";
import { Op } from "./messages.ts";
import { addLocalStack, RemoteError } from "./remote_error.ts";
import { type LateMessage, writeAscii, writeNumber } from "./frame.ts";

/** A call that this side made. Its value is fetched only if somebody wants it. */
export class Question implements LateMessage {
  /** Its number; 0 for one that never leaves this side. */
  readonly id: number;
  /** Has its value been asked for? */
  wanted = false;
  /** Has its message left? */
  sent = false;
  /** Was it used in another call, which will report its error? */
  handedOn = false;
  /** Does nobody hold it any more? Its answer is then only waited for because it may be an error. */
  dropped = false;
  state: CallState = "pending";
  value: unknown = undefined;
  /** What the user's stubs hold, until the message leaves; then only they do. */
  result: Result | undefined = undefined;
  /** Takes the abort listener of a call with a signal away. */
  onSettled: (() => void) | undefined = undefined;
  #about: string;
  #rest: string;
  readonly #onSent: ((question: Question) => void) | undefined;
  #promise: Promise<unknown> | undefined;
  #resolve: ((value: unknown) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /**
   * `about` is the text of its message behind its number up to how it is used, as many calls have the same, and `rest`
   * what follows; `onSent` hears of it if its value was not asked for.
   */
  constructor(id: number, about = "", rest = "", onSent?: (question: Question) => void) {
    this.id = id;
    this.#about = about;
    this.#rest = rest;
    this.#onSent = onSent;
  }

  /** A question that a promise of this side answers. */
  static local(promise: Promise<unknown>): Question {
    const question = new Question(0);
    question.wanted = true;
    question.sent = true;
    promise.then((value) => question.fulfill(value), (error) => question.reject(error));
    return question;
  }

  /** A question that failed before it was sent. If nobody looks, that is an unhandled rejection. */
  static failed(error: unknown): Question {
    const question = new Question(0);
    question.wanted = true;
    question.sent = true;
    question.reject(error);
    return question;
  }

  /** The message, with or without the request for its value. */
  text(): string {
    const text = `[${this.#op},${this.id}${this.#about}${this.#rest}]`;
    this.#leave();
    return text;
  }

  /** The same, written. */
  write(to: Uint8Array, at: number): number {
    to[at] = 0x5b;
    to[at + 1] = 0x30 + this.#op;
    to[at + 2] = 0x2c;
    let end = writeNumber(this.id, to, at + 3);
    end = writeAscii(this.#about, to, end);
    if (end > 0) end = writeAscii(this.#rest, to, end);
    if (end === 0) return 0;
    to[end] = 0x5d;
    this.#leave();
    return end + 1;
  }

  get #op(): number {
    return this.wanted ? Op.callAndPull : Op.call;
  }

  #leave(): void {
    this.sent = true;
    this.#about = this.#rest = "";
    if (!this.wanted) this.#onSent?.(this);
    this.result = undefined;
  }

  /** The promise of its value. */
  get promise(): Promise<unknown> {
    if (this.#promise === undefined) {
      if (this.state === "pending") {
        this.#promise = new Promise((resolve, reject) => {
          this.#resolve = resolve;
          this.#reject = reject;
        }).then(undefined, rethrow);
      } else {
        this.#promise = this.state === "fulfilled"
          ? Promise.resolve(this.value)
          : Promise.reject(this.value);
      }
    }
    return this.#promise;
  }

  /** Its value has come. */
  fulfill(value: unknown): void {
    if (this.state !== "pending") return;
    this.state = "fulfilled";
    this.value = value;
    this.#resolve?.(value);
    this.onSettled?.();
  }

  /** It has failed. An error that nobody is going to see becomes an unhandled rejection. */
  reject(error: unknown): void {
    if (this.state !== "pending") return;
    this.state = "rejected";
    this.value = error;
    if (this.#reject) this.#reject(error);
    else if (!this.handedOn) void this.promise;
    this.onSettled?.();
  }

  /** The link is gone. Nobody is told who did not ask. */
  lose(error: unknown): void {
    if (this.state !== "pending") return;
    this.handedOn = true;
    this.reject(error);
  }
}

/**
 * Gives a remote error the stack of the code that waits for it. Here, in a reaction of the promise that it awaits,
 * the engine knows that code; to remember it at each call would cost a microsecond or two.
 */
function rethrow(error: unknown): never {
  if (error instanceof RemoteError) {
    const here: { stack?: string } = {};
    Error.captureStackTrace?.(here, rethrow);
    addLocalStack(error, here.stack);
  }
  throw error;
}

/** What users' stubs hold of a call. When it is collected, nobody can ask for the value any more. */
export class Result {
  readonly question: Question;

  constructor(question: Question) {
    this.question = question;
  }
}
