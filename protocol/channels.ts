/**
 * Channels: bytes and items that flow one way, held back by credit.
 *
 * A channel is opened by the message that carries its number. Whoever sends on it is its *source*, and
 * may have so many bytes under way as the *reader* gave it credit for; the reader gives more as it uses
 * up what came. Each channel ends with one `end` from its source and one `stop` from its reader, in either
 * order; then both forget it.
 *
 * @module
 */

import { ProtocolError } from "./errors.ts";

/** The credit that the source of a stream has before its reader said anything, in bytes. */
export const STREAM_CREDIT = 256 << 10;
/** The same for an iterator: little, as its items may be dear, and grows with the reader's appetite. */
export const ITERATOR_CREDIT = 4 << 10;

/** No reader gives more credit than this. A source that never waits would else never let anything else run. */
export const MOST_CREDIT = 256 << 20;

/** What a channel needs of its session. */
export interface ChannelPort {
  /** Sends credit to the source. */
  sendCredit(channel: number, amount: number): void;
  /** Sends bytes; calls back when they were taken. */
  sendBytes(channel: number, bytes: Uint8Array, taken: () => void): void;
  /** Sends items; gives what they cost. */
  sendItems(channel: number, items: unknown[]): number;
  /** If too much waits to be written: resolves when that has changed. */
  relieved(): Promise<void> | undefined;
  /** Sends the source's last message. */
  sendEnd(channel: number, failed: boolean, value: unknown): void;
  /** Sends the reader's last message. */
  sendStop(channel: number, early: boolean, reason: unknown): void;
  /** Both have ended. */
  closed(channel: number): void;
  /** Something here waits for the peer, or does no more. */
  waiting(waits: boolean): void;
}

/** What came on a channel. */
export type Arrival =
  | { readonly bytes: Uint8Array }
  | { readonly items: unknown[] }
  | { readonly failed: boolean; readonly value: unknown };

/** The reading end of a channel: a queue that gives credit as it is emptied. */
export class Inflow {
  readonly id: number;
  readonly #port: ChannelPort;
  readonly #most: number;
  #window: number;
  /** What the source may still send. It goes below zero by one message at most. */
  #open: number;
  #queue: (Arrival & { cost: number })[] = [];
  #at = 0;
  #used = 0;
  #ended = false;
  #stopped = false;
  #failed = false;
  #wake: (() => void) | undefined;

  /** Resolves when the source has ended. */
  readonly finished: Promise<{ failed: boolean; value: unknown }>;
  #finish!: (end: { failed: boolean; value: unknown }) => void;

  /**
   * Reads channel `id`. `window` is how many bytes may be under way, `most` how many that may become; a source
   * that has not `started` has no credit until the reader first waits.
   */
  constructor(id: number, port: ChannelPort, window: number, most: number, started = true) {
    this.id = id;
    this.#port = port;
    this.#window = window;
    this.#open = started ? window : 0;
    this.#used = started ? 0 : window;
    this.#most = most;
    this.finished = new Promise((resolve) => this.#finish = resolve);
  }

  /** Something came, at a cost of credit. */
  push(arrival: Arrival, cost: number): void {
    if (this.#ended) throw new ProtocolError(`The peer sent on channel ${this.id} after its end`);
    if ("failed" in arrival) {
      this.#ended = true;
      this.#finish(arrival);
    }
    // A source may begin a message with one byte of credit left: its last message may overdraw.
    if (cost > 0 && this.#open <= 0) {
      throw new ProtocolError(`The peer sent more on channel ${this.id} than it had credit for`);
    }
    this.#open -= cost;
    if (this.#stopped || this.#failed) {
      if (this.#ended && this.#stopped) this.#port.closed(this.id);
      return;
    }
    this.#queue.push({ ...arrival, cost });
    this.#wakeUp();
  }

  /** What came cannot be taken in: the reader gets the error in its place, and the source is stopped by that. */
  fail(error: unknown): void {
    if (this.#ended || this.#stopped || this.#failed) return;
    this.#failed = true;
    this.#queue.push({ failed: true, value: error, cost: 0 });
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Is there something to take? */
  get ready(): boolean {
    return this.#at < this.#queue.length;
  }

  /** What comes next, if it is here. */
  get next(): Arrival | undefined {
    return this.#queue[this.#at];
  }

  /** What came next, if anything has: its credit is given back. */
  take(): Arrival | undefined {
    if (this.#at >= this.#queue.length) return undefined;
    const arrival = this.#queue[this.#at]!;
    this.#queue[this.#at++] = NOTHING;
    if (this.#at > 64 && this.#at * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#at);
      this.#at = 0;
    }
    this.#used += arrival.cost;
    if (!("failed" in arrival)) this.grant();
    return arrival;
  }

  /** Resolves when there is something to take. */
  wait(): Promise<void> {
    if (this.#at < this.#queue.length || this.#stopped) return Promise.resolve();
    this.grant(true);
    this.#port.waiting(true);
    return new Promise((resolve) =>
      this.#wake = () => {
        this.#port.waiting(false);
        resolve();
      }
    );
  }

  /** Gives credit for what was used; `hungry` if the reader is waiting for more. */
  grant(hungry = false): void {
    if (this.#ended || this.#stopped) return;
    if (this.#used < this.#window / 4 && !(hungry && this.#open <= 0 && this.#used > 0)) return;
    let amount = this.#used;
    this.#used = 0;
    // A reader that has used up all that came is faster than the link: let more be under way.
    if (this.#at >= this.#queue.length && this.#window < this.#most) {
      const more = Math.min(this.#window, this.#most - this.#window);
      this.#window += more;
      amount += more;
    }
    this.#open += amount;
    this.#port.sendCredit(this.id, amount);
  }

  /** Resolves when the source has ended; until then the connection is in use. */
  async whenFinished(): Promise<{ failed: boolean; value: unknown }> {
    this.#port.waiting(true);
    try {
      return await this.finished;
    } finally {
      this.#port.waiting(false);
    }
  }

  /** The reader has had the end (`early` is false), or wants no more. */
  stop(early: boolean, reason?: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#queue = [];
    this.#at = 0;
    this.#port.sendStop(this.id, early || !this.#ended, reason);
    if (this.#ended) this.#port.closed(this.id);
    this.#wakeUp();
  }

  /** The link is gone: what is queued stays readable, then comes the error. */
  lose(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#finish({ failed: true, value: error });
    if (!this.#stopped) this.#queue.push({ failed: true, value: error, cost: 0 });
    this.#wakeUp();
  }
}

const NOTHING = { failed: false, value: undefined, cost: 0 };

/** The sending end of a channel. */
export class Outflow {
  readonly id: number;
  readonly #port: ChannelPort;
  #credit: number;
  #untaken = 0;
  #onTaken: (() => void)[] = [];
  #ended = false;
  #stopped = false;
  #wake: (() => void) | undefined;
  /** Resolves when the reader has stopped: with its reason, if it stopped early. */
  readonly stopped: Promise<{ early: boolean; reason: unknown }>;
  #resolveStopped!: (stop: { early: boolean; reason: unknown }) => void;

  /** Sends on channel `id`, with `credit` bytes to begin with. */
  constructor(id: number, port: ChannelPort, credit: number) {
    this.id = id;
    this.#port = port;
    this.#credit = credit;
    this.stopped = new Promise((resolve) => this.#resolveStopped = resolve);
  }

  /** May something be sent now? */
  get ready(): boolean {
    return this.#credit > 0;
  }

  /** Has either side ended it? */
  get over(): boolean {
    return this.#ended || this.#stopped;
  }

  /** Resolves when there is credit, or the reader has stopped. */
  whenReady(): Promise<void> {
    if (this.#credit > 0 || this.over) return Promise.resolve();
    this.#port.waiting(true);
    return new Promise((resolve) =>
      this.#wake = () => {
        this.#port.waiting(false);
        resolve();
      }
    );
  }

  /** Resolves when the reader has stopped; until then the connection is in use. */
  async whenStopped(): Promise<{ early: boolean; reason: unknown }> {
    this.#port.waiting(true);
    try {
      return await this.stopped;
    } finally {
      this.#port.waiting(false);
    }
  }

  /** Sends bytes, as credit allows. Resolves when the last of them was taken: they are the caller's again. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    await this.#queue(bytes);
    await this.#taken(0);
  }

  /**
   * Sends bytes that nobody else has, and does not wait until they were taken: the next ones fill the frame up. They are
   * gone then. Whatever else is sent then waits for {@linkcode Outflow.flushed}.
   */
  async sendAhead(bytes: Uint8Array): Promise<void> {
    await this.#queue(bytes, () => free(bytes));
    await this.#taken(AHEAD);
  }

  /** Resolves when all that was sent ahead was taken. */
  flushed(): Promise<void> {
    return this.#taken(0);
  }

  /** Hands bytes on, as credit allows. */
  async #queue(bytes: Uint8Array, sent?: () => void): Promise<void> {
    for (let at = 0; at < bytes.length && !this.over;) {
      if (this.#credit <= 0) await this.whenReady();
      if (this.over) return;
      const piece = bytes.subarray(at, at + Math.max(1, Math.min(this.#credit, PIECE)));
      at += piece.length;
      this.#credit -= piece.length;
      this.#untaken += piece.length;
      this.#port.sendBytes(this.id, piece, () => {
        this.#untaken -= piece.length;
        if (at === bytes.length) sent?.();
        for (const taken of this.#onTaken.splice(0)) taken();
      });
    }
  }

  /** Resolves when no more than so many of the bytes that were sent wait to be taken. */
  async #taken(most: number): Promise<void> {
    while (this.#untaken > most) await new Promise<void>((resolve) => this.#onTaken.push(resolve));
  }

  /** Sends items; they must have had credit. */
  sendItems(items: unknown[]): number {
    const size = this.#port.sendItems(this.id, items);
    this.#credit -= size;
    return size;
  }

  /** If too much waits to be written: resolves when that has changed. */
  relieved(): Promise<void> | undefined {
    return this.#port.relieved();
  }

  /** The reader gives credit. */
  grant(amount: number): void {
    this.#credit += amount;
    if (this.#credit > MOST_CREDIT) {
      throw new ProtocolError(`The peer gave too much credit on channel ${this.id}`);
    }
    // What the last message overdrew may come back in several parts.
    if (this.#credit > 0) this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** The source is at its end. */
  end(failed: boolean, value: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#port.sendEnd(this.id, failed, value);
    if (this.#stopped) this.#port.closed(this.id);
    this.#wakeUp();
  }

  /** The reader has stopped. */
  stop(early: boolean, reason: unknown): void {
    if (this.#stopped) throw new ProtocolError(`The peer stopped channel ${this.id} twice`);
    if (!early && !this.#ended) {
      throw new ProtocolError(`The peer has had everything on channel ${this.id} before its end`);
    }
    this.#stopped = true;
    if (this.#ended) this.#port.closed(this.id);
    this.#resolveStopped({ early, reason });
    this.#wakeUp();
  }

  /** The link is gone. */
  lose(error: unknown): void {
    if (this.#stopped) return;
    this.#ended = true;
    this.#stopped = true;
    this.#resolveStopped({ early: true, reason: error });
    this.#wakeUp();
  }
}

/**
 * Gives memory back that nobody else has. The next bytes get it while it is still in the processor's cache: the garbage
 * collector would let tens of MiB gather first.
 */
export function free(bytes: Uint8Array): void {
  // Node 20 has no such method.
  (bytes.buffer as ArrayBuffer).transfer?.(0);
}

const PIECE = 256 << 10;
/** So many bytes that were sent ahead may wait to be taken. */
const AHEAD = 256 << 10;
