/**
 * Copies of whole files over SFTP, for either client.
 *
 * A copy goes to a temporary name beside its destination and takes its place at the end, so that
 * nobody sees half a file, and a copy that fails leaves the destination as it was. A destination
 * that is no regular file (a device, a pipe) is written as it is.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { ConnectionError } from "../errors.ts";
import type { CopyOptions } from "../popen.ts";
import { BlockReader, BlockWriter } from "./file_blocks.ts";
import { InFlight } from "./in_flight.ts";
import {
  type LendingChannel,
  OPEN_CREATE,
  OPEN_NEW,
  OPEN_READ,
  OPEN_TRUNCATE,
  OPEN_WRITE,
  SftpClient,
  SftpError,
} from "./sftp_client.ts";

/** A connection to an SFTP server. */
export interface FileLink {
  readonly channel: LendingChannel;
  /** Ends the connection; resolves to why it had ended before, if it had. */
  close(): Promise<Error | undefined>;
}

const FILE_TYPE = 0o170000, REGULAR = 0o100000, FOLDER = 0o040000, LINK = 0o120000;

interface Opened {
  readonly link: FileLink;
  readonly client: SftpClient;
}

/** The files of the other side. The connection is made at the first use, and kept. */
export class RemoteFiles {
  readonly #connect: () => Promise<FileLink>;
  readonly #cwd: string | undefined;
  #opened: Promise<Opened> | undefined;
  #closed = false;

  /** `cwd` is what relative paths are relative to; by default, the account's home folder. */
  constructor(connect: () => Promise<FileLink>, cwd?: string) {
    this.#connect = connect;
    this.#cwd = cwd;
  }

  async #client(): Promise<SftpClient> {
    if (this.#closed) throw new Error("Cannot copy a file: the transport is closed.");
    if (this.#opened) {
      const { client, link } = await this.#opened;
      if (!client.broken) return client;
      this.#opened = undefined;
      await link.close();
    }
    const opening = this.#opened ??= this.#open();
    try {
      return (await opening).client;
    } catch (error) {
      if (this.#opened === opening) this.#opened = undefined;
      throw error;
    }
  }

  async #open(): Promise<Opened> {
    const link = await this.#connect();
    try {
      return { link, client: await SftpClient.open(link.channel) };
    } catch (cause) {
      const reason = await link.close();
      // Where the host was reached, it is the server that is missing.
      if (reason && !(reason instanceof ConnectionError && reason.stage === "start")) throw reason;
      throw new ConnectionError("Cannot copy a file: the host has no SFTP server.", {
        stage: "start",
        code: "ENOSFTP",
        hint: "Its SSH daemon must offer the subsystem sftp (OpenSSH's sftp-server).",
        cause,
      });
    }
  }

  /** Ends the connection, if there is one. */
  async close(): Promise<void> {
    this.#closed = true;
    const opening = this.#opened;
    this.#opened = undefined;
    if (!opening) return;
    try {
      await (await opening).link.close();
    } catch {
      // It could not be opened; whoever asked for it was told.
    }
  }

  #path(path: string): string {
    if (path === "" || path.includes("\0")) {
      throw new TypeError(
        `Cannot copy a file: the remote path ${JSON.stringify(path)} is no path.`,
      );
    }
    if (path === "~" || path.startsWith("~/")) return path.slice(2) || ".";
    return path.startsWith("/") || this.#cwd === undefined ? path : `${this.#cwd}/${path}`;
  }

  /** Copies a file of the other side to a local path. */
  async getfile(remotePath: string, localPath: string, options: CopyOptions = {}): Promise<void> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const path = this.#path(remotePath);
    await sided(`Cannot copy ${remotePath} of the remote side`, async () => {
      const place = await localPlace(localPath);
      const client = await this.#client();
      const handle = await client.openFile(path, OPEN_READ);
      try {
        const { size, mode } = await client.fstat(handle);
        if (mode !== undefined && (mode & FILE_TYPE) === FOLDER) {
          throw new Folder("it is a folder");
        }
        const file = await Deno.open(place.temporary, {
          write: true,
          create: !place.direct,
          createNew: !place.direct,
          ...(place.mode === undefined ? {} : { mode: place.mode }),
        });
        try {
          try {
            await download(client, handle, file, size, signal, onProgress);
          } finally {
            file.close();
          }
          if (!place.direct) {
            if (place.mode !== undefined && Deno.build.os !== "windows") {
              await Deno.chmod(place.temporary, place.mode);
            }
            await Deno.rename(place.temporary, place.final);
          }
        } catch (error) {
          if (!place.direct) await Deno.remove(place.temporary);
          throw error;
        }
      } finally {
        if (!client.broken) await client.closeFile(handle);
      }
    });
  }

  /** Copies a local file to a path of the other side. */
  async putfile(localPath: string, remotePath: string, options: CopyOptions = {}): Promise<void> {
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const path = this.#path(remotePath);
    await sided(`Cannot copy to ${remotePath} of the remote side`, async () => {
      using file = await Deno.open(localPath);
      const { size, isDirectory, mode } = await file.stat();
      if (isDirectory) {
        throw new Deno.errors.IsADirectory(`Cannot copy ${localPath}: it is a folder.`);
      }
      const client = await this.#client();
      const place = await remotePlace(client, path);
      const flags = place.direct ? OPEN_WRITE | OPEN_TRUNCATE : OPEN_WRITE | OPEN_CREATE | OPEN_NEW;
      const handle = await client.openFile(place.temporary, flags, (mode ?? 0o644) & 0o777);
      let open = true;
      try {
        await upload(client, handle, file, size, signal, onProgress);
        open = false;
        await client.closeFile(handle);
        if (!place.direct) {
          if (place.mode !== undefined) await client.chmod(place.temporary, place.mode & 0o7777);
          await client.rename(place.temporary, place.final);
        }
      } catch (error) {
        if (!client.broken) {
          if (open) await client.closeFile(handle);
          if (!place.direct) await client.remove(place.temporary);
        }
        throw error;
      }
    });
  }
}

/** The other side has a folder there. */
class Folder extends Error {}

interface Place {
  /** Where to write. */
  readonly temporary: string;
  /** What it is to become. */
  readonly final: string;
  /** Is that the same, since the destination is no regular file? */
  readonly direct: boolean;
  /** The permission bits of what was there. */
  readonly mode: number | undefined;
}

function temporaryName(
  path: string,
  parts: { dirname(path: string): string; join(...parts: string[]): string },
): string {
  return parts.join(parts.dirname(path), `.pushy-${crypto.randomUUID().slice(0, 13)}.part`);
}

async function localPlace(path: string): Promise<Place> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return {
      temporary: temporaryName(path, { dirname, join }),
      final: path,
      direct: false,
      mode: undefined,
    };
  }
  if (info.isDirectory) {
    throw new Deno.errors.IsADirectory(`Cannot copy to ${path}: it is a folder.`);
  }
  if (!info.isFile) return { temporary: path, final: path, direct: true, mode: undefined };
  // The file that a link points to is replaced, not the link.
  const final = await Deno.realPath(path);
  return {
    temporary: temporaryName(final, { dirname, join }),
    final,
    direct: false,
    mode: info.mode === null ? undefined : info.mode & 0o777,
  };
}

// SFTP's paths have slashes, whatever the local system's have.
const slashes = {
  dirname: (path: string) => path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".",
  join: (folder: string, name: string) => `${folder}/${name}`,
};

async function remotePlace(client: SftpClient, path: string): Promise<Place> {
  let mode: number | undefined;
  let final = path;
  try {
    mode = (await client.lstat(path)).mode;
    if (mode !== undefined && (mode & FILE_TYPE) === LINK) {
      mode = (await client.stat(path)).mode;
      final = await client.realPath(path);
    }
  } catch (error) {
    if (!(error instanceof SftpError) || error.code !== "ENOENT") throw error;
    mode = undefined;
  }
  const type = mode === undefined ? REGULAR : mode & FILE_TYPE;
  if (type === FOLDER) throw new Folder("it is a folder");
  if (type !== REGULAR) return { temporary: final, final, direct: true, mode: undefined };
  return { temporary: temporaryName(final, slashes), final, direct: false, mode };
}

/** Does work whose errors are to say which end they are about; `what` begins the message of the remote end's. */
async function sided(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    throw ofItsSide(what, cause);
  }
}

function ofItsSide(what: string, cause: unknown): unknown {
  if (!(cause instanceof SftpError) && !(cause instanceof Folder)) {
    const local = cause instanceof Error && Object.hasOwn(Deno.errors, cause.name);
    return local ? Object.assign(cause, { side: "local" }) : cause;
  }
  const message = `${what}: ${cause.message}.`;
  const make = cause instanceof Folder
    ? Deno.errors.IsADirectory
    : cause.code === "ENOENT"
    ? Deno.errors.NotFound
    : cause.code === "EACCES"
    ? Deno.errors.PermissionDenied
    : Error;
  return Object.assign(new make(message, { cause }), { side: "remote" });
}

async function download(
  client: SftpClient,
  handle: Uint8Array,
  file: Deno.FsFile,
  size: number | undefined,
  signal: AbortSignal | undefined,
  onProgress: CopyOptions["onProgress"],
): Promise<void> {
  const step = client.maxRead;
  const inFlight = new InFlight(step);
  const queue: { offset: number; length: number; data: Promise<Uint8Array | null> }[] = [];
  const blocks = new BlockWriter(file);
  let asked = 0;
  let copied = 0;
  const ask = (offset: number, length: number, first = false) => {
    const since = performance.now();
    const data = client.read(handle, offset, length);
    data.then(() => inFlight.answered(performance.now() - since), () => {});
    if (first) queue.unshift({ offset, length, data });
    else queue.push({ offset, length, data });
  };
  // One more than the size says, since a file may grow, and some have no true size.
  const limit = size === undefined || size === 0 ? Infinity : size;
  try {
    while (true) {
      signal?.throwIfAborted();
      while (queue.length < inFlight.limit && asked < limit) {
        ask(asked, step);
        asked += step;
        // Without a size, how much there is shows in the answers.
        if (limit === Infinity && queue.length >= 2) break;
      }
      const head = queue.shift();
      if (!head) break;
      const data = await head.data;
      if (data === null) {
        // What was asked for beyond the end is answered alike.
        if (limit === Infinity) break;
        if (head.offset < limit) break;
        continue;
      }
      if (data.length === 0) break;
      if (data.length < head.length && head.offset + data.length < limit) {
        ask(head.offset + data.length, head.length - data.length, true);
      }
      await blocks.add(data);
      copied += data.length;
      client.recycle(data);
      onProgress?.({ bytes: copied, ...(size ? { total: size } : {}) });
    }
    await blocks.finish();
  } catch (error) {
    // The file is closed after this: nothing may be on its way to it.
    await blocks.finish().catch(() => {});
    throw error;
  }
  // The handle is closed after this: no answer may be on its way to it.
  await Promise.allSettled(queue.map((each) => each.data));
  if (copied === 0) onProgress?.({ bytes: 0, total: 0 });
}

async function upload(
  client: SftpClient,
  handle: Uint8Array,
  file: Deno.FsFile,
  size: number,
  signal: AbortSignal | undefined,
  onProgress: CopyOptions["onProgress"],
): Promise<void> {
  const head = client.writeHead(handle);
  const step = client.maxWrite;
  const inFlight = new InFlight(step);
  const queue: { length: number; done: Promise<void> }[] = [];
  const blocks = new BlockReader(file);
  let offset = 0;
  let copied = 0;
  const settle = async () => {
    const { length, done } = queue.shift()!;
    await done;
    copied += length;
    onProgress?.({ bytes: copied, total: Math.max(size, copied) });
  };
  try {
    while (true) {
      signal?.throwIfAborted();
      const packet = client.block();
      const filled = await blocks.fill(packet.subarray(head, head + step));
      if (filled === 0) break;
      while (queue.length >= inFlight.limit) await settle();
      const since = performance.now();
      const { sent, done } = client.write(handle, offset, packet.subarray(0, head + filled));
      done.then(() => inFlight.answered(performance.now() - since), () => {});
      queue.push({ length: filled, done });
      offset += filled;
      await sent;
      client.recycle(packet);
      if (filled < step) break;
    }
    while (queue.length > 0) {
      await settle();
      signal?.throwIfAborted();
    }
    if (copied === 0) onProgress?.({ bytes: 0, total: 0 });
  } finally {
    await Promise.allSettled(queue.map((each) => each.done));
  }
}
