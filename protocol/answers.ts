/**
 * A call of the peer's, and where it stands.
 *
 * @module
 */

/** Where a call stands. */
export type CallState = "pending" | "fulfilled" | "rejected";

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
