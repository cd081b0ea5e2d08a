/**
 * A session on a transport: moves the bytes, watches for signs of life, and says why the link ended.
 *
 * @module
 */

import { ConnectionClosedError, ConnectionLostError } from "../protocol/errors.ts";
import type { Session } from "../protocol/session.ts";
import type { BaseTransport, TransportStatus } from "../transport/popen.ts";
import type { OutputSink, Tail } from "./output.ts";

/** How a lost peer is noticed. */
export interface KeepAlive {
  /** An idle peer that gives no sign of life for so long is lost, in milliseconds. `0`: never. Default: 15 000. */
  interval?: number;
  /** Is a peer lost that is silent while it works on a call? Default: no, it is only called unresponsive. */
  whileBusy?: boolean;
}

/** Reads bytes as they come. */
export interface Source {
  /** Where the bytes of the last read are, from its start; valid until the next one. */
  buffer: Uint8Array;
  /** Reads; says how many bytes there are, or `null` at the end. */
  read(): Promise<number | null>;
  /** Wants no more: what still comes is dropped, and a waiting `read` is at its end. */
  cancel(): void;
}

/** How long a read or a write is that may be a part of much, in bytes, and how many of them are. */
const LONG = 32 << 10;
const MANY = 4;

/** Tells a transport that much flows, once it does. What it gives wants the length of each read or write. */
function watchFlow(transport: BaseTransport): (length: number) => void {
  let long = 0;
  return (length) => {
    if (length >= LONG && ++long === MANY) transport.expectMuch?.();
  };
}

/** The fastest way that a transport has to its bytes. */
export function openSource(transport: BaseTransport): Source {
  const { channel } = transport;
  if (channel) {
    const buffer = new Uint8Array(128 << 10);
    return { buffer, read: () => channel.read(buffer), cancel() {} };
  }
  const flows = watchFlow(transport);
  try {
    const reader = transport.stdout.getReader({ mode: "byob" });
    return {
      buffer: new Uint8Array(128 << 10),
      read() {
        return reader.read(new Uint8Array(this.buffer.buffer as ArrayBuffer)).then(
          ({ done, value }) => {
            if (value) this.buffer = value;
            if (done) return null;
            flows(value!.length);
            return value!.length;
          },
        );
      },
      cancel: () => dismiss(reader),
    };
  } catch {
    // Not a byte stream: its own chunks are taken.
  }
  const reader = transport.stdout.getReader();
  return {
    buffer: new Uint8Array(0),
    async read() {
      const { done, value } = await reader.read();
      if (done) return null;
      // A Buffer is no plain array of bytes: its slices are views.
      this.buffer = new Uint8Array(value.buffer, value.byteOffset, value.length);
      return value.length;
    },
    cancel: () => dismiss(reader),
  };
}

function dismiss(reader: { cancel(): Promise<void> }): void {
  reader.cancel().catch(() => {
    // It has failed already, and holds nothing.
  });
}

/** Takes bytes away, until it is closed. */
export interface Sink {
  /** Resolves when the bytes were taken. */
  write(bytes: Uint8Array): Promise<void>;
  /** The end of what is written. It does not wait. */
  close(): void;
}

/** The fastest way to write to a transport. */
export function openSink(transport: BaseTransport): Sink {
  const { channel } = transport;
  if (channel) return { write: (bytes) => channel.write(bytes), close() {} };
  const flows = watchFlow(transport);
  const writer = transport.stdin.getWriter();
  // Its failure is seen by the write that it fails.
  writer.closed.catch(() => {});
  return {
    write(bytes) {
      flows(bytes.length);
      return writer.write(bytes);
    },
    close() {
      writer.close().catch(() => {
        // The process has ended first.
      });
    },
  };
}

/** Passes a transport's standard error on; the end of it is kept. */
export function followStderr(transport: BaseTransport, tail: Tail): {
  done: Promise<void>;
  to(sink: OutputSink): void;
  cancel(): void;
} {
  let sink: OutputSink | undefined;
  const early: Uint8Array[] = [];
  const reader = transport.stderr.getReader();
  const follow = async () => {
    try {
      for (;;) {
        const { done, value: bytes } = await reader.read();
        if (done) break;
        tail.push(bytes);
        if (sink === undefined) early.push(bytes);
        else sink.write(bytes);
        if (sink && sink.waiting > 1 << 20) await sink.drained();
      }
    } catch {
      // The process is gone; the link's own end tells why.
    }
  };
  return {
    done: follow(),
    to(target) {
      sink = target;
      for (const bytes of early.splice(0)) target.write(bytes);
    },
    cancel: () => dismiss(reader),
  };
}

/** What a link is made of. */
export interface LinkOptions {
  transport: BaseTransport;
  session: Session;
  hold: Hold;
  source: Source;
  sink: Sink;
  stderr: { done: Promise<void>; tail: Tail; cancel(): void };
  outputs: readonly OutputSink[];
  outputBytes: number;
  keepAlive: Required<KeepAlive>;
  onUnresponsive: (unresponsive: boolean) => void;
}

/** Joins a session and a transport until one of them ends. */
export class Link {
  readonly #options: LinkOptions;
  /** Has anything come since the last look? To ask for the time at each arrival would be dear. */
  #heard = false;
  #lastSeen = performance.now();
  #lastWatch = performance.now();
  #pinged: number | undefined;
  #unresponsive = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  #tick: ReturnType<typeof setInterval> | undefined;
  #closing: Promise<TransportStatus> | undefined;

  /** Starts to move bytes. */
  constructor(options: LinkOptions) {
    this.#options = options;
    void this.#pump();
    const { interval } = options.keepAlive;
    if (interval > 0) {
      this.#timer = setInterval(() => this.#watch(), interval / 5);
      Deno.unrefTimer(this.#timer as unknown as number);
    }
  }

  /** Calls `work` every `interval` ms, instead of whatever was called before. */
  every(interval: number, work: () => void): void {
    clearInterval(this.#tick);
    if (interval > 0 && Number.isFinite(interval)) {
      this.#tick = setInterval(work, interval);
      Deno.unrefTimer(this.#tick as unknown as number);
    }
  }

  async #pump(): Promise<void> {
    const { source, session, outputs, outputBytes } = this.#options;
    let failure: unknown;
    try {
      for (;;) {
        const length = await source.read();
        if (length === null) break;
        this.#seen();
        session.receive(source.buffer, length);
        if (session.closeReason) break;
        for (const output of outputs) {
          // A flood of output that nobody reads holds up the connection, not the memory.
          if (output.waiting > outputBytes) await output.drained();
        }
      }
    } catch (error) {
      failure = error;
    }
    if (!session.closeReason) session.end(await this.#lossReason(failure));
    await this.close();
  }

  async #lossReason(failure: unknown): Promise<Error> {
    const { transport, stderr } = this.#options;
    let status: TransportStatus | undefined;
    transport.status.then((ended) => status = ended);
    await within(1000, Promise.all([transport.status, stderr.done]));
    const how = status?.signal ?? status?.code ?? undefined;
    const text = status === undefined
      ? "The connection was lost: the remote side closed it"
      : status.signal
      ? `The connection was lost: the remote process was ended by ${status.signal}`
      : status.reason
      ? `The connection was lost: ${status.reason.message}`
      : status.code === null
      ? "The connection was lost: the remote side ended it"
      : `The connection was lost: the remote process ended with exit status ${status.code}` +
        (status.note ? ` (${status.note})` : "");
    return new ConnectionLostError(text, {
      status: how ?? undefined,
      stderr: String(stderr.tail),
      cause: failure ?? status?.reason,
    });
  }

  #seen(): void {
    this.#heard = true;
    this.#pinged = undefined;
    if (this.#unresponsive) {
      this.#unresponsive = false;
      this.#options.onUnresponsive(false);
    }
  }

  #watch(): void {
    const { session, keepAlive } = this.#options;
    if (session.closeReason) return;
    const now = performance.now();
    const asleep = now - this.#lastWatch > keepAlive.interval * 0.4;
    this.#lastWatch = now;
    if (this.#heard) {
      this.#heard = false;
      this.#lastSeen = now;
    }
    // This side did not look for a while: what the peer answered meanwhile may still be unread.
    if (asleep && this.#pinged !== undefined) this.#pinged = now;
    if (this.#pinged === undefined) {
      // A timer may be a little early.
      if (now - this.#lastSeen >= keepAlive.interval * 0.19) {
        this.#pinged = now;
        void session.ping();
      }
      return;
    }
    if (now - this.#pinged < keepAlive.interval * 0.45) return;
    if (session.reaching?.mayBeBusy && !keepAlive.whileBusy) {
      if (!this.#unresponsive) {
        this.#unresponsive = true;
        this.#options.onUnresponsive(true);
      }
      return;
    }
    const silent = Math.round(now - this.#lastSeen);
    session.end(
      new ConnectionLostError(
        `The connection was lost: the remote side gave no sign of life for ${silent} ms`,
        { stderr: String(this.#options.stderr.tail) },
      ),
    );
    void this.close();
  }

  /** Ends the session and the transport; resolves when nothing is left. */
  close(): Promise<TransportStatus> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<TransportStatus> {
    const { session, transport, outputs } = this.#options;
    clearInterval(this.#timer);
    clearInterval(this.#tick);
    this.#options.hold.end();
    session.close(new ConnectionClosedError());
    await within(500, session.written);
    this.#options.sink.close();
    const status = await transport.close();
    await within(
      1000,
      Promise.all([this.#options.stderr.done, ...outputs.map((o) => o.drained())]),
    );
    // Whatever still holds the other ends, nothing of this side stays open.
    this.#options.source.cancel();
    this.#options.stderr.cancel();
    return status;
  }
}

/** How long an idle connection holds the program, in milliseconds: to let go and hold on again at each call is dear. */
const HOLD = 20;

/** Lets the program exit while nothing is pending on a transport. */
export class Hold {
  readonly #transport: BaseTransport;
  #busy = false;
  #held = true;
  #ended = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** The transport holds the program at first. */
  constructor(transport: BaseTransport) {
    this.#transport = transport;
  }

  /** Something is pending, or nothing any more. */
  set busy(busy: boolean) {
    if (this.#ended) return;
    this.#busy = busy;
    if (busy) {
      if (this.#held) return;
      this.#held = true;
      this.#transport.ref?.();
    } else {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        if (this.#busy || !this.#held) return;
        this.#held = false;
        this.#transport.unref?.();
      }, HOLD);
    }
  }

  /** The connection is over. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#ended = true;
  }
}

/** Waits for a promise, but no longer than so many milliseconds. */
export async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
