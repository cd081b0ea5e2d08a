/**
 * Files, for copies: what either end of a copy does on its own machine. An agent has these functions as `files` at its
 * root; the caller uses the same ones for its own side.
 *
 * What each takes and gives (an *entry* is `{ type: "file" | "folder" | "link" | "other", size, mode, mtime, target?, path? }`:
 * `size` in bytes, `mode` the twelve permission bits, `mtime` milliseconds since 1970, `target` what a link says,
 * `path` where a followed path really leads):
 *
 * ```text
 * stat(path, follow)                    the entry, or null where nothing is; `follow`: of what a link leads to, with `path`
 * walk(path)                            an iterator over [name, entry] of all below a folder, each folder before
 *                                       what is in it; names are relative, with "/"; links are not followed
 * read(path, from)                      { size, mode, mtime, bytes }: the bytes from that offset to the end, as bytes if
 *                                       they are at most 64 KiB, else as a byte stream
 * write(part, from, mode, keep, data)   writes bytes or a byte stream; gives how many. `from` 0: the file is new, or an
 *                                       error; else it is cut off there, and goes on. On a failure the file goes, unless `keep`
 * commit(part, path, mode, mtime, ...)  sets the mode and the time (each may be null), and renames, if the names differ. What
 *                                       follows is only waited for: the promises of the writes that come first
 * hash(path)                            the SHA-256 of a file, in hexadecimal
 * folder(path, mode, part)              makes a folder: true if it is new, false if it was there. `part`: it goes with
 *                                       the connection, if it was not committed or removed before
 * link(target, part)                    makes a symbolic link
 * remove(path)                          removes a part, a folder with what is in it; nothing may be there
 * ```
 *
 * A failure is the system's own error, with its `code` (`"ENOENT"`, …). Two are added: `"ECHANGED"`, a file is not what it was
 * when reading began; `"EILSEQ"`, a name is not UTF-8, and the message shows its bytes.
 *
 * @module
 */

import { host } from "./host.ts";

/** What is known of a file, a folder, a link. */
export interface Entry {
  readonly type: "file" | "folder" | "link" | "other";
  readonly size: number;
  readonly mode: number;
  readonly mtime: number;
  readonly target?: string;
  readonly path?: string;
}

/** What {@linkcode Files.read} gives. */
export interface Reading {
  readonly size: number;
  readonly mode: number;
  readonly mtime: number;
  readonly bytes: Uint8Array | ReadableStream<Uint8Array>;
}

/** The functions, as described above. */
export interface Files {
  stat(path: string, follow: boolean): Promise<Entry | null>;
  walk(path: string): AsyncIterable<[name: string, entry: Entry]>;
  read(path: string, from: number): Promise<Reading>;
  write(
    part: string,
    from: number,
    mode: number,
    keep: boolean,
    data: Uint8Array | ReadableStream<Uint8Array>,
  ): Promise<number>;
  commit(
    part: string,
    path: string,
    mode: number | null,
    mtime: number | null,
    ...after: unknown[]
  ): Promise<void>;
  hash(path: string): Promise<string>;
  folder(path: string, mode: number, part: boolean): Promise<boolean>;
  link(target: string, part: string): Promise<void>;
  remove(path: string): Promise<void>;
}

/** So many bytes come with the answer, and need no stream. */
const INLINE = 64 << 10;
const PIECE = 256 << 10;

type FileSystem = typeof import("node:fs");
type Stats = import("node:fs").Stats;
type Handle = import("node:fs/promises").FileHandle;

let loaded: FileSystem;
const load = async () => loaded ??= await import("node:fs");

/** The functions of one connection, and what ends its unfinished files. */
export function makeFiles(): { files: Files; abandon(): void } {
  const parts = new Set<string>();
  const files: Files = {
    async stat(path, follow) {
      const fs = await load();
      try {
        const stats = follow ? fs.statSync(path) : fs.lstatSync(path);
        return { ...entryOf(fs, path, stats), path: follow ? fs.realpathSync(path) : path };
      } catch (error) {
        if (/^ENO(ENT|TDIR)$/.test((error as { code: string }).code)) return null;
        throw error;
      }
    },
    walk: async function* (path) {
      const fs = await load();
      yield* below(fs, path, "");
    },
    async read(path, from) {
      const fs = await load();
      const handle = await fs.promises.open(path);
      try {
        const before = await handle.stat();
        if (before.isDirectory()) throw coded("EISDIR", "is a folder");
        const { size, mtimeMs: mtime } = before;
        const head = { size, mode: before.mode & 0o7777, mtime };
        const most = Math.max(0, Math.min(size - from, INLINE));
        if (size - from <= INLINE) {
          const data = new Uint8Array(most + 1);
          let at = 0;
          for (;;) {
            const { bytesRead } = await handle.read(data, at, data.length - at, from + at);
            if (bytesRead === 0) break;
            at += bytesRead;
            if (at === data.length) break;
          }
          if (at <= most) {
            await unchanged(handle, before);
            await handle.close();
            return { ...head, bytes: data.subarray(0, at) };
          }
        }
        return { ...head, bytes: streamOf(handle, before, from) };
      } catch (error) {
        await handle.close();
        throw error;
      }
    },
    async write(part, from, mode, keep, data) {
      const fs = await load();
      if (from === 0) {
        // In one turn: there is no moment in which it is there, and is not known.
        fs.closeSync(fs.openSync(part, keep ? "w" : "wx", mode));
        if (!keep) parts.add(part);
      }
      const handle = await fs.promises.open(part, "r+");
      let at = from;
      try {
        try {
          if (from > 0) await handle.truncate(from);
          for await (const bytes of data instanceof Uint8Array ? [data] : data) {
            for (let done = 0; done < bytes.length;) {
              const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at);
              done += bytesWritten;
              at += bytesWritten;
            }
          }
        } finally {
          await handle.close();
        }
      } catch (error) {
        if (!keep) await files.remove(part);
        throw error;
      }
      return at - from;
    },
    async commit(part, path, mode, mtime, ...after) {
      const fs = await load();
      await Promise.all(after);
      if (mode !== null) await fs.promises.chmod(part, mode);
      if (mtime !== null) await fs.promises.utimes(part, mtime / 1000, mtime / 1000);
      if (part !== path) await fs.promises.rename(part, path);
      parts.delete(part);
    },
    async hash(path) {
      const fs = await load();
      const hash = (await import("node:crypto")).createHash("sha256");
      const handle = await fs.promises.open(path);
      try {
        const data = new Uint8Array(PIECE);
        for (;;) {
          const { bytesRead } = await handle.read(data, 0, PIECE);
          if (bytesRead === 0) return hash.digest("hex");
          hash.update(data.subarray(0, bytesRead));
        }
      } finally {
        await handle.close();
      }
    },
    async folder(path, mode, part) {
      const fs = await load();
      try {
        await fs.promises.mkdir(path, { mode });
        if (part) parts.add(path);
        return true;
      } catch (error) {
        if ((error as { code: string }).code !== "EEXIST") throw error;
        if ((await fs.promises.lstat(path)).isDirectory()) return false;
        throw coded("ENOTDIR", "is there, and is no folder");
      }
    },
    async link(target, part) {
      const fs = await load();
      await fs.promises.symlink(target, part);
      parts.add(part);
    },
    async remove(path) {
      const fs = await load();
      await fs.promises.rm(path, { recursive: true, force: true });
      parts.delete(path);
    },
  };
  return {
    files,
    abandon() {
      for (const part of parts) {
        try {
          loaded.rmSync(part, { recursive: true, force: true });
        } catch {
          // The connection is over: there is nobody left to tell.
        }
      }
      parts.clear();
    },
  };
}

function coded(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

function entryOf(fs: FileSystem, path: string, stats: Stats): Entry {
  const type = stats.isFile()
    ? "file"
    : stats.isDirectory()
    ? "folder"
    : stats.isSymbolicLink()
    ? "link"
    : "other";
  const { size, mtimeMs: mtime } = stats;
  const entry = { type, size, mode: stats.mode & 0o7777, mtime } as const;
  return type === "link" ? { ...entry, target: fs.readlinkSync(path) } : entry;
}

async function* below(
  fs: FileSystem,
  path: string,
  prefix: string,
): AsyncGenerator<[string, Entry]> {
  const names = await fs.promises.readdir(path, { encoding: "buffer" });
  for (const bytes of names) {
    const name = bytes.toString();
    const whole = `${path}/${name}`;
    // Deno has put U+FFFD in already, and then no file has that name.
    if (name.includes("\ufffd") && !fs.existsSync(whole)) await refuseName(path, bytes);
    const entry = entryOf(fs, whole, fs.lstatSync(whole));
    yield [prefix + name, entry];
    if (entry.type === "folder") yield* below(fs, whole, `${prefix + name}/`);
  }
}

async function refuseName(path: string, name: Uint8Array): Promise<never> {
  let bytes = name;
  if (host.name === "deno") {
    try {
      const { execFileSync } = await import("node:child_process");
      const found: Uint8Array = execFileSync("find", [path, "-mindepth", "1", "-maxdepth", "1"]);
      const lossy = new TextDecoder().decode(name);
      const lines = new TextDecoder("latin1").decode(found).split("\n")
        .map((line) =>
          Uint8Array.from(line.slice(line.lastIndexOf("/") + 1), (c) => c.charCodeAt(0))
        );
      bytes = lines.find((line) => new TextDecoder().decode(line) === lossy) ?? name;
    } catch {
      // The replaced name has to do.
    }
  }
  const shown = Array.from(
    bytes,
    (byte) =>
      byte > 0x1f && byte < 0x7f
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, "0")}`,
  ).join("");
  throw coded("EILSEQ", `the name "${shown}" in ${path} is not UTF-8`);
}

async function unchanged(handle: Handle, before: Stats): Promise<void> {
  const now = await handle.stat();
  if (now.size !== before.size || now.mtimeMs !== before.mtimeMs) {
    throw coded("ECHANGED", "changed while it was read");
  }
}

function streamOf(handle: Handle, before: Stats, from: number): ReadableStream<Uint8Array> {
  let at = from;
  return new ReadableStream({
    type: "bytes",
    async pull(controller) {
      try {
        const data = new Uint8Array(PIECE);
        const { bytesRead } = await handle.read(data, 0, PIECE, at);
        at += bytesRead;
        if (bytesRead > 0) return controller.enqueue(data.subarray(0, bytesRead));
        await unchanged(handle, before);
      } catch (error) {
        await handle.close();
        throw error;
      }
      await handle.close();
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel: () => handle.close(),
  }, { highWaterMark: PIECE });
}
