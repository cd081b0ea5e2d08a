/**
 * The `local` transport: a new interpreter on this machine.
 *
 * The address is empty (`local:`). The command runs in a process group of its own, so that it and what it started can
 * be ended together. Needs `--allow-run` for the command's program.
 *
 * @module
 */

import { ConnectionError } from "./errors.ts";
import type { BaseTransport, CopyOptions, PopenOptions, TransportStatus } from "./popen.ts";

/** Options of the `local` transport. */
export interface LocalOptions extends PopenOptions {
  /**
   * How long the command may take to exit once its input has ended, in milliseconds, before it is killed.
   * Default: 2000.
   */
  closeTimeout?: number;
}

/** The names of the options that this transport adds. */
export const options: readonly string[] = [
  "closeTimeout",
] satisfies readonly (keyof LocalOptions)[];

/**
 * Starts `command` on this machine.
 *
 * Resolves to the transport once the process runs. Rejects with a {@linkcode ConnectionError} if it cannot be
 * started, and with the signal's reason if `options.signal` is aborted.
 *
 * @example
 * ```ts
 * import { Popen } from "@pushy/core/transport/local";
 *
 * await using process = await Popen(["cat"], { address: "" });
 * const writer = process.stdin.getWriter();
 * await writer.write(new TextEncoder().encode("hello"));
 * await writer.close();
 * console.log(await new Response(process.stdout).text()); // hello
 * ```
 */
export function Popen(command: readonly string[], options: LocalOptions): Promise<BaseTransport> {
  return Promise.resolve().then(() => {
    options.signal?.throwIfAborted();
    if (options.address !== "") {
      throw new ConnectionError(`Cannot connect to "local:${options.address}"`, {
        stage: "resolve",
        hint: `the local transport has no address: write "local:"`,
      });
    }
    const [program, ...args] = command;
    if (!program) throw new ConnectionError("Cannot start an empty command", { stage: "start" });
    try {
      const child = new Deno.Command(program, {
        args,
        cwd: options.cwd,
        env: options.env,
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
        detached: Deno.build.os !== "windows",
      }).spawn();
      return new LocalTransport(child, options);
    } catch (cause) {
      throw startError(command, options, cause);
    }
  });
}

function startError(command: readonly string[], options: LocalOptions, cause: unknown) {
  const details = { stage: "start", command: command.join(" "), cause };
  if (cause instanceof Deno.errors.NotFound) {
    const folder = options.cwd === undefined ? "" : `, or the folder ${options.cwd} does not exist`;
    return new ConnectionError(`Cannot start ${command[0]}: there is no such program${folder}`, {
      ...details,
      code: "ENOENT",
      hint: "give its path, or put its folder on the PATH",
    });
  }
  if (cause instanceof Deno.errors.NotCapable) {
    return new ConnectionError(`Cannot start ${command[0]}: ${cause.message}`, {
      ...details,
      code: "NotCapable",
      hint: `run with --allow-run=${command[0]}`,
    });
  }
  const message = cause instanceof Error ? cause.message : String(cause);
  return new ConnectionError(`Cannot start ${command[0]}: ${message}`, details);
}

class LocalTransport implements BaseTransport {
  readonly address = "";
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #grace: number;
  #exited = false;
  #closing: Promise<TransportStatus> | undefined;

  constructor(child: Deno.ChildProcess, options: LocalOptions) {
    this.#child = child;
    this.#grace = options.closeTimeout ?? 2000;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    this.status = child.status.then(({ code, signal }) => {
      this.#exited = true;
      // What the process started and left behind goes with it.
      this.#kill("SIGKILL");
      return { code: signal ? null : code, signal };
    });
  }

  close(): Promise<TransportStatus> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<TransportStatus> {
    this.#child.ref();
    // A writer that somebody holds is theirs to close; killing the process ends its stream too.
    if (!this.stdin.locked) await this.stdin.close().catch(() => {});
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, this.#grace));
    await Promise.race([this.status, late]);
    clearTimeout(timer);
    if (!this.#exited) this.#kill("SIGKILL");
    const status = await this.status;
    for (const stream of [this.stdout, this.stderr]) {
      if (!stream.locked) await stream.cancel().catch(() => {});
    }
    return status;
  }

  #kill(signal: Deno.Signal): void {
    try {
      if (Deno.build.os === "windows") this.#child.kill(signal);
      else Deno.kill(-this.#child.pid, signal);
    } catch {
      // The group is gone already, or the program may not send signals: then only the process is ended.
      if (this.#exited) return;
      try {
        this.#child.kill(signal);
      } catch {
        // It has just exited.
      }
    }
  }

  ref(): void {
    this.#child.ref();
  }

  unref(): void {
    this.#child.unref();
  }

  async getfile(remotePath: string, localPath: string, options?: CopyOptions): Promise<void> {
    await copy(remotePath, localPath, options);
  }

  async putfile(localPath: string, remotePath: string, options?: CopyOptions): Promise<void> {
    await copy(localPath, remotePath, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Copies beside the destination first: an end half-way leaves that as it was. */
async function copy(from: string, to: string, options: CopyOptions = {}): Promise<void> {
  options.signal?.throwIfAborted();
  const { size, isDirectory } = await Deno.stat(from);
  if (isDirectory) throw new Deno.errors.IsADirectory(`Cannot copy ${from}: it is a folder`);
  const partial = `${to}.${crypto.randomUUID().slice(0, 8)}.part`;
  try {
    await Deno.copyFile(from, partial);
    options.signal?.throwIfAborted();
    await Deno.rename(partial, to);
  } catch (error) {
    await Deno.remove(partial).catch(() => {});
    throw error;
  }
  options.onProgress?.({ bytes: size, total: size });
}
