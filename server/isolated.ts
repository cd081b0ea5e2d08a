/**
 * An interpreter for each connection: a process of its own, whose bytes the server passes on.
 *
 * @module
 */

import { FrameWriter, HEAD } from "../protocol/frame.ts";
import { Op } from "../protocol/messages.ts";
import { shortCommand, type Start, startOf, wholeAgentBytes } from "../runtime/bootstrap.ts";
import { type Permissions, type RuntimeName, runtimeOf } from "../runtime/runtimes.ts";
import type { SocketChannel } from "../transport/daemon/channel.ts";
import { Popen } from "../transport/local.ts";
import type { BaseTransport } from "../transport/popen.ts";
import type { Log } from "./log.ts";
import type { Interpreter, Served } from "./shared.ts";

/** How processes are started. */
export interface IsolatedOptions {
  permissions: Permissions | undefined;
  runtime: RuntimeName;
  interpreter: readonly string[] | undefined;
  cwd: string | undefined;
  env: Record<string, string> | undefined;
  /** Without bytes of its own for so long, in ms, a client is sent away; 0 is never. */
  idleTimeout: number;
  log: Log;
}

/** Starts a process for each who comes. */
export function isolateInterpreters(options: IsolatedOptions): Interpreter {
  const runtime = runtimeOf(options.runtime);
  const own = runtime.name === "deno" && !Deno.build.standalone ? Deno.execPath() : runtime.program;
  const start = startOf(runtime, options.interpreter ?? [own], {
    permissions: options.permissions,
    cache: true,
    platform: Deno.build.os === "windows" ? "windows" : "unix",
    guarded: true,
  });
  const agent = wholeAgentBytes(runtime);
  return {
    serve: (channel) => new Passage(channel, start, agent, options),
    close() {},
  };
}

/** How long a frame may take to be complete, when the connection is to end between two, in ms. */
const CUT_TIMEOUT = 500;

/** A client and its process. */
class Passage implements Served {
  readonly over: Promise<Error>;
  /** What passes is not looked into: it may be working as long as it is there. */
  readonly working = 1;
  readonly #channel: SocketChannel;
  readonly #options: IsolatedOptions;
  readonly #frames = new FrameFollower();
  #process: BaseTransport | undefined;
  #lastSent = performance.now();
  #reason: Error | undefined;
  /** Is nothing being written to the client? */
  #quiet = false;
  #cut: (() => void) | undefined;
  #settle!: (reason: Error) => void;

  constructor(
    channel: SocketChannel,
    start: Start,
    agent: Uint8Array,
    options: IsolatedOptions,
  ) {
    this.#channel = channel;
    this.#options = options;
    this.over = new Promise((resolve) => this.#settle = resolve);
    void this.#run(start, agent);
  }

  async #run({ command, env: needed }: Start, agent: Uint8Array): Promise<void> {
    const { cwd, env } = this.#options;
    try {
      const process = await Popen(command, { address: "", cwd, env: { ...needed, ...env } });
      this.#process = process;
      const following = this.#followErrors(process);
      const writer = process.stdin.getWriter();
      writer.closed.catch(() => {});
      const inward = this.#passIn(writer, agent);
      await this.#passOut(process);
      this.#channel.close();
      await Promise.all([process.close(), inward, following]);
    } catch (error) {
      this.#reason ??= error instanceof Error ? error : new Error(String(error));
      await this.#channel.write(
        new TextEncoder().encode(
          `The server cannot start an interpreter: ${shortCommand(command)}: ${error}\n`,
        ),
      ).catch(() => {});
      await this.#channel.finish();
      await this.#process?.close();
    }
    this.#channel.close();
    this.#settle(this.#reason ?? new Error("The client has gone"));
  }

  /** What a process writes past its agent is the server's to keep. */
  async #followErrors(process: BaseTransport): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const bytes of process.stderr) {
        const text = decoder.decode(bytes, { stream: true }).trim();
        if (text) this.#options.log({ event: "stderr", text });
      }
    } catch {
      // The process is gone.
    }
  }

  async #passIn(
    writer: WritableStreamDefaultWriter<Uint8Array>,
    agent: Uint8Array,
  ): Promise<void> {
    try {
      await writer.write(agent);
      const buffer = new Uint8Array(64 << 10);
      for (;;) {
        const length = await this.#channel.read(buffer);
        if (length === null) break;
        // A ping and its answer are short, and no sign of use.
        if (length > 64) this.#lastSent = performance.now();
        await writer.write(buffer.slice(0, length));
      }
    } catch {
      // One of the two is gone: the other direction tells which.
    }
    this.#reason ??= new Error("The client has gone");
    void this.#process?.close();
    await writer.close().catch(() => {});
  }

  async #passOut(process: BaseTransport): Promise<void> {
    const reader = process.stdout.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(64 << 10);
    try {
      for (;;) {
        this.#quiet = true;
        const { done, value } = await reader.read(new Uint8Array(buffer));
        if (done) break;
        this.#quiet = false;
        buffer = value.buffer as ArrayBuffer;
        const boundary = this.#frames.push(value);
        if (!this.#cut) {
          await this.#channel.write(value);
          if (!this.#cut || !this.#frames.atBoundary) continue;
        } else if (boundary < 0) {
          await this.#channel.write(value);
          continue;
        } else {
          await this.#channel.write(value.subarray(0, boundary));
        }
        this.#cut();
        break;
      }
    } catch (error) {
      this.#reason ??= error as Error;
    } finally {
      await reader.cancel().catch(() => {});
    }
    if (!this.#cut) {
      const { code, signal } = await process.status;
      this.#reason ??= new Error(`The interpreter ended with ${signal ?? `exit status ${code}`}`);
    }
  }

  end(reason: Error): void {
    if (this.#reason) return;
    this.#reason = reason;
    const timer = setTimeout(() => this.#cut?.(), CUT_TIMEOUT);
    this.#cut = () => {
      clearTimeout(timer);
      this.#cut = () => {};
      void this.#farewell(reason);
    };
    if (this.#quiet && this.#frames.atBoundary) this.#cut();
  }

  async #farewell(reason: Error): Promise<void> {
    try {
      if (this.#frames.atBoundary) await this.#channel.write(this.#frames.bye(reason.message));
    } catch {
      // The client has gone first.
    }
    await this.#channel.finish();
    this.#channel.close();
    await this.#process?.close();
  }

  tick(now: number): void {
    const { idleTimeout } = this.#options;
    if (idleTimeout > 0 && now - this.#lastSent > idleTimeout) {
      this.end(new Error(`The client made no call for ${idleTimeout} ms (idleTimeout)`));
    }
  }
}

/** Follows a stream of frames, so that one more can be put between two. */
class FrameFollower {
  #state: "noise" | "head" | "body" = "noise";
  #line = "";
  readonly #head = new Uint8Array(HEAD);
  #filled = 0;
  #left = 0;
  #acknowledged = 0;

  /** Would a frame be whole here? Before the banner there are none. */
  get atBoundary(): boolean {
    return this.#state === "head" && this.#filled === 0;
  }

  /** Takes in bytes; says where in them the last frame ends, or -1. */
  push(bytes: Uint8Array): number {
    let boundary = -1;
    for (let at = 0; at < bytes.length;) {
      if (this.#state === "noise") {
        const end = bytes.indexOf(0x0a, at);
        const stop = end < 0 ? bytes.length : end + 1;
        this.#line += new TextDecoder().decode(bytes.subarray(at, stop)).slice(0, 1000);
        at = stop;
        if (end >= 0) {
          if (this.#line.startsWith("PUSHY/")) this.#state = "head";
          this.#line = "";
        }
      } else if (this.#state === "head") {
        const part = bytes.subarray(at, at + HEAD - this.#filled);
        this.#head.set(part, this.#filled);
        this.#filled += part.length;
        at += part.length;
        if (this.#filled === HEAD) this.#readHead();
      } else {
        const length = Math.min(this.#left, bytes.length - at);
        this.#left -= length;
        at += length;
        if (this.#left === 0) this.#state = "head";
      }
      if (this.atBoundary) boundary = at;
    }
    return boundary;
  }

  #readHead(): void {
    const view = new DataView(this.#head.buffer);
    this.#filled = 0;
    this.#left = view.getUint32(0, true);
    if (this.#left > 0) this.#state = "body";
    // A chunk frame has the number of a channel there.
    if (view.getUint32(8, true) !== 0xffff_ffff) this.#acknowledged = view.getUint32(4, true);
  }

  /** The frame that says goodbye. */
  bye(reason: string): Uint8Array {
    const writer = new FrameWriter();
    const message = `[${Op.bye},${JSON.stringify(reason)}]`;
    writer.add(message, message.length);
    return writer.take(this.#acknowledged);
  }
}
