/**
 * Which call of the peer the running code belongs to. A peer that runs several calls at once needs to know: what a callback
 * calls in its turn is run by the thread that waits for that callback, which may hold a lock.
 *
 * @module
 */

import type { Answer } from "../protocol/answers.ts";
import type { CallContext } from "../protocol/session.ts";

/** Follows the running code through everything that it awaits. Loaded only for peers that have threads. */
export async function callContext(): Promise<CallContext> {
  const { AsyncLocalStorage } = await import("node:async_hooks");
  const storage = new AsyncLocalStorage<Answer>();
  return {
    run: (answer, work) => storage.run(answer, work),
    current() {
      const answer = storage.getStore();
      return answer?.state === "pending" ? answer : undefined;
    },
  };
}

/** A context of which it is known only later whether the peer has use for one. */
export class LateContext implements CallContext {
  #context: CallContext | undefined;

  /** From now on the peer's calls are followed. */
  become(context: CallContext): void {
    this.#context = context;
  }

  run<T>(answer: Answer, work: () => T): T {
    return this.#context ? this.#context.run(answer, work) : work();
  }

  current(): Answer | undefined {
    return this.#context?.current();
  }
}
