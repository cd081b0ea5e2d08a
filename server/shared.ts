/**
 * One interpreter, this program's own, for all who come: each connection is a session on it.
 *
 * @module
 */

import { open } from "../protocol/access.ts";
import { ConnectionLostError } from "../protocol/errors.ts";
import { type Limits, resolveLimits } from "../protocol/limits.ts";
import { Session } from "../protocol/session.ts";
import { parseShort } from "../protocol/short_json.ts";
import { largeArray } from "../runtime/large_arrays.ts";
import { makeFiles } from "../runtime/js/files.ts";
import { banner, makeRoot, RunningCall, type Settings } from "../runtime/js/root.ts";
import type { SocketChannel } from "../transport/daemon/channel.ts";
import type { Log } from "./log.ts";
import { catchOutput, currentPrinter, type Printer, printTo } from "./output.ts";

/** One that is served. */
export interface Served {
  /** Resolves when it is over, to the reason. */
  readonly over: Promise<Error>;
  /** How many of its calls are being worked on. */
  readonly working: number;
  /** Ends it; the client is told why. */
  end(reason: Error): void;
  /** Called every few seconds. */
  tick(now: number): void;
}

/** An interpreter that clients are connected to. */
export interface Interpreter {
  /** Serves somebody who was let in. */
  serve(channel: SocketChannel): Served;
  /** The last one has gone. */
  close(): void;
}

/** How the shared interpreter serves. */
export interface SharedOptions {
  limits: Partial<Limits> | undefined;
  /** Without calls for so long, in ms, a client is sent away; 0 is never. */
  idleTimeout: number;
  /** The descriptor that this program's own output goes to. */
  own: 1 | 2;
  log: Log;
}

/** Reads begin with a small buffer, so that an idle connection costs little. */
const SMALL_BUFFER = 8 << 10;
const LARGE_BUFFER = 128 << 10;
/** A client that does not read what it asked for is not read either, beyond so many bytes of answers. */
const MOST_WAITING = 4 << 20;
/** What a client's program prints may wait for the client up to so many bytes. */
const MOST_OUTPUT = 64 << 20;
/** A silent client is asked for a sign of life after so many ms: the system notices if its host is gone. */
const SILENCE = 60_000;

/** Which call runs is the same question for all servers of this program. */
let running: { calls: RunningCall; users: number } | undefined;

/** Starts to share this program's interpreter. */
export function shareInterpreter(options: SharedOptions): Interpreter {
  const release = catchOutput(options.own);
  const unguard = surviveErrors(options.log);
  const { calls } = running ??= { calls: new RunningCall(), users: 0 };
  running.users++;
  const greeting = new TextEncoder().encode(banner(true));
  return {
    serve: (channel) => new Client(channel, options, calls, greeting),
    close() {
      release();
      unguard();
      if (!running || --running.users > 0) return;
      running = undefined;
      Reflect.deleteProperty(globalThis, Symbol.for("pushy.signal"));
    },
  };
}

/** Errors that a client's program leaves behind must not end the others'. */
function surviveErrors(log: Log): () => void {
  const encoder = new TextEncoder();
  const onRejection = (event: PromiseRejectionEvent) => {
    const printer = currentPrinter();
    // An error of the program's own stays one.
    if (!printer) return;
    event.preventDefault();
    const text = `Uncaught (in promise) ${Deno.inspect(event.reason)}\n`;
    if (!printer(2, encoder.encode(text))) {
      log({ event: "error", reason: `unhandled rejection: ${String(event.reason)}` });
    }
  };
  const onError = (event: ErrorEvent) => {
    // It does not tell whose it is.
    event.preventDefault();
    log({ event: "error", reason: `uncaught: ${event.message}` });
  };
  addEventListener("unhandledrejection", onRejection);
  addEventListener("error", onError);
  return () => {
    removeEventListener("unhandledrejection", onRejection);
    removeEventListener("error", onError);
  };
}

class Client implements Served {
  readonly over: Promise<Error>;
  readonly #channel: SocketChannel;
  readonly #options: SharedOptions;
  readonly #session: Session;
  readonly #files = makeFiles();
  #settings: Settings = {};
  /** Has anything come since the last tick? To ask for the time at each arrival would be dear. */
  #heard = false;
  #lastSeen = performance.now();
  #lastActive = performance.now();
  #lastCall = 0;
  #asked = false;
  #flooded = false;
  #drained: (() => void) | undefined;
  #settle!: (reason: Error) => void;

  constructor(
    channel: SocketChannel,
    options: SharedOptions,
    calls: RunningCall,
    greeting: Uint8Array,
  ) {
    this.#channel = channel;
    this.#options = options;
    this.over = new Promise((resolve) => this.#settle = resolve);
    this.#session = new Session({
      access: open,
      parseShort,
      makeArray: largeArray,
      root: makeRoot(() => this.#settings, () => this.#files.files),
      context: calls,
      limits: options.limits,
      send: (bytes) => {
        const written = channel.write(bytes);
        if (this.#drained && this.#session.waitingBytes <= MOST_WAITING) this.#drained();
        return written;
      },
      onHello: (settings) => this.#greet(settings as Settings),
      onClose: (reason) => void this.#finish(reason),
    });
    const print: Printer = (descriptor, bytes) => {
      const session = this.#session;
      // What a program prints whose client has gone is the server's; a flood is nobody's.
      if (session.closeReason) return this.#flooded;
      session.output(descriptor, bytes);
      if (session.waitingBytes > MOST_OUTPUT) {
        this.#flooded = true;
        this.end(new Error("The client does not read what its program prints"));
      }
      return true;
    };
    printTo(print, () => void this.#pump(greeting));
  }

  /** What the client would refuse is refused here, where it is the one call's error. */
  #greet(settings: Settings): void {
    this.#settings = settings;
    const { limits } = this.#session;
    const theirs = resolveLimits(settings.limits);
    for (const name of ["frameBytes", "valueBytes", "depth", "streamWindow"] as const) {
      limits[name] = Math.min(limits[name], theirs[name]);
    }
  }

  get working(): number {
    return this.#session.working + (this.#session.waitingBytes > 0 ? 1 : 0);
  }

  async #pump(greeting: Uint8Array): Promise<void> {
    const session = this.#session;
    let failure: unknown;
    try {
      await this.#channel.write(greeting);
      let buffer = new Uint8Array(SMALL_BUFFER);
      for (;;) {
        const length = await this.#channel.read(buffer);
        if (length === null) break;
        this.#heard = true;
        this.#asked = false;
        session.receive(buffer, length);
        if (session.closeReason) return;
        if (session.waitingBytes > MOST_WAITING) await this.#drain();
        if (session.closeReason) return;
        if (length === buffer.length && length < LARGE_BUFFER) buffer = new Uint8Array(2 * length);
        else if (length < SMALL_BUFFER / 2 && buffer.length > SMALL_BUFFER) {
          buffer = new Uint8Array(buffer.length / 2);
        }
      }
    } catch (error) {
      failure = error;
    }
    session.end(
      new ConnectionLostError("The connection was lost: the client has gone", { cause: failure }),
    );
  }

  #drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#drained = () => {
        this.#drained = undefined;
        resolve();
      };
    });
  }

  async #finish(reason: Error): Promise<void> {
    this.#files.abandon();
    this.#drained?.();
    // The farewell, if there is one, must not wait for a client that does not read.
    const isWritten = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), 1000);
      void this.#session.written.then(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
    // It would wait for a write that is under way.
    if (isWritten) await this.#channel.finish();
    this.#channel.close();
    this.#settle(reason);
  }

  end(reason: Error): void {
    this.#session.close(reason);
  }

  tick(now: number): void {
    const session = this.#session;
    if (session.closeReason) return;
    session.tick();
    if (this.#heard) {
      this.#heard = false;
      this.#lastSeen = now;
    }
    if (now - this.#lastSeen > SILENCE && !this.#asked) {
      this.#asked = true;
      void session.ping();
    }
    const { idleTimeout } = this.#options;
    if (session.lastCall !== this.#lastCall || session.working > 0 || session.openChannels > 0) {
      this.#lastCall = session.lastCall;
      this.#lastActive = now;
    } else if (idleTimeout > 0 && now - this.#lastActive > idleTimeout) {
      this.end(new Error(`The client made no call for ${idleTimeout} ms (idleTimeout)`));
    }
  }
}
