/**
 * How far a copy is, and how fast.
 *
 * @module
 */

import type { CopyProgress } from "../transport/popen.ts";

/** The rate is that of so many of the last milliseconds. */
const WINDOW = 5000;

/** Counts bytes, and tells of them. */
export class Progress {
  readonly #tell: ((progress: CopyProgress) => void) | undefined;
  readonly #marks: { at: number; bytes: number }[] = [{ at: performance.now(), bytes: 0 }];
  #bytes = 0;
  #total = 0;
  #totalKnown = false;
  #skipped = 0;

  /** Tells `tell`, if it is there. */
  constructor(tell: ((progress: CopyProgress) => void) | undefined) {
    this.#tell = tell;
  }

  /** There is more to copy. */
  expect(bytes: number): void {
    this.#total += bytes;
  }

  /** There is no more to copy than was said, or than `total`. */
  complete(total?: number): void {
    this.#totalKnown = true;
    this.#total = total ?? this.#total;
  }

  /** Bytes that need not be copied: they are there. */
  skip(bytes: number, file: string): void {
    this.#skipped += bytes;
    this.add(bytes, file);
  }

  /** Bytes were copied. They may be taken back, by a negative number. */
  add(bytes: number, file: string): void {
    this.#bytes += bytes;
    if (this.#tell === undefined) return;
    const at = performance.now();
    const copied = this.#bytes - this.#skipped;
    const first = this.#marks[0]!;
    if (at - this.#marks.at(-1)!.at > WINDOW / 20) this.#marks.push({ at, bytes: copied });
    while (this.#marks.length > 2 && at - this.#marks[1]!.at > WINDOW) this.#marks.shift();
    const seconds = (at - first.at) / 1000;
    this.#tell({
      bytes: this.#bytes,
      total: this.#totalKnown ? this.#total : undefined,
      rate: seconds > 0 ? Math.max(0, copied - first.bytes) / seconds : undefined,
      file,
    });
  }
}
