/**
 * What cannot be handled the moment it comes: messages that wait for their blobs, and whatever must not
 * overtake them.
 *
 * A call that waits for a large argument does not hold up the calls behind it. But nothing is taken
 * from under it: what gives things back, or aborts them, waits.
 *
 * @module
 */

import { Blobs, type ChannelNumbers, type MakeArray } from "./blobs.ts";
import { count, malformed } from "./checks.ts";
import type { Limits } from "./limits.ts";

/** What arrivals need of their session. */
export interface ArrivalHost {
  readonly limits: Limits;
  /** The numbers of all channels. */
  readonly channels: ChannelNumbers;
  /** Something here waits for the peer, or does no more. */
  waiting(waits: boolean): void;
}

/** The waiting room of a session. */
export class Arrivals {
  readonly #host: ArrivalHost;
  readonly #blobs: Blobs;
  #deferred = 0;
  #after: (() => void)[] = [];

  /** Nobody waits yet. */
  constructor(host: ArrivalHost, makeArray?: MakeArray) {
    this.#host = host;
    this.#blobs = new Blobs(host.limits, makeArray);
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
    this.await(blobs, attachments, (held, done) => {
      then(held);
      done();
    });
  }

  /** The same; `then` gets a way to say that the blobs are not needed any more. */
  await(
    blobs: unknown,
    attachments: Uint8Array,
    then: (attachments: Uint8Array, done: () => void) => void,
  ): void {
    if (!Array.isArray(blobs) || blobs.length % 2 !== 0) {
      throw malformed("list of channels");
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

  /** The link is gone. */
  clear(): void {
    this.#blobs.clear();
    this.#after = [];
  }
}
