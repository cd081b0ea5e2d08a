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

import { deno, host } from "./host.ts";

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
    data: Uint8Array | AsyncIterable<Uint8Array>,
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
/** Files are read and written in blocks of this size: each costs a visit to a thread. */
const BLOCK = 2 << 20;
/** What has come is not held back for longer than this, in milliseconds, until there is a block of it. */
const LATE = 100;

type FileSystem = typeof import("node:fs");
type Stats = import("node:fs").Stats;

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
      const { O_RDONLY, O_NONBLOCK = 0 } = fs.constants;
      // A pipe that has taken the file's place is not waited for. What is short is read in one turn.
      const fd = fs.openSync(path, O_RDONLY | O_NONBLOCK);
      let open = true;
      try {
        const before = fs.fstatSync(fd);
        if (before.isDirectory()) throw coded("EISDIR", "is a folder");
        if (!before.isFile()) throw coded("ESPECIAL", "is no file");
        const { size, mtimeMs: mtime } = before;
        const head = { size, mode: before.mode & 0o7777, mtime };
        const most = Math.max(0, Math.min(size - from, INLINE));
        if (size - from <= INLINE) {
          const data = new Uint8Array(most + 1);
          let at = 0;
          for (let read = 1; read > 0 && at < data.length; at += read) {
            read = fs.readSync(fd, data, at, data.length - at, from + at);
          }
          if (at <= most) {
            unchanged(fs, fd, before);
            return { ...head, bytes: data.subarray(0, at) };
          }
        }
        open = false;
        return { ...head, bytes: streamOf(fs, fd, before, from) };
      } finally {
        if (open) fs.closeSync(fd);
      }
    },
    async write(part, from, mode, keep, data) {
      const fs = await load();
      const { O_WRONLY, O_CREAT, O_EXCL, O_TRUNC, O_NOFOLLOW = 0 } = fs.constants;
      const how = from > 0 ? 0 : O_CREAT | (keep ? O_TRUNC : O_EXCL);
      // In one turn: there is no moment in which it is there, and is not known.
      const fd = fs.openSync(part, O_WRONLY | O_NOFOLLOW | how, mode);
      if (from === 0 && !keep) parts.add(part);
      try {
        let open = true;
        try {
          if (from > 0) fs.ftruncateSync(fd, from);
          if (data instanceof Uint8Array) {
            for (let at = 0; at < data.length;) {
              at += fs.writeSync(fd, data, at, data.length - at, from + at);
            }
            return data.length;
          }
          const written = await writeBlocks(fs, fd, part, data, from);
          open = false;
          // A file system on the network may have much to do then, and say only then that it is full.
          await new Promise<void>((resolve, reject) =>
            fs.close(fd, (error) => error ? reject(error) : resolve())
          );
          return written;
        } finally {
          if (open) fs.closeSync(fd);
        }
      } catch (error) {
        if (!keep) await files.remove(part);
        throw error;
      }
    },
    async commit(part, path, mode, mtime, ...after) {
      const fs = await load();
      await Promise.all(after);
      if (mode !== null) fs.chmodSync(part, mode);
      if (mtime !== null) fs.utimesSync(part, mtime / 1000, mtime / 1000);
      if (part !== path) await fs.promises.rename(part, path);
      parts.delete(part);
    },
    async hash(path) {
      const fs = await load();
      const hash = (await import("node:crypto")).createHash("sha256");
      const fd = fs.openSync(path, "r");
      try {
        for await (const bytes of blocksOf(fs, fd, 0)) hash.update(bytes);
        return hash.digest("hex");
      } finally {
        fs.closeSync(fd);
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

function unchanged(fs: FileSystem, fd: number, before: Stats): void {
  const now = fs.fstatSync(fd);
  if (now.size !== before.size || now.mtimeMs !== before.mtimeMs) {
    throw coded("ECHANGED", "changed while it was read");
  }
}

/** The file from an offset on. A block is good until the next one is asked for, which is being read by then. */
async function* blocksOf(fs: FileSystem, fd: number, at: number): AsyncGenerator<Uint8Array> {
  const read = (block: Uint8Array) =>
    new Promise<Uint8Array>((resolve, reject) =>
      fs.read(fd, block, 0, BLOCK, at, (error, length) => {
        at += length;
        if (error) reject(error);
        else resolve(block.subarray(0, length));
      })
    );
  let [free, full] = [new Uint8Array(BLOCK), new Uint8Array(BLOCK)];
  let next = read(full);
  try {
    for (;;) {
      const bytes = await next;
      if (bytes.length === 0) return;
      next = read(free);
      [free, full] = [full, free];
      yield bytes;
    }
  } finally {
    // Nothing may use the descriptor any more once this has ended.
    await next.catch(() => {});
  }
}

/** A stream of the file, which it closes. It has no queue, so that whoever reads has done with the block before. */
function streamOf(
  fs: FileSystem,
  fd: number,
  before: Stats,
  from: number,
): ReadableStream<Uint8Array> {
  const blocks = blocksOf(fs, fd, from);
  let open = true;
  const close = async () => {
    if (!open) return;
    open = false;
    await blocks.return(undefined);
    fs.closeSync(fd);
  };
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await blocks.next();
        if (!done) return controller.enqueue(value);
        if (open) unchanged(fs, fd, before);
      } catch (error) {
        await close();
        throw error;
      }
      await close();
      controller.close();
    },
    cancel: close,
  }, { highWaterMark: 0 });
}

/** What writes to a file from an offset on, one block after another, while the event loop goes on. */
function writerOf(fs: FileSystem, fd: number, part: string, from: number) {
  if (deno) {
    // Deno's own: `node:fs` has one that waits there, for all that it takes a callback.
    const file = deno.openSync(part, { write: true });
    file.seekSync(from, 0);
    return {
      async write(block: Uint8Array) {
        for (let done = 0; done < block.length;) done += await file.write(block.subarray(done));
      },
      close: () => file.close(),
    };
  }
  const write = (block: Uint8Array, at: number) =>
    new Promise<void>((resolve, reject) =>
      fs.write(fd, block, 0, block.length, at, (error, length) => {
        if (error) reject(error);
        else if (length === block.length) resolve();
        else resolve(write(block.subarray(length), at + length));
      })
    );
  return { write, close() {} };
}

/** Writes what comes: one block is filled while the one before is being written. Gives how many bytes. */
async function writeBlocks(
  fs: FileSystem,
  fd: number,
  part: string,
  data: AsyncIterable<Uint8Array>,
  from: number,
): Promise<number> {
  const writer = writerOf(fs, fd, part, from);
  let [filling, other] = [new Uint8Array(BLOCK), new Uint8Array(BLOCK)];
  let filled = 0;
  let at = from;
  let last = performance.now();
  let writing: Promise<void> | undefined;
  const flush = async () => {
    await writing;
    writing = writer.write(filling.subarray(0, filled), at);
    writing.catch(() => {});
    at += filled;
    filled = 0;
    last = performance.now();
    [filling, other] = [other, filling];
  };
  try {
    for await (const bytes of data) {
      for (let taken = 0; taken < bytes.length;) {
        const piece = bytes.subarray(taken, taken + BLOCK - filled);
        filling.set(piece, filled);
        filled += piece.length;
        taken += piece.length;
        if (filled === BLOCK || performance.now() - last > LATE) await flush();
      }
    }
  } finally {
    try {
      // What came before a failure is kept, too: a copy may go on there.
      if (filled > 0) await flush();
      await writing;
    } finally {
      writer.close();
    }
  }
  return at - from;
}
