/**
 * A named pipe as bytes: reads are asked for before anybody wants them, writes go out as they come,
 * and both are bounded.
 *
 * A server may work on two requests of one connection at a time, and a pipe's reads and writes have
 * no offsets: on a server that is not known to keep the order, one read and one write are under
 * way at a time. Samba keeps it, so there are more.
 *
 * @module
 */

import type { ByteChannel } from "../popen.ts";
import type { Call, Connection, Response } from "./connection.ts";
import { MalformedError, utf16 } from "./cursor.ts";
import {
  closeRequest,
  COMMAND,
  createRequest,
  FSCTL,
  ioctlRequest,
  readCreateResponse,
  readReadResponse,
  readRequest,
  readWriteResponse,
  writeRequest,
} from "./messages.ts";
import { STATUS, StatusError } from "./ntstatus.ts";

/** The server's ways of saying that the other end of the pipe is closed. */
const ENDS: ReadonlySet<number> = new Set([
  STATUS.END_OF_FILE,
  STATUS.PIPE_BROKEN,
  STATUS.PIPE_DISCONNECTED,
  STATUS.PIPE_CLOSING,
  STATUS.CONNECTION_DISCONNECTED,
  STATUS.CONNECTION_RESET,
  STATUS.FILE_CLOSED,
  STATUS.CANCELLED,
]);

/** How much may be under way. */
export interface PipeLimits {
  /** Bytes a read and a write, at most. */
  readonly maxRead: number;
  readonly maxWrite: number;
  /** Reads and writes at a time. */
  readonly depth: number;
}

/** How long to wait between two tries where the server cannot tell when a pipe is free, in ms. */
const BUSY_PAUSE = 50;
/** How long the server may wait for a free instance at a time, in 100 ns units. */
const BUSY_WAIT = 20_000_000n;

/**
 * Opens a pipe, waiting until an instance is free. It waits as long as `signal` lets it.
 */
export async function openPipe(
  connection: Connection,
  name: string,
  limits: PipeLimits,
  signal: AbortSignal,
): Promise<Pipe> {
  let serverWaits = true;
  for (;;) {
    const call = connection.request(COMMAND.create, createRequest(name));
    const { status, message } = await call.response;
    if (status === STATUS.SUCCESS) return new Pipe(connection, readCreateResponse(message), limits);
    const busy = status === STATUS.PIPE_BUSY || status === STATUS.PIPE_NOT_AVAILABLE ||
      status === STATUS.INSTANCE_NOT_AVAILABLE;
    if (!busy) throw new StatusError(status, `the opening of the pipe ${name}`);
    if (serverWaits) {
      const waited = await waitForInstance(connection, name);
      serverWaits = waited === STATUS.SUCCESS || waited === STATUS.IO_TIMEOUT;
    } else {
      await pause(BUSY_PAUSE, signal);
    }
  }
}

/** FSCTL_PIPE_WAIT (MS-FSCC 2.3.49). */
async function waitForInstance(connection: Connection, name: string): Promise<number> {
  const text = utf16(name);
  const input = new Uint8Array(14 + text.length);
  const view = new DataView(input.buffer);
  view.setBigUint64(0, BUSY_WAIT, true);
  view.setUint32(8, text.length, true);
  view.setUint8(12, 1);
  input.set(text, 14);
  return (await connection.request(
    COMMAND.ioctl,
    ioctlRequest(FSCTL.pipeWait, input, 0),
  ).response).status;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/** An open pipe. */
export class Pipe implements ByteChannel {
  /** Resolves when the pipe is at its end: `null`, or the reason why it broke. */
  readonly ended: Promise<Error | null>;

  readonly #connection: Connection;
  readonly #file: Uint8Array;
  readonly #limits: PipeLimits;
  readonly #resolveEnded: (reason: Error | null) => void;
  /** Reads in the order in which they were asked for, answered or not. */
  readonly #reads: { call: Call; bytes?: Uint8Array }[] = [];
  #wanted: (() => void) | undefined;
  #end: { reason: Error | null } | undefined;
  #writes = 0;
  #writeFailure: Error | undefined;
  #room: (() => void) | undefined;
  #closing = false;

  /** Begins to read. */
  constructor(connection: Connection, file: Uint8Array, limits: PipeLimits) {
    this.#connection = connection;
    this.#file = file;
    this.#limits = limits;
    const ended = Promise.withResolvers<Error | null>();
    this.ended = ended.promise;
    this.#resolveEnded = ended.resolve;
    void connection.closed.then((reason) => this.#finish(reason));
    this.#ask();
  }

  /** Reads that the server has not answered. */
  get unanswered(): number {
    return this.#reads.reduce((sum, { bytes }) => sum + (bytes === undefined ? 1 : 0), 0);
  }

  /** {@inheritDoc ByteChannel.read} */
  async read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      const first = this.#reads[0];
      const bytes = first?.bytes;
      if (bytes !== undefined) {
        const n = Math.min(bytes.length, buffer.length);
        buffer.set(n === bytes.length ? bytes : bytes.subarray(0, n));
        if (n === bytes.length) {
          this.#reads.shift();
          this.#ask();
        } else {
          first!.bytes = bytes.subarray(n);
        }
        return n;
      }
      const error = this.#atEnd();
      if (error === null) return null;
      if (error !== undefined) throw error;
      await new Promise<void>((resolve) => this.#wanted = resolve);
    }
  }

  /** The next bytes as they came, without a copy; `null` at the end. */
  async readChunk(): Promise<Uint8Array | null> {
    for (;;) {
      const bytes = this.#reads[0]?.bytes;
      if (bytes !== undefined) {
        this.#reads.shift();
        this.#ask();
        return bytes;
      }
      const error = this.#atEnd();
      if (error === null) return null;
      if (error !== undefined) throw error;
      await new Promise<void>((resolve) => this.#wanted = resolve);
    }
  }

  /** {@inheritDoc ByteChannel.write} */
  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      while (this.#writes >= this.#limits.depth && this.#writable()) {
        await new Promise<void>((resolve) => this.#room = resolve);
      }
      if (!this.#writable()) {
        throw this.#writeFailure ?? this.#end?.reason ??
          new Error("The pipe is closed: what was written was not sent");
      }
      const size = Math.min(
        chunk.length - at,
        this.#connection.affordable(this.#limits.maxWrite),
      );
      const call = this.#connection.request(
        COMMAND.write,
        writeRequest(this.#file, chunk.subarray(at, at + size)),
        size,
      );
      this.#writes++;
      call.response.then((response) => this.#written(response, size), (error) => {
        this.#failWrites(error);
      });
      at += size;
    }
  }

  /** Waits until the server has taken everything that was written. */
  async flush(): Promise<void> {
    while (this.#writes > 0 && this.#writable()) {
      await new Promise<void>((resolve) => this.#room = resolve);
    }
    if (this.#writeFailure !== undefined) throw this.#writeFailure;
  }

  /** Closes the handle; the server has closed it when this resolves. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    for (const read of this.#reads) read.call.cancel();
    const { status } = await this.#connection.request(COMMAND.close, closeRequest(this.#file))
      .response;
    this.#finish(null);
    if (status !== STATUS.SUCCESS && !ENDS.has(status)) {
      throw new StatusError(status, "the closing of the pipe");
    }
  }

  #atEnd(): Error | null | undefined {
    // What was answered before the end is still to be read.
    if (this.#end === undefined || this.#reads[0]?.bytes !== undefined) return undefined;
    return this.#end.reason;
  }

  #writable(): boolean {
    return !this.#closing && this.#end === undefined && this.#writeFailure === undefined;
  }

  #ask(): void {
    const { depth, maxRead } = this.#limits;
    while (this.#reads.length < depth && this.#end === undefined && !this.#closing) {
      const call = this.#connection.request(
        COMMAND.read,
        readRequest(this.#file, maxRead),
        maxRead,
      );
      const read: { call: Call; bytes?: Uint8Array } = { call };
      this.#reads.push(read);
      call.response.then((response) => this.#answered(read, response), (error) => {
        this.#drop(read);
        this.#finish(error);
      });
    }
  }

  #answered(read: { bytes?: Uint8Array }, { status, message }: Response): void {
    if (status === STATUS.SUCCESS || status === STATUS.BUFFER_OVERFLOW) {
      try {
        const bytes = readReadResponse(message, this.#limits.maxRead);
        if (bytes.length > 0) read.bytes = bytes;
      } catch (error) {
        this.#drop(read);
        this.#finish(error as Error);
        this.#connection.fail(error as Error);
        return;
      }
      // An empty message of a pipe in message mode is no end.
      if (read.bytes === undefined) {
        this.#drop(read);
        this.#ask();
      } else if (read === this.#reads[0]) {
        this.#wake();
      }
      return;
    }
    this.#drop(read);
    this.#finish(ENDS.has(status) ? null : new StatusError(status, "a read of the pipe"));
  }

  #drop(read: { bytes?: Uint8Array }): void {
    const at = this.#reads.findIndex((other) => other === read);
    if (at >= 0) this.#reads.splice(at, 1);
  }

  #written({ status, message }: Response, size: number): void {
    this.#writes--;
    if (status !== STATUS.SUCCESS) {
      this.#failWrites(new StatusError(status, "a write to the pipe"));
      return;
    }
    try {
      const taken = readWriteResponse(message);
      if (taken !== size) {
        throw new MalformedError(`The server took ${taken} of ${size} bytes written to the pipe`);
      }
    } catch (error) {
      this.#failWrites(error as Error);
      this.#connection.fail(error as Error);
      return;
    }
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  #failWrites(error: Error): void {
    this.#writeFailure ??= error;
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  #finish(reason: Error | null): void {
    if (this.#end !== undefined) return;
    this.#end = { reason: this.#closing ? null : reason };
    this.#resolveEnded(this.#end.reason);
    this.#wake();
    const room = this.#room;
    this.#room = undefined;
    room?.();
  }

  #wake(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.();
  }
}
