/**
 * The TCP connection below npm:ssh2.
 *
 * The library writes every packet in three pieces. Here, all that it writes in one turn of the
 * event loop becomes one write of the system, and what it reads comes in large blocks: both are
 * most of what its speed depends on. Nagle's algorithm is off: with it, each small packet waits
 * for the acknowledgement of the one before, 40 ms.
 *
 * @module
 */

import { EventEmitter } from "node:events";
import { Buffer } from "node:buffer";
import { endsWithin } from "./waiting.ts";

const SLAB = 1_048_576;
const LEAST_READ = 131_072;
const END_GRACE = 1_000;

/** As much of a Node socket as the library uses, over a connection of Deno's. */
export class Ssh2Socket extends EventEmitter {
  /** The library looks at these, by these names. */
  readonly connecting = false;
  writable = true;
  readable = true;
  readonly _readableState = { ended: false };
  readonly #conn: Deno.TcpConn;
  #queue: Uint8Array[] = [];
  #flushing: Promise<void> | undefined;
  #reading: Promise<void> | undefined;
  #paused: Promise<void> | undefined;
  #resume: (() => void) | undefined;
  #closed = false;

  constructor(conn: Deno.TcpConn, { noDelay = true }: { noDelay?: boolean } = {}) {
    super();
    this.#conn = conn;
    if (noDelay) conn.setNoDelay(true);
  }

  /** The library's `client.setNoDelay`. */
  setNoDelay(on: boolean): this {
    this.#conn.setNoDelay(on);
    return this;
  }

  pause(): this {
    if (!this.#paused) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#paused = promise;
      this.#resume = resolve;
    }
    return this;
  }

  resume(): this {
    this.#paused = undefined;
    this.#resume?.();
    this.#reading ??= this.#read();
    return this;
  }

  async #read(): Promise<void> {
    let slab = new Uint8Array(SLAB);
    let used = 0;
    try {
      while (!this.#closed) {
        if (this.#paused) await this.#paused;
        // The library may keep what it was given, so no part of a slab is used twice.
        if (SLAB - used < LEAST_READ) {
          slab = new Uint8Array(SLAB);
          used = 0;
        }
        const count = await this.#conn.read(slab.subarray(used));
        if (count === null || this.#closed) break;
        this.emit("data", Buffer.from(slab.buffer, used, count));
        used += count;
      }
    } catch (error) {
      if (!this.#closed) this.emit("error", error);
    }
    this._readableState.ended = true;
    this.readable = false;
    this.emit("end");
    this.#close();
  }

  write(data: Uint8Array): boolean {
    if (!this.writable) return false;
    this.#queue.push(data);
    this.#flushing ??= this.#flush();
    return true;
  }

  async #flush(): Promise<void> {
    // Lets the rest of this turn's packets join.
    await Promise.resolve();
    try {
      while (this.#queue.length > 0) {
        const queue = this.#queue;
        this.#queue = [];
        const block = queue.length === 1 ? queue[0]! : Buffer.concat(queue);
        for (let sent = 0; sent < block.length;) {
          sent += await this.#conn.write(sent === 0 ? block : block.subarray(sent));
        }
      }
    } catch (error) {
      this.#queue = [];
      this.writable = false;
      // The reader meets the same end, and reports it in its own words.
      if (!this.#closed && !this.#reading) this.emit("error", error);
    }
    this.#flushing = undefined;
  }

  end(): this {
    if (this.writable) {
      this.writable = false;
      this.#end();
    }
    return this;
  }

  async #end(): Promise<void> {
    await this.#flushing;
    if (!this.#closed) {
      try {
        await this.#conn.closeWrite();
        this.resume();
        await endsWithin(this.#reading!, END_GRACE);
      } catch {
        // The other side has closed already.
      }
    }
    this.#close();
  }

  destroy(): this {
    this.#close();
    return this;
  }

  setTimeout(): this {
    return this;
  }

  ref(): void {
    (this.#conn as unknown as { ref(): void }).ref();
  }

  unref(): void {
    (this.#conn as unknown as { unref(): void }).unref();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.writable = false;
    this.readable = false;
    this._readableState.ended = true;
    this.#conn.close();
    this.#resume?.();
    // The library sets up its listeners in the turn that makes it.
    queueMicrotask(() => this.emit("close"));
  }
}
