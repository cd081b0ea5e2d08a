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

// Three blocks of OpenSSH's server.
const LEAST = 765 << 10;
// As much as the window of an SSH channel holds, and as much again in the server.
const MOST = 4 << 20;
/** So many bytes should stand in a queue: with none, the link would have to wait for the next block. */
const QUEUED = 255 << 10;
/** Where an answer comes within so many milliseconds, the link is short: the least is enough. */
const SHORT = 8;
/** Answers that still become faster than this part of what they were say nothing of the link: either end only begins. */
const STEADY = 0.8;

/** Says how many blocks may be under way. */
export class InFlight {
  readonly #least: number;
  readonly #most: number;
  readonly #queued: number;
  #limit: number;
  /** The fastest answer of all, and of this round, in milliseconds. */
  #base = Infinity;
  #fastest = Infinity;
  /** How many answers the round still has, and how many come before it that were asked for under another limit. */
  #left: number;
  #before = 0;

  /** For blocks of so many bytes. */
  constructor(block: number) {
    this.#least = Math.ceil(LEAST / block);
    this.#most = Math.max(this.#least, Math.floor(MOST / block));
    this.#queued = Math.ceil(QUEUED / block);
    this.#limit = this.#left = this.#least;
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
    const before = this.#base;
    this.#base = Math.min(this.#base, this.#fastest);
    const limit = this.#limit;
    const moving = limit * this.#base / this.#fastest;
    if (this.#base < SHORT) {
      this.#limit = this.#least;
    } else if (limit - moving >= this.#queued) {
      this.#limit = Math.min(limit, Math.max(this.#least, Math.ceil(moving) + this.#queued));
    } else if (this.#fastest > before * STEADY) {
      this.#limit = Math.min(this.#most, 2 * limit);
    }
    if (this.#limit < limit) this.#before = limit;
    this.#left = this.#limit;
    this.#fastest = Infinity;
  }
}
