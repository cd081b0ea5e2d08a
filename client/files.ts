/**
 * Files over the connection's own streams, for transports that have no way of their own.
 *
 * What is written appears under its name when it is complete, or not at all.
 *
 * @module
 */

import type { CopyOptions } from "../transport/popen.ts";

/** Makes a remote function of its source. */
export type Compile = (source: string) => unknown;

type Read = (path: string) => Promise<{ size: number; stream: ReadableStream<Uint8Array> }>;
type Write = (path: string, stream: ReadableStream<Uint8Array>) => Promise<void>;

const READ = `async (path) => {
  const { open } = await import("node:fs/promises");
  const file = await open(path, "r");
  try {
    const stat = await file.stat();
    if (stat.isDirectory()) throw new TypeError("Cannot copy " + path + ": it is a folder");
    const stream = new ReadableStream({
      async pull(controller) {
        const buffer = new Uint8Array(256 << 10);
        const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
        if (bytesRead > 0) return controller.enqueue(buffer.subarray(0, bytesRead));
        await file.close();
        controller.close();
      },
      cancel: () => file.close(),
    }, { highWaterMark: 0 });
    return { size: stat.size, stream };
  } catch (error) {
    await file.close();
    throw error;
  }
}`;

const WRITE = `async (path, stream) => {
  const { open, rename, rm } = await import("node:fs/promises");
  const partial = path + "." + Math.random().toString(36).slice(2, 10) + ".part";
  const reader = stream.getReader();
  try {
    const file = await open(partial, "wx");
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (let at = 0; at < value.length;) at += (await file.write(value, at)).bytesWritten;
      }
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    reader.cancel(error).catch(() => {});
    await rm(partial, { force: true });
    throw error;
  }
}`;

/** Copies a file of the remote side to a local path. */
export async function getOver(
  compile: Compile,
  remotePath: string,
  localPath: string,
  options: CopyOptions = {},
): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { size, stream } = await (compile(READ) as Read)(remotePath);
  const partial = `${localPath}.${crypto.randomUUID().slice(0, 8)}.part`;
  try {
    const file = await Deno.open(partial, { write: true, createNew: true });
    await stream.pipeThrough(counter(size, options)).pipeTo(file.writable, { signal });
    await Deno.rename(partial, localPath);
  } catch (error) {
    if (!stream.locked) await stream.cancel(error);
    await Deno.remove(partial).catch(() => {
      // It was not made.
    });
    throw error;
  }
}

/** Copies a local file to a path of the remote side. */
export async function putOver(
  compile: Compile,
  localPath: string,
  remotePath: string,
  options: CopyOptions = {},
): Promise<void> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { size, isDirectory } = await Deno.stat(localPath);
  if (isDirectory) throw new TypeError(`Cannot copy ${localPath}: it is a folder`);
  const file = await Deno.open(localPath);
  const stream = file.readable.pipeThrough(counter(size, options), { signal });
  try {
    await (compile(WRITE) as Write)(remotePath, stream);
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

function counter(total: number, { onProgress }: CopyOptions): TransformStream<Uint8Array> {
  let bytes = 0;
  return new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.length;
      controller.enqueue(chunk);
      if (bytes !== total) onProgress?.({ bytes, total });
    },
    flush() {
      onProgress?.({ bytes, total });
    },
  });
}
