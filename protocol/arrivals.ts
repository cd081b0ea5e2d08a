/**
 * What cannot be handled the moment it comes: messages that wait for their blobs, and whatever must not
 * overtake them.
 *
 * A call that waits for a large argument does not hold up the calls behind it. But nothing is taken
 * from under it (what gives things back, or aborts them, waits), and each channel keeps its order.
 *
 * @module
 */

import { Blobs, type ChannelNumbers } from "./blobs.ts";
import { count } from "./checks.ts";
import { ProtocolError } from "./errors.ts";
import type { Limits } from "./limits.ts";

/** What arrivals need of their session. */
export interface ArrivalHost {
  readonly limits: Limits;
  /** The numbers of all channels. */
  readonly channels: ChannelNumbers;
  /** Something here waits for the peer, or does no more. */
  waiting(waits: boolean): void;
  /** Runs what may fail with the session, where nobody else would catch it. */
  guard(work: () => void): void;
}

/** Does something with a message of a channel, and calls `next` when the one behind it may follow. */
type Turn = (attachments: Uint8Array, next: () => void) => void;

interface Line {
  readonly waiting: { go: (() => void) | undefined }[];
  busy: boolean;
}

/** The waiting room of a session. */
export class Arrivals {
  readonly #host: ArrivalHost;
  readonly #blobs: Blobs;
  readonly #lines = new Map<number, Line>();
  #deferred = 0;
  #after: (() => void)[] = [];

  /** Nobody waits yet. */
  constructor(host: ArrivalHost) {
    this.#host = host;
    this.#blobs = new Blobs(host.limits);
  }

  /** Does nothing wait for its blobs? */
  get settled(): boolean {
    return this.#deferred === 0;
  }

  /** Some bytes of a blob; says whether they were that. */
  fill(channel: number, bytes: Uint8Array): boolean {
    return this.#blobs.fill(channel, bytes);
  }

  /** The bytes of a blob that has arrived. */
  take(channel: number, length: number): Uint8Array {
    return this.#blobs.take(channel, length);
  }

  /** Calls back when all the blobs of a message have arrived, with the attachments of its frame. */
  whenArrived(
    blobs: unknown,
    attachments: Uint8Array,
    then: (attachments: Uint8Array) => void,
  ): void {
    this.#await(blobs, attachments, (held, done) => {
      then(held);
      done();
    });
  }

  /** `then` gets a way to say that the blobs are not needed any more. */
  #await(
    blobs: unknown,
    attachments: Uint8Array,
    then: (attachments: Uint8Array, done: () => void) => void,
  ): void {
    if (!Array.isArray(blobs) || blobs.length % 2 !== 0) {
      throw new ProtocolError("The peer sent a malformed list of channels");
    }
    const channels: number[] = [];
    for (let i = 0; i < blobs.length; i += 2) {
      const channel = this.#host.channels.peerOpens(blobs[i]);
      this.#blobs.announce(channel, count(blobs[i + 1]));
      channels.push(channel);
    }
    const held = attachments.slice();
    this.#deferred++;
    this.#host.waiting(true);
    const done = () => {
      for (const channel of channels) this.#blobs.forget(channel);
      this.#host.waiting(false);
      if (--this.#deferred > 0) return;
      const after = this.#after;
      this.#after = [];
      for (const work of after) work();
    };
    this.#blobs.whenArrived(channels, () => then(held, done));
  }

  /** Calls back when nothing waits for its blobs that came before this. */
  whenSettled(work: () => void): void {
    if (this.#deferred === 0) work();
    else this.#after.push(work);
  }

  /** Takes its turn on a channel: after what came before on it, and when its blobs have arrived. */
  inOrder(channel: number, blobs: unknown, attachments: Uint8Array, turn: Turn): void {
    let line = this.#lines.get(channel);
    if (line === undefined) {
      line = { waiting: [], busy: false };
      if (blobs === undefined) {
        this.#run(channel, line, (next) => turn(attachments, next));
        if (line.busy) this.#lines.set(channel, line);
        return;
      }
      this.#lines.set(channel, line);
    }
    const place: Line["waiting"][number] = { go: undefined };
    line.waiting.push(place);
    const ready = (held: Uint8Array, done: () => void) => {
      place.go = () => {
        this.#run(channel, line, (next) =>
          turn(held, () => {
            done();
            next();
          }));
      };
      this.#drain(channel, line);
    };
    if (blobs === undefined) ready(attachments.slice(), () => {});
    else this.#await(blobs, attachments, ready);
  }

  /** Does something wait on this channel? */
  isWaiting(channel: number): boolean {
    return this.#lines.has(channel);
  }

  #run(channel: number, line: Line, turn: (next: () => void) => void): void {
    line.busy = true;
    let returned = false;
    turn(() => {
      line.busy = false;
      if (returned) this.#host.guard(() => this.#drain(channel, line));
    });
    returned = true;
  }

  #drain(channel: number, line: Line): void {
    while (!line.busy && line.waiting[0]?.go) line.waiting.shift()!.go!();
    if (!line.busy && line.waiting.length === 0) this.#lines.delete(channel);
  }

  /** The link is gone. */
  clear(): void {
    this.#blobs.clear();
    this.#lines.clear();
    this.#after = [];
  }
}
