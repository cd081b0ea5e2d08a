/**
 * A connection as a channel of bytes: Deno's own, or a socket of `node:net` and `node:tls`.
 *
 * @module
 */

import type { ByteChannel } from "../popen.ts";

/** A channel that can be closed. */
export interface SocketChannel extends ByteChannel {
  /** Puts bytes back, to be read first. */
  unread(bytes: Uint8Array): void;
  /** Ends what is written; the other side sees the end. Does not throw. */
  finish(): Promise<void>;
  /** Closes the connection. May be called more than once. */
  close(): void;
  /** Holds the program, or lets it exit. */
  hold(held: boolean): void;
}

/** What comes first, if anything was put back. */
class Unread {
  #bytes: Uint8Array | undefined;

  put(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#bytes = bytes;
  }

  take(buffer: Uint8Array): number {
    const bytes = this.#bytes;
    if (bytes === undefined) return 0;
    const length = Math.min(bytes.length, buffer.length);
    buffer.set(bytes.subarray(0, length));
    this.#bytes = length < bytes.length ? bytes.subarray(length) : undefined;
    return length;
  }
}

/** A connection of Deno's. */
export class ConnChannel implements SocketChannel {
  readonly #conn: Deno.Conn;
  readonly #unread = new Unread();
  #closed = false;

  /** Takes over a connection. */
  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  unread(bytes: Uint8Array): void {
    this.#unread.put(bytes);
  }

  read(buffer: Uint8Array): Promise<number | null> {
    const length = this.#unread.take(buffer);
    return length > 0 ? Promise.resolve(length) : this.#conn.read(buffer);
  }

  write(chunk: Uint8Array): Promise<void> {
    // Most chunks go whole, at the price of one promise.
    return this.#conn.write(chunk).then((written) =>
      written < chunk.length ? this.write(chunk.subarray(written)) : undefined
    );
  }

  async finish(): Promise<void> {
    try {
      await this.#conn.closeWrite();
    } catch {
      // The connection is gone.
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#conn.close();
    } catch {
      // Deno has closed it already.
    }
  }

  hold(held: boolean): void {
    if (this.#closed) return;
    if (held) this.#conn.ref();
    else this.#conn.unref();
  }
}

/** What is needed of a socket of `node:net` or `node:tls`. */
export interface NodeSocket {
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): unknown;
  write(bytes: Uint8Array, done: (error?: Error | null) => void): boolean;
  end(): unknown;
  destroy(): unknown;
  pause(): unknown;
  resume(): unknown;
  ref(): unknown;
  unref(): unknown;
}

/** How much may wait to be read before the socket is paused, in bytes. */
const AHEAD = 256 << 10;

/** A socket of Node's. */
export class NodeChannel implements SocketChannel {
  readonly #socket: NodeSocket;
  readonly #unread = new Unread();
  #chunks: Uint8Array[] = [];
  #waiting = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #fail: ((error: Error) => void) | undefined;

  /** Takes over a socket. */
  constructor(socket: NodeSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      this.#waiting += chunk.length;
      if (this.#waiting > AHEAD) socket.pause();
      this.#wake?.();
    });
    const over = () => {
      this.#ended = true;
      this.#wake?.();
    };
    socket.on("end", over);
    socket.on("close", () => {
      over();
      this.#fail?.(this.#error ?? new Error("The connection was closed"));
    });
    socket.on("error", (error: Error) => this.#error = error);
  }

  unread(bytes: Uint8Array): void {
    this.#unread.put(bytes);
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    const first = this.#unread.take(buffer);
    if (first > 0) return first;
    while (this.#chunks.length === 0) {
      if (this.#error) throw this.#error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
    const chunk = this.#chunks[0]!;
    const length = Math.min(chunk.length, buffer.length);
    buffer.set(chunk.subarray(0, length));
    if (length < chunk.length) this.#chunks[0] = chunk.subarray(length);
    else this.#chunks.shift();
    const before = this.#waiting;
    this.#waiting -= length;
    if (before > AHEAD && this.#waiting <= AHEAD) this.#socket.resume();
    return length;
  }

  write(chunk: Uint8Array): Promise<void> {
    if (this.#error) return Promise.reject(this.#error);
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#socket.write(chunk, (error) => {
        this.#fail = undefined;
        if (error) reject(error);
        else resolve();
      });
    });
  }

  finish(): Promise<void> {
    this.#socket.end();
    return Promise.resolve();
  }

  close(): void {
    this.#socket.destroy();
  }

  hold(held: boolean): void {
    if (held) this.#socket.ref();
    else this.#socket.unref();
  }
}
