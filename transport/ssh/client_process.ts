/**
 * A local client program as a transport: its streams, its end, and the truth about it.
 *
 * The process's pipes are read and written only here, so that closing works also while a user
 * holds locks on the streams that were handed out.
 *
 * @module
 */

import type { ConnectionError } from "../errors.ts";
import { endWithProgram } from "../orphans.ts";
import type { BaseTransport, CopyOptions, TransportStatus } from "../popen.ts";
import type { RemoteFiles } from "./remote_files.ts";
import type { LendingChannel } from "./sftp_client.ts";
import { StderrTail } from "./stderr_tail.ts";
import { endsWithin } from "./waiting.ts";

/** How a client program is started, and what is told of its end. */
export interface ClientStart {
  readonly address: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string> | undefined;
  /** Copies files beside the command. */
  readonly files?: RemoteFiles | undefined;
  /** Called once, when the remote side has written, or the client has ended. */
  readonly onStarted?: () => void;
  /** Says why the client ended, where that was not the remote command's own end. */
  readonly explain: (end: {
    code: number | null;
    signal: string | null;
    stderr: string;
    started: boolean;
    head: string;
    forced: boolean;
  }) => Promise<ConnectionError | undefined>;
  /** What else the client's exit code may stand for, where it is told as the remote command's. */
  readonly noteOn?: (code: number | null) => string | undefined;
  /** Called when nothing of the process is left, before the status is told. */
  readonly onEnd?: () => Promise<void> | void;
}

// As much of what the command wrote first as an error may need, in bytes.
const HEAD = 512;
// After the end of its input, and then after SIGTERM, in milliseconds.
const GRACE = 2_000;
const FORCE = 1_000;
// How long stderr may stay open after the client has ended: a child of it may hold the pipe.
const STDERR_GRACE = 250;

/** A running client program. */
export class ClientProcess implements BaseTransport {
  readonly address: string;
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly channel: LendingChannel;
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamBYOBReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #tail: StderrTail;
  readonly #start: ClientStart;
  readonly #release: () => Promise<void>;
  #head = "";
  #forced: "SIGTERM" | "SIGKILL" | undefined;
  #reading: Promise<unknown> = Promise.resolve();
  #ended = false;
  #started = false;
  #closing: Promise<TransportStatus> | undefined;
  #exited = false;
  #spare: ArrayBuffer | undefined;

  /** Starts the program. @throws {Deno.errors.NotFound} if there is none of that name. */
  constructor(start: ClientStart) {
    this.#start = start;
    this.address = start.address;
    this.#child = new Deno.Command(start.program, {
      args: [...start.args],
      env: start.env ?? {},
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      // Ctrl-C on the terminal is for this program, which may have more to say over the link.
      detached: Deno.build.os !== "windows",
    }).spawn();
    this.#release = endWithProgram(this.#child.pid, "TERM");
    // Deno's pipes are byte streams, which its types do not say.
    this.#reader = this.#child.stdout.getReader({ mode: "byob" });
    this.#writer = this.#child.stdin.getWriter();
    this.#writer.closed.catch(() => {
      // Whoever writes is told by the write itself.
    });
    this.#tail = new StderrTail(this.#child.stderr);
    this.stderr = this.#tail.stream;
    this.channel = {
      read: async (buffer) => {
        const spare = this.#spare ?? new ArrayBuffer(65536);
        this.#spare = undefined;
        const value = await this.#lend(
          new Uint8Array(spare, 0, Math.min(buffer.length, spare.byteLength)),
        );
        if (value === null) return null;
        buffer.set(value);
        this.#spare = value.buffer;
        return value.length;
      },
      lend: (view) => this.#lend(view),
      write: (chunk) => this.#writer.write(chunk),
    };
    this.stdin = new WritableStream({
      write: (chunk) => this.#writer.write(chunk),
      close: () => this.#endInput(),
      abort: () => this.#endInput(),
    });
    this.stdout = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: 65536,
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const wanted = request.view as Uint8Array<ArrayBuffer>;
        const { buffer, byteOffset, byteLength } = wanted;
        const view = new Uint8Array(buffer, byteOffset, byteLength);
        if (this.#closing) {
          controller.close();
          request.respondWithNewView(view.subarray(0, 0));
          return;
        }
        const reading = this.#reader.read(view);
        this.#reading = reading;
        const { value, done } = await reading;
        if (done) {
          this.#ended = true;
          controller.close();
        } else if (!this.#started) this.#markStarted(value);
        if (value !== undefined) request.respondWithNewView(value);
      },
      cancel: () => this.#drain(),
    });
    this.status = this.#watch();
  }

  /** The process's id. */
  get pid(): number {
    return this.#child.pid;
  }

  async #lend(view: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null> {
    if (this.#closing) return null;
    const reading = this.#reader.read(view);
    this.#reading = reading;
    const { value, done } = await reading;
    if (done || value === undefined) {
      this.#ended = true;
      return null;
    }
    if (!this.#started) this.#markStarted(value);
    return value;
  }

  #markStarted(first: Uint8Array): void {
    this.#started = true;
    this.#head = new TextDecoder().decode(first.subarray(0, HEAD));
    this.#start.onStarted?.();
  }

  async #endInput(): Promise<void> {
    try {
      await this.#writer.close();
    } catch {
      // The process no longer reads, or the input has ended before: both are what was wanted.
    }
  }

  // Takes and drops what the process still writes, so that it can end.
  async #drain(): Promise<void> {
    try {
      await this.#reading;
    } catch {
      // Whoever reads was told.
      this.#ended = true;
    }
    const scrap = { buffer: new ArrayBuffer(65536) };
    while (!this.#ended) {
      try {
        const { value, done } = await this.#reader.read(new Uint8Array(scrap.buffer));
        if (done || value === undefined) this.#ended = true;
        else scrap.buffer = value.buffer as ArrayBuffer;
      } catch {
        this.#ended = true;
      }
    }
  }

  async #watch(): Promise<TransportStatus> {
    const { code, signal } = await this.#child.status;
    this.#exited = true;
    const released = this.#release();
    // Whoever waits in a write to a process that is gone is told so by the pipe.
    const stderr = await this.#tail.finish(STDERR_GRACE);
    if (!this.#started) this.#start.onStarted?.();
    // What it wrote last may be on its way to a reader.
    await endsWithin(this.#reading, STDERR_GRACE);
    // OpenSSH's client catches SIGTERM and reports a failure instead.
    const end = this.#forced !== undefined && (signal !== null || code === 255)
      ? { code: null, signal: this.#forced }
      : { code: signal === null ? code : null, signal };
    const reason = await this.#start.explain({
      ...end,
      stderr,
      started: this.#started,
      head: this.#head,
      forced: this.#forced !== undefined,
    });
    await this.#start.onEnd?.();
    await released;
    if (reason === undefined) {
      const note = this.#start.noteOn?.(end.code);
      return note === undefined ? end : { ...end, note };
    }
    // Where the client failed, how the remote command ended is not known.
    return reason.stage === "start" ? { ...end, reason } : { code: null, signal: null, reason };
  }

  close(): Promise<TransportStatus> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<TransportStatus> {
    const exit = this.#child.status;
    // Not awaited: a process that does not read would hold it up.
    const inputEnd = this.#endInput();
    // In a turn of its own, so that #closing is set and no further read begins.
    const drained = Promise.resolve().then(() => this.#drain());
    for (const [signal, wait] of [["SIGTERM", GRACE], ["SIGKILL", FORCE]] as const) {
      if (await endsWithin(exit, wait)) break;
      if (!this.#exited) this.#force(signal);
    }
    await this.#start.files?.close();
    await exit;
    if (!await endsWithin(drained, STDERR_GRACE)) await this.#reader.cancel();
    await drained;
    await inputEnd;
    return await this.status;
  }

  #force(signal: "SIGTERM" | "SIGKILL"): void {
    try {
      this.#child.kill(signal);
      this.#forced = signal;
    } catch {
      // It has just exited: its status is about to be told.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  getfile(remotePath: string, localPath: string, options?: CopyOptions): Promise<void> {
    return this.#files().getfile(remotePath, localPath, options);
  }

  putfile(localPath: string, remotePath: string, options?: CopyOptions): Promise<void> {
    return this.#files().putfile(localPath, remotePath, options);
  }

  #files(): RemoteFiles {
    if (!this.#start.files) throw new Error("This transport copies no files.");
    return this.#start.files;
  }

  unref(): void {
    this.#child.unref();
  }

  ref(): void {
    this.#child.ref();
  }
}
