/**
 * How much of a copy is under way at once.
 *
 * A long link wants megabytes. A short one wants little: what comes faster than it is taken gathers in the client
 * program or in the host's daemon, which move all of it in memory again and again, and then spend twice the processor
 * time for the same bytes. So the right amount is measured, as TCP Vegas does (Brakmo, O'Malley and Peterson, 1994):
 * from how much longer an answer takes than the fastest one ever did follows how much only stands in a queue.
 *
 * @module
 */

const LEAST = 2;
/** So many blocks should stand in a queue: with none, the link would have to wait for the next one. */
const QUEUED = 1;
/** Where no answer comes within so many milliseconds, the link is long. */
const LONG = 20;

/** Says how many blocks may be under way. */
export class InFlight {
  readonly #most: number;
  #limit = LEAST;
  /** The fastest answer of all, and of this round, in milliseconds. */
  #base = Infinity;
  #fastest = Infinity;
  /** How many answers the round still has, and how many come before it that were asked for under another limit. */
  #left = LEAST;
  #before = 0;

  /** No more than `most` blocks, whatever is measured. */
  constructor(most: number) {
    this.#most = Math.max(LEAST, most);
  }

  /** So many blocks may be under way. */
  get limit(): number {
    return this.#limit;
  }

  /** A block was answered after so many milliseconds. */
  answered(time: number): void {
    if (this.#before > 0) {
      this.#before--;
      return;
    }
    this.#fastest = Math.min(this.#fastest, time);
    if (--this.#left > 0) return;
    // The first round has the start of everything in it.
    const first = this.#base === Infinity;
    this.#base = Math.min(this.#base, this.#fastest);
    const limit = this.#limit;
    const moving = limit * this.#base / this.#fastest;
    if (limit - moving >= QUEUED) {
      this.#limit = Math.max(LEAST, Math.ceil(moving) + QUEUED);
      if (this.#limit < limit) this.#before = limit;
    } else if (!first) {
      this.#limit = Math.min(this.#most, this.#fastest < LONG ? limit + 1 : 2 * limit);
    }
    this.#left = this.#limit;
    this.#fastest = Infinity;
  }
}
