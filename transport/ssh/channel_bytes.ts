/**
 * The bytes of an npm:ssh2 channel, as plain reads and writes.
 *
 * @module
 */

import type { ByteChannel } from "../popen.ts";
import type { Ssh2Channel } from "./ssh2_library.ts";

// The window of a channel bounds what can arrive; above this much, it is not opened further.
const HELD = 1_048_576;

/** Reads and writes a channel; holds at most what its window lets in. */
export class ChannelBytes implements ByteChannel {
  readonly #channel: Ssh2Channel;
  #queue: Uint8Array[] = [];
  #first = 0;
  #offset = 0;
  #held = 0;
  #ended = false;
  #paused = false;
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  readonly #waiting = new Set<(error: Error) => void>();
  /** Has anything arrived? */
  started = false;
  /** The first of it, as text: at most 512 bytes. */
  head = "";

  constructor(channel: Ssh2Channel) {
    this.#channel = channel;
    channel.on("data", (data: Uint8Array) => {
      if (!this.started) this.head = new TextDecoder().decode(data.subarray(0, 512));
      this.started = true;
      this.#queue.push(data);
      this.#held += data.length;
      if (this.#held > HELD && !this.#paused) {
        this.#paused = true;
        channel.pause();
      }
      this.#notify();
    });
    channel.on("end", () => this.end());
    channel.on("close", () => this.end());
    channel.on("error", (error: Error) => this.end(error));
  }

  /** Nothing more comes, and whoever writes is told so. */
  end(failure?: Error): void {
    if (failure) this.#failure ??= failure;
    this.#ended = true;
    this.#notify();
  }

  /** Lets no writer wait for a channel that has gone. */
  breakWrites(error: Error): void {
    this.#failure ??= error;
    for (const reject of this.#waiting) reject(error);
    this.#waiting.clear();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    while (this.#held === 0) {
      if (this.#ended) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    let filled = 0;
    while (filled < buffer.length && this.#first < this.#queue.length) {
      const chunk = this.#queue[this.#first]!;
      const part = chunk.subarray(this.#offset, this.#offset + buffer.length - filled);
      buffer.set(part, filled);
      filled += part.length;
      this.#offset += part.length;
      if (this.#offset === chunk.length) {
        this.#offset = 0;
        this.#first++;
      }
    }
    if (this.#first === this.#queue.length) {
      this.#queue = [];
      this.#first = 0;
    }
    this.#held -= filled;
    if (this.#paused && this.#held <= HELD / 2) {
      this.#paused = false;
      this.#channel.resume();
    }
    return filled;
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    if (!this.#channel.writable) {
      return Promise.reject(new Deno.errors.BrokenPipe("The remote side no longer reads."));
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.add(reject);
    // The library copies what it encrypts, and calls back when it has taken the last of it.
    this.#channel.write(chunk, (error) => {
      this.#waiting.delete(reject);
      if (error) reject(error);
      else resolve();
    });
    return promise;
  }
}
