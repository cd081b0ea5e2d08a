/**
 * The `local` transport: a new interpreter on this machine.
 *
 * The address is empty (`local:`). The command runs in a process group of its own, so that it and what it started can
 * be ended together. Needs `--allow-run` for the command's program.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { ConnectionError } from "./errors.ts";
import { endWithProgram } from "./orphans.ts";
import { type Descriptors, STANDARD, WidePipes } from "./wide_pipes.ts";
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

/** Where an agent's loader puts the pipes, so that a program has its own standard input and output. */
const AGENT: Descriptors = [3, 4];

class LocalTransport implements BaseTransport {
  readonly address = "";
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #grace: number;
  readonly #pipes: WidePipes;
  #exited = false;
  #released: Promise<void> | undefined;
  #closing: Promise<TransportStatus> | undefined;

  constructor(child: Deno.ChildProcess, options: LocalOptions) {
    this.#child = child;
    this.#grace = options.closeTimeout ?? 2000;
    this.stdin = child.stdin;
    this.stdout = child.stdout;
    this.stderr = child.stderr;
    this.#pipes = new WidePipes(child.pid, [AGENT, STANDARD]);
    const release = endWithProgram(child.pid, "0");
    this.status = child.status.then(({ code, signal }) => {
      this.#exited = true;
      this.#pipes.release();
      // What the process started and left behind goes with it.
      this.#kill("SIGKILL");
      this.#released = release();
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
    await this.#released;
    for (const stream of [this.stdout, this.stderr]) {
      if (!stream.locked) await stream.cancel().catch(() => {});
    }
    return status;
  }

  #kill(signal: Deno.Signal): void {
    try {
      if (Deno.build.os !== "windows" && mayKill()) return Deno.kill(-this.#child.pid, signal);
    } catch {
      // The group is gone already.
    }
    try {
      if (!this.#exited) this.#child.kill(signal);
    } catch {
      // It has just exited.
    }
  }

  expectMuch(): void {
    this.#pipes.widen();
  }

  ref(): void {
    this.#child.ref();
  }

  unref(): void {
    this.#child.unref();
  }

  async getfile(remotePath: string, localPath: string, options?: CopyOptions): Promise<void> {
    await copy(remotePath, localPath, "remote", options);
  }

  async putfile(localPath: string, remotePath: string, options?: CopyOptions): Promise<void> {
    await copy(localPath, remotePath, "local", options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Only who may run anything may end what a process has started; else the user would be asked. */
function mayKill(): boolean {
  return Deno.permissions.querySync({ name: "run" }).state === "granted";
}

/** A file of no more bytes is copied at once. */
const AT_ONCE = 4 << 20;
const PIECE = 1 << 20;

/** Copies beside the destination first: an end half-way leaves that as it was. */
async function copy(
  from: string,
  to: string,
  source: "local" | "remote",
  options: CopyOptions = {},
): Promise<void> {
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const destination = source === "local" ? "remote" : "local";
  const { size, isDirectory, isFile, mode } = await about(source, Deno.stat(from));
  if (isDirectory) {
    const refused = new Deno.errors.IsADirectory(`Cannot copy ${from}: it is a folder`);
    throw Object.assign(refused, { side: source });
  }
  const { final, direct, keeps } = await about(destination, placeOf(to));
  if (direct) await about(destination, Deno.copyFile(from, final));
  else {
    const partial = join(dirname(final), `.pushy-${crypto.randomUUID().slice(0, 13)}.part`);
    try {
      // The system copies a file faster than its bytes can be passed on, but says nothing meanwhile, and cannot be stopped.
      const silent = onProgress === undefined && signal === undefined;
      if (silent || !isFile || size <= AT_ONCE) {
        await about(destination, Deno.copyFile(from, partial));
      } else await about(destination, copyPieces(from, partial, size, options));
      // Who runs it is not for a copy to say; what is replaced keeps its own mode.
      const bits = keeps ?? (mode === null ? null : mode & 0o777);
      if (
        bits !== null && (mode === null || bits !== (mode & 0o7777)) && Deno.build.os !== "windows"
      ) {
        await about(destination, Deno.chmod(partial, bits));
      }
      signal?.throwIfAborted();
      await about(destination, Deno.rename(partial, final));
    } catch (error) {
      await Deno.remove(partial).catch(() => {});
      throw error;
    }
  }
  onProgress?.({ bytes: size, total: size });
}

interface Destination {
  /** Where the copy goes in the end. */
  readonly final: string;
  /** Is it written there as it is, since that is no regular file? */
  readonly direct: boolean;
  /** The permission bits of what is there. */
  readonly keeps: number | null;
}

async function placeOf(path: string): Promise<Destination> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { final: path, direct: false, keeps: null };
  }
  if (info.isDirectory) {
    throw new Deno.errors.IsADirectory(`Cannot copy to ${path}: it is a folder`);
  }
  if (!info.isFile) return { final: path, direct: true, keeps: null };
  // The file that a link points to is replaced, not the link.
  const keeps = info.mode === null ? null : info.mode & 0o777;
  return { final: await Deno.realPath(path), direct: false, keeps };
}

async function copyPieces(
  from: string,
  to: string,
  total: number,
  { signal, onProgress }: CopyOptions,
): Promise<void> {
  using input = await Deno.open(from);
  const { mode } = await input.stat();
  using output = await Deno.open(to, {
    write: true,
    createNew: true,
    ...mode === null ? {} : { mode: 0o600 },
  });
  const piece = new Uint8Array(PIECE);
  let bytes = 0;
  for (let length; (length = await input.read(piece)) !== null;) {
    signal?.throwIfAborted();
    for (let at = 0; at < length;) at += await output.write(piece.subarray(at, length));
    bytes += length;
    // The last word is said when the copy is in its place.
    if (bytes < total) onProgress?.({ bytes, total });
  }
  if (mode !== null && Deno.build.os !== "windows") await Deno.chmod(to, mode & 0o777);
}

/** Says in an error which end it is about. */
async function about<T>(side: "local" | "remote", work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const ours = error instanceof Error && Object.hasOwn(Deno.errors, error.name);
    throw ours ? Object.assign(error, { side }) : error;
  }
}
