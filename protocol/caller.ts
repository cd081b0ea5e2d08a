/**
 * What stubs call: a session, with the options that go with each call.
 *
 * @module
 */

import type { Result } from "./questions.ts";
import { How, type Path } from "./messages.ts";
import { type Base, type Caller, referenceStub } from "./proxy.ts";
import type { Question } from "./questions.ts";
import type { Import } from "./imports.ts";

/** What goes with one call. */
export interface CallOptions {
  /** Gives the call up when it is aborted: the peer is told, and the call rejects with its reason. */
  signal?: AbortSignal;
  /** Gives the call up after so many milliseconds, with a `TimeoutError`. Default: no limit. */
  timeout?: number;
}

/** What a caller needs of a session. */
export interface CallingSession {
  readonly caller: SessionCaller;
  call(
    base: Base,
    path: Path,
    how: How,
    args: unknown[],
    options: CallOptions,
    wanted: boolean,
  ): Result;
  pull(question: Question): Promise<unknown>;
  release(base: Base): void;
}

/** Calls of one session, all with the same options. */
export class SessionCaller implements Caller {
  readonly session: CallingSession;
  readonly #options: CallOptions;

  /** Calls on `session` with `options`; refuses a time limit that is none. */
  constructor(session: CallingSession, options: CallOptions) {
    const { timeout } = options;
    if (timeout !== undefined && !(typeof timeout === "number" && timeout >= 0)) {
      throw new RangeError(
        `Cannot use timeout ${timeout}: expected milliseconds, zero or more`,
      );
    }
    this.session = session;
    this.#options = options;
  }

  /** The same calls with other options. */
  with(options: CallOptions): SessionCaller {
    return new SessionCaller(this.session, options);
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
