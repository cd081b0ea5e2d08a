/**
 * Calls, at both ends: a question is a call of this side, an answer is one of the peer's.
 *
 * @module
 */

import { addLocalStack, RemoteError } from "./errors.ts";
import type { LateMessage } from "./frame.ts";

/** Where a call stands. */
export type CallState = "pending" | "fulfilled" | "rejected";

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
  #body: string;
  readonly #onSent: ((question: Question) => void) | undefined;
  #promise: Promise<unknown> | undefined;
  #resolve: ((value: unknown) => void) | undefined;
  #reject: ((error: unknown) => void) | undefined;

  /** `body` is the text of its message after the first item; `onSent` hears of it if its value was not asked for. */
  constructor(id: number, body: string, onSent?: (question: Question) => void) {
    this.id = id;
    this.#body = body;
    this.#onSent = onSent;
  }

  /** A question that a promise of this side answers. */
  static local(promise: Promise<unknown>): Question {
    const question = new Question(0, "");
    question.wanted = true;
    question.sent = true;
    promise.then((value) => question.fulfill(value), (error) => question.reject(error));
    return question;
  }

  /** A question that failed before it was sent. If nobody looks, that is an unhandled rejection. */
  static failed(error: unknown): Question {
    const question = new Question(0, "");
    question.wanted = true;
    question.sent = true;
    question.reject(error);
    return question;
  }

  /** The message, with or without the request for its value. */
  text(): string {
    this.sent = true;
    const text = (this.wanted ? "[2," : "[1,") + this.#body + "]";
    this.#body = "";
    if (!this.wanted) this.#onSent?.(this);
    this.result = undefined;
    return text;
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

/** A call that the peer made. */
export class Answer {
  readonly id: number;
  /** Has the peer asked for the value? */
  wanted: boolean;
  /** Does the peer want no more than to know that it is over? */
  dropped = false;
  /** Has the answer been sent? */
  sent = false;
  /** Has the caller lost interest? Then it does not even start. */
  cancelled = false;
  /** How many bytes its answer has. */
  size = 0;
  state: CallState = "pending";
  value: unknown = undefined;
  /** What the call must keep alive until it is over: signals that came with it. */
  pins: unknown[] | undefined = undefined;
  #cancel: AbortController | undefined;
  #waiting: (() => void)[] | undefined;

  constructor(id: number, wanted: boolean) {
    this.id = id;
    this.wanted = wanted;
  }

  /** Is aborted when the caller loses interest. */
  get signal(): AbortSignal {
    return (this.#cancel ??= new AbortController()).signal;
  }

  /** The caller has lost interest. */
  cancel(reason: unknown): void {
    this.dropped = true;
    this.cancelled = true;
    this.#cancel ??= new AbortController();
    this.#cancel.abort(reason);
  }

  /** Settles it. */
  settle(state: "fulfilled" | "rejected", value: unknown): void {
    this.state = state;
    this.value = value;
    this.pins = undefined;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) { for (const then of waiting) then(); }
  }

  /** Calls back when it is settled. */
  whenSettled(then: () => void): void {
    if (this.state !== "pending") then();
    else (this.#waiting ??= []).push(then);
  }
}
