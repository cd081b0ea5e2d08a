/**
 * Where what the remote prints goes on this side, and the end of it, kept for errors.
 *
 * @module
 */

/** Where output goes: this program's own (`"inherit"`), nowhere (`"null"`), or a stream. */
export type OutputOption = "inherit" | "null" | WritableStream<Uint8Array>;

const TAIL = 4096;

/** The last few thousand bytes of a stream. */
export class Tail {
  #chunks: Uint8Array[] = [];
  #size = 0;

  /** Adds bytes; they are copied. */
  push(bytes: Uint8Array): void {
    const kept = bytes.slice(Math.max(0, bytes.length - TAIL));
    this.#chunks.push(kept);
    this.#size += kept.length;
    while (this.#size - this.#chunks[0]!.length >= TAIL) this.#size -= this.#chunks.shift()!.length;
  }

  /** What is kept, as text. */
  toString(): string {
    const decoder = new TextDecoder();
    return this.#chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("");
  }
}

/** Writes output in order. What a slow reader leaves waiting is counted, so that the sender can be held back. */
export class OutputSink {
  readonly #write: (bytes: Uint8Array) => Promise<void> | void;
  #last: Promise<void> | undefined;
  #waiting = 0;

  /** `descriptor` is 1 or 2: which of this program's own streams `"inherit"` means. */
  constructor(option: OutputOption, descriptor: 1 | 2) {
    if (option === "null") {
      this.#write = () => {};
    } else if (option === "inherit") {
      const stream = descriptor === 1 ? Deno.stdout : Deno.stderr;
      this.#write = (bytes) => {
        for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
      };
    } else if (option instanceof WritableStream) {
      if (option.locked) {
        throw new TypeError("Cannot send output to this stream: it is locked to a writer");
      }
      this.#write = async (bytes) => {
        const writer = option.getWriter();
        try {
          await writer.write(bytes);
        } finally {
          writer.releaseLock();
        }
      };
    } else {
      throw new TypeError(
        `Cannot send output to ${String(option)}: expected "inherit", "null" or a WritableStream`,
      );
    }
  }

  /** How many bytes wait to be written. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Resolves when everything so far has been written. */
  async drained(): Promise<void> {
    await this.#last;
  }

  /** Writes bytes after those that came before; they are copied if they must wait. */
  write(bytes: Uint8Array): void {
    if (this.#last === undefined) {
      let written: Promise<void> | void;
      try {
        written = this.#write(bytes.slice());
      } catch {
        // This program's own output is closed: there is nobody left to tell.
        return;
      }
      if (written) this.#track(written, bytes.length);
      return;
    }
    const copy = bytes.slice();
    this.#track(this.#last.then(() => this.#write(copy)), bytes.length);
  }

  #track(written: Promise<void>, size: number): void {
    this.#waiting += size;
    const last = written.catch(() => {
      // A stream of the user's that has failed: its own writer knows.
    }).then(() => {
      this.#waiting -= size;
      if (this.#last === last) this.#last = undefined;
    });
    this.#last = last;
  }
}
