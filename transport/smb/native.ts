/**
 * Windows' own way: the pipe opened by its path, `\\host\pipe\name`, as the current user. Windows
 * speaks SMB then.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import { AuthenticationError, ConnectionError } from "../errors.ts";
import type { TransportStatus } from "../popen.ts";
import type { SmbOptions, SmbTransport } from "./options.ts";

/** Names of system errors, and what they mean here. */
const MEANINGS: Readonly<Record<string, string>> = {
  ENOENT: "there is no pipe of that name, or no such host. Is the Pushy server running there?",
  EACCES: "access is denied. May the current user use the pipe?",
  EPERM: "access is denied. May the current user use the pipe?",
};

/** How long to wait until a busy pipe is tried again, in ms. */
const BUSY_PAUSE = 50;

/** Opens the pipe `name` of `host` by its path. */
export async function openNativePipe(
  options: SmbOptions,
  host: string,
  name: string,
): Promise<SmbTransport> {
  if (options.username !== undefined || options.password !== undefined || options.anonymous) {
    throw new TypeError("Cannot open a pipe by its path as somebody else than the current user");
  }
  if (options.encrypt) {
    throw new TypeError("Cannot ask for encryption where Windows itself opens the pipe");
  }
  const path = pipePath(host, name);
  const { connectTimeout = 30_000, signal } = options;
  const until = connectTimeout <= 0 ? Infinity : Date.now() + connectTimeout;
  for (;;) {
    try {
      return nativeTransport(options.address, await open(path, until - Date.now(), signal));
    } catch (cause) {
      signal?.throwIfAborted();
      const code = (cause as { code?: string }).code;
      if (code === "EBUSY" && Date.now() + BUSY_PAUSE < until) {
        await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE));
        continue;
      }
      const Kind = code === "EACCES" || code === "EPERM" ? AuthenticationError : ConnectionError;
      const why = MEANINGS[code ?? ""] ?? (cause as Error).message;
      throw new Kind(`Cannot open ${path}: ${why}`, { stage: "open", code, cause });
    }
  }
}

/** A pipe of this machine is reached without SMB. */
export function pipePath(host: string, name: string): string {
  return `\\\\${/^(localhost|127\.0\.0\.1|::1)$/i.test(host) ? "." : host}\\pipe\\${name}`;
}

function open(path: string, ms: number, signal: AbortSignal | undefined): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const finish = (error?: unknown) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
      socket.removeListener("error", finish);
      socket.removeListener("connect", ready);
      if (error === undefined) return resolve(socket);
      socket.on("error", () => {
        // The start has failed already; what else the socket says is of no use.
      });
      socket.destroy();
      reject(error);
    };
    const ready = () => finish();
    const stop = () => finish(signal!.reason);
    const timer = Number.isFinite(ms)
      ? setTimeout(
        () => finish(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" })),
        Math.max(1, ms),
      )
      : undefined;
    socket.once("error", finish);
    socket.once("connect", ready);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** A connected `node:net` socket as a transport. Takes it over. */
export function nativeTransport(address: string, socket: Socket): SmbTransport {
  let failure: Error | undefined;
  socket.on("error", (error: Error) => failure = error);
  const status = new Promise<TransportStatus>((resolve) => {
    socket.once("close", () =>
      resolve({
        code: null,
        signal: null,
        ...(failure === undefined ? {} : {
          reason: new Error(`The pipe broke: ${failure.message}`, { cause: failure }),
        }),
      }));
  });
  const close = () => {
    socket.destroy();
    return status;
  };
  return {
    address,
    security: null,
    stdin: Writable.toWeb(socket) as WritableStream<Uint8Array>,
    stdout: Readable.toWeb(socket) as unknown as ReadableStream<Uint8Array>,
    stderr: new ReadableStream({ start: (controller) => controller.close() }),
    status,
    close,
    ref: () => void socket.ref(),
    unref: () => void socket.unref(),
    [Symbol.asyncDispose]: async () => {
      await close();
    },
  };
}
