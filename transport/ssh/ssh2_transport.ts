/**
 * A command run through npm:ssh2, as a transport.
 *
 * @module
 */

import { ConnectionError } from "../errors.ts";
import type { BaseTransport, CopyOptions, TransportStatus } from "../popen.ts";
import { type FileLink, RemoteFiles } from "./remote_files.ts";
import { ChannelBytes } from "./channel_bytes.ts";
import { explainStart, notToldBy, UNKNOWN_END } from "./failures.ts";
import type { CheckedTarget, SshOptions } from "./options.ts";
import { openSession, type Ssh2Session } from "./ssh2_session.ts";
import type { Ssh2Channel } from "./ssh2_library.ts";
import { StderrTail } from "./stderr_tail.ts";
import { endsWithin } from "./waiting.ts";

const GRACE = 2_000;
const FORCE = 1_000;
const STDERR_HELD = 262_144;

/** Connects, logs in, and starts the command line of `request`. */
export async function startSsh2(
  request: { readonly line: string; readonly program: string; readonly shown: string },
  target: CheckedTarget,
  options: SshOptions,
): Promise<Ssh2Transport> {
  let stage = "resolve";
  const limit = new AbortController();
  const onAbort = () => limit.abort(options.signal!.reason);
  options.signal?.throwIfAborted();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  const timer = target.connectTimeout === 0 ? undefined : setTimeout(() => {
    limit.abort(
      new ConnectionError(
        `The connection to ${options.address} was not made within ${target.connectTimeout} ms ` +
          `(stage: ${stage}).`,
        {
          stage,
          code: "ETIMEDOUT",
          hint: "Does a firewall drop the packets? A longer time is given with connectTimeout.",
        },
      ),
    );
  }, target.connectTimeout);
  let session: Ssh2Session | undefined;
  try {
    session = await openSession(target, options, limit.signal, (name) => stage = name);
    stage = "start";
    return await execute(session, { options, ...request }, limit.signal);
  } catch (error) {
    await session?.close();
    throw error;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}

interface About {
  readonly options: SshOptions;
  readonly line: string;
  readonly program: string;
  readonly shown: string;
}

function execute(
  session: Ssh2Session,
  about: About,
  signal: AbortSignal,
): Promise<Ssh2Transport> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    const refuse = (cause: unknown) =>
      reject(
        new ConnectionError(`${session.target} does not let this account run a command.`, {
          stage: "start",
          command: about.shown,
          code: "EEXEC",
          hint: "The daemon's configuration or the key's restrictions forbid it.",
          cause,
        }),
      );
    session.lost.then((error) => reject(error ?? new Error("The connection was closed.")));
    try {
      session.client.exec(about.line, (error, channel) => {
        // In this turn: a short command's end may stand in the same packet as its beginning.
        if (error) refuse(error);
        else resolve(new Ssh2Transport(session, channel, about));
      });
    } catch (error) {
      refuse(error);
    }
  });
}

/** A command that runs at the other end of a channel. */
export class Ssh2Transport implements BaseTransport {
  readonly address: string;
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly channel: ChannelBytes;
  readonly #session: Ssh2Session;
  readonly #raw: Ssh2Channel;
  readonly #tail: StderrTail;
  readonly #files: RemoteFiles;
  readonly #gone = Promise.withResolvers<void>();
  #exit: { code: number | null; signal: string | null } | undefined;
  #closing: Promise<TransportStatus> | undefined;

  constructor(
    session: Ssh2Session,
    channel: Ssh2Channel,
    about: About,
  ) {
    this.address = about.options.address;
    this.#session = session;
    this.#raw = channel;
    this.#files = new RemoteFiles(() => openFiles(session), about.options.cwd);
    const bytes = this.channel = new ChannelBytes(channel);
    this.#tail = new StderrTail(streamOf(channel.stderr, channel));
    this.stderr = this.#tail.stream;
    this.stdin = new WritableStream({
      write: (chunk) => bytes.write(chunk),
      close: () => {
        channel.end();
      },
      abort: () => {
        channel.end();
      },
    });
    this.stdout = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: 65536,
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const view = request.view!;
        const count = await bytes.read(
          new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
        );
        if (count === null) controller.close();
        request.respond(count ?? 0);
      },
      cancel: () => this.#drain(),
    });
    channel.on("exit", (code: number | null, signal?: string) => {
      this.#exit = { code, signal: signal ?? null };
    });
    channel.on("close", () => this.#gone.resolve());
    session.lost.then(() => this.#gone.resolve());
    this.status = this.#watch(about);
  }

  async #watch(about: About): Promise<TransportStatus> {
    await this.#gone.promise;
    const lost = await Promise.race([this.#session.lost, Promise.resolve(undefined)]);
    this.channel.end();
    this.channel.breakWrites(
      lost ?? new Deno.errors.BrokenPipe("The remote command has ended."),
    );
    const stderr = await this.#tail.finish(GRACE);
    if (this.#exit) {
      const reason = explainStart({
        ...this.#exit,
        target: this.#session.target,
        command: about.shown,
        program: about.program,
        stderr,
        started: this.channel.started,
        head: this.channel.head,
      });
      return reason ? { ...this.#exit, reason } : this.#exit;
    }
    const unknown = { code: null, signal: null };
    if (lost) return { ...unknown, reason: lost };
    return {
      ...unknown,
      reason: new ConnectionError(notToldBy(this.#session.target), {
        ...UNKNOWN_END,
        command: about.shown,
        stderr,
      }),
    };
  }

  async #drain(): Promise<void> {
    const scrap = new Uint8Array(65536);
    while (await this.channel.read(scrap) !== null);
  }

  close(): Promise<TransportStatus> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<TransportStatus> {
    this.#raw.end();
    const drained = this.#drain();
    const gone = this.#gone.promise;
    if (!await endsWithin(gone, GRACE)) {
      // OpenSSH delivers signals since 7.9; an older daemon ignores the request.
      this.#raw.signal("TERM");
      if (!await endsWithin(gone, FORCE)) {
        this.#raw.signal("KILL");
        if (!await endsWithin(gone, FORCE)) this.#raw.close();
      }
    }
    await this.#files.close();
    await this.#session.close();
    this.channel.end();
    await drained;
    return await this.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  getfile(remotePath: string, localPath: string, options?: CopyOptions): Promise<void> {
    return this.#files.getfile(remotePath, localPath, options);
  }

  putfile(localPath: string, remotePath: string, options?: CopyOptions): Promise<void> {
    return this.#files.putfile(localPath, remotePath, options);
  }

  unref(): void {
    this.#session.unref();
  }

  ref(): void {
    this.#session.ref();
  }
}

function openFiles(session: Ssh2Session): Promise<FileLink> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: unknown) =>
      reject(
        new ConnectionError("Cannot copy a file: the host has no SFTP server.", {
          stage: "start",
          code: "ENOSFTP",
          hint: "Its SSH daemon must offer the subsystem sftp (OpenSSH's sftp-server).",
          cause,
        }),
      );
    session.lost.then((error) => reject(error ?? new Error("The connection was closed.")));
    try {
      session.client.subsys("sftp", (error, channel) => {
        if (error) return refuse(error);
        channel.stderr.resume();
        const bytes = new ChannelBytes(channel);
        const gone = new Promise<void>((done) => channel.on("close", () => done()));
        session.lost.then((lost) => {
          bytes.end();
          bytes.breakWrites(lost ?? new Error("The connection was closed."));
        });
        resolve({
          channel: bytes,
          close: async () => {
            channel.end();
            if (!await endsWithin(Promise.race([gone, session.lost]), FORCE)) channel.close();
            return undefined;
          },
        });
      });
    } catch (error) {
      refuse(error);
    }
  });
}

function streamOf(source: Ssh2Channel["stderr"], channel: Ssh2Channel): ReadableStream<Uint8Array> {
  let open = true;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const end = () => {
        if (open) controller.close();
        open = false;
      };
      source.on("data", (data: Uint8Array) => {
        if (!open) return;
        controller.enqueue(data);
        if ((controller.desiredSize ?? 1) <= 0) source.pause();
      });
      source.on("end", end);
      channel.on("close", end);
    },
    pull() {
      source.resume();
    },
    cancel() {
      open = false;
      source.resume();
    },
  }, new ByteLengthQueuingStrategy({ highWaterMark: STDERR_HELD }));
}
