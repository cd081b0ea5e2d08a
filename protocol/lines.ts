/**
 * Each channel keeps its order: what comes on it waits for what came before, which may wait for its blobs.
 *
 * @module
 */

import type { Arrivals } from "./arrivals.ts";

/** Does something with a message of a channel, and calls `next` when the one behind it may follow. */
type Turn = (attachments: Uint8Array, next: () => void) => void;

interface Line {
  readonly waiting: { go: (() => void) | undefined }[];
  busy: boolean;
}

/** The channels on which something waits. */
export class Lines {
  readonly #arrivals: Arrivals;
  readonly #guard: (work: () => void) => void;
  readonly #lines = new Map<number, Line>();

  /** `guard` runs what may fail with the session, where nobody else would catch it. */
  constructor(arrivals: Arrivals, guard: (work: () => void) => void) {
    this.#arrivals = arrivals;
    this.#guard = guard;
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
    else this.#arrivals.await(blobs, attachments, ready);
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
      if (returned) this.#guard(() => this.#drain(channel, line));
    });
    returned = true;
  }

  #drain(channel: number, line: Line): void {
    while (!line.busy && line.waiting[0]?.go) line.waiting.shift()!.go!();
    if (!line.busy && line.waiting.length === 0) this.#lines.delete(channel);
  }

  /** The link is gone. */
  clear(): void {
    this.#lines.clear();
  }
}
