/**
 * Copies of files and folders between the two sides.
 *
 * Both sides offer the same functions ({@linkcode Files}), so that there is one way to copy, in either direction. What is
 * new is written beside the destination under a name of its own, and renamed when it is complete.
 *
 * @module
 */

import { type Entry, type Files, makeFiles, type Reading } from "../runtime/js/files.ts";
import type { CopyOptions } from "../transport/popen.ts";
import {
  type CopyEnds,
  CopyError,
  copyError,
  destinationError,
  ownCopyError,
} from "./copy_error.ts";
import { Progress } from "./copy_progress.ts";
import { within } from "./link.ts";
import { checkEntry, unsafeLink, unsafeName } from "./tree_names.ts";

/** Options of `getfile` and `putfile`. */
export interface FileOptions extends CopyOptions {
  /** Copies a folder, with all that is in it. Default: a folder is refused. */
  recursive?: boolean;
  /**
   * Goes on where a copy with the same option was broken off: what is there of a file is kept beside the destination until
   * then, and files of a folder that are complete (by size and time) are left out. It keeps times. Default: no.
   */
  resume?: boolean;
  /** Reads both ends again once a file is written, and compares their SHA-256. Default: no. */
  checksum?: "sha256";
  /**
   * Keeps modes (but never set-user-id, set-group-id and sticky bits) and times. Default: a new file gets the source's
   * permissions less the umask, and one that is replaced keeps its own.
   */
  preserve?: boolean;
  /** How many files of a folder are copied at once. Default: 8, and 64 where they are small (up to 64 KiB). */
  concurrency?: number;
  /** Links in a folder: made again as they are (`"keep"`, the default), or left out. */
  links?: "keep" | "skip";
  /** Sockets, pipes and devices in a folder: an error (`"refuse"`, the default), or left out. */
  special?: "refuse" | "skip";
}

/** One end of a copy. */
export interface Side {
  /** What it does with its files. */
  readonly files: Files;
  /** Which one it is. */
  readonly name: "local" | "remote";
  /** Are its paths those of Windows? */
  readonly windows: boolean;
}

/** This side. */
export function localSide(): Side {
  return { files: makeFiles().files, name: "local", windows: Deno.build.os === "windows" };
}

/** Is this a copy that a transport's own means are enough for? */
export function isPlainCopy(options: FileOptions): boolean {
  return !options.recursive && !options.resume && !options.checksum && !options.preserve;
}

/** Copies by a transport's own means: its progress gets what it lacks, its errors the codes of all copies. */
export async function ownCopy(
  ends: CopyEnds,
  options: FileOptions,
  copy: (options: CopyOptions) => Promise<void>,
): Promise<void> {
  const { signal, onProgress } = options;
  const progress = new Progress(onProgress);
  let before = 0;
  try {
    await copy({
      signal,
      onProgress: onProgress && (({ bytes, total }) => {
        if (total !== undefined) progress.complete(total);
        progress.add(bytes - before, ends.from);
        before = bytes;
      }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    throw ownCopyError(error, ends);
  }
}

const NOT_BEGUN = { type: "file", size: 0 } as const;
/** A file whose size reads as 0, as in /proc, may have so many bytes. */
const UNSIZED = 64 << 20;
const KNOWN = new Set([
  "recursive",
  "resume",
  "checksum",
  "preserve",
  "concurrency",
  "links",
  "special",
  "onProgress",
  "signal",
]);

/** Refuses options that mean nothing, before anything is done. */
export function checkFileOptions(options: FileOptions): void {
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name)) {
      throw new TypeError(`Cannot copy with the option "${name}": there is none of that name`);
    }
  }
  const { checksum, concurrency = 8, links = "keep", special = "refuse" } = options;
  if (checksum !== undefined && checksum !== "sha256") {
    throw new TypeError(`Cannot copy with checksum "${checksum}": it can be "sha256"`);
  }
  if (!Number.isSafeInteger(concurrency) || concurrency < 1) {
    throw new TypeError(`Cannot copy ${concurrency} files at once: it is a number from 1`);
  }
  if (links !== "keep" && links !== "skip") {
    throw new TypeError(`Cannot copy with links "${links}": it can be "keep" or "skip"`);
  }
  if (special !== "refuse" && special !== "skip") {
    throw new TypeError(`Cannot copy with special "${special}": it can be "refuse" or "skip"`);
  }
}

/** Copies `from` on one side to `to` on the other, as `options` say. */
export async function copyFiles(
  source: Side,
  from: string,
  destination: Side,
  to: string,
  options: FileOptions,
): Promise<void> {
  await new Copy(source, destination, options).run(from, to);
}

class Copy {
  readonly #source: Side;
  readonly #destination: Side;
  readonly #options: FileOptions;
  readonly #progress: Progress;
  /** Ends all that is under way, for the user's reason or the first failure. */
  readonly #ending = new AbortController();

  constructor(source: Side, destination: Side, options: FileOptions) {
    this.#source = source;
    this.#destination = destination;
    this.#options = options;
    this.#progress = new Progress(options.onProgress);
  }

  async run(from: string, to: string): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const abort = () => this.#ending.abort(signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await this.#run(from, to);
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  async #run(from: string, to: string): Promise<void> {
    const [entry, there] = await Promise.all([
      this.#stat(this.#source, from),
      this.#stat(this.#destination, to),
    ]);
    if (!entry) throw new CopyError("ENOENT", this.#source.name, from);
    if (entry.type === "folder") {
      if (!this.#options.recursive) throw new CopyError("EISDIR", this.#source.name, from);
      if (there && there.type !== "folder") {
        throw new CopyError("ENOTDIR", this.#destination.name, to);
      }
      return await this.#folder(from, to, entry, there);
    }
    if (entry.type !== "file") throw new CopyError("ESPECIAL", this.#source.name, from);
    if (there?.type === "folder") {
      throw new CopyError("EISDIR", this.#destination.name, to, {
        detail: "the destination of a file is a file",
      });
    }
    if (there && there.type !== "file") throw new CopyError("ESPECIAL", this.#destination.name, to);
    this.#progress.expect(entry.size);
    this.#progress.complete();
    await this.#file(from, there?.path ?? to, entry, there);
    this.#progress.add(0, from);
  }

  async #stat(side: Side, path: string): Promise<Entry | null> {
    let entry: unknown;
    try {
      entry = await side.files.stat(path, true);
    } catch (error) {
      throw copyError(error, side.name, path);
    }
    return entry === null ? null : this.#checked(entry, side, path);
  }

  #checked(entry: unknown, side: Side, path: string): Entry {
    const checked = checkEntry(entry);
    if (!checked) {
      throw new CopyError("EIO", side.name, path, { detail: "it was described in no known way" });
    }
    return checked;
  }

  /** A name beside a path, for what is not complete yet: one's own, or one that a later copy finds again. */
  async #beside(path: string, from: string, entry: Entry): Promise<string> {
    const base = path.replace(this.#destination.windows ? /[\\/]+$/ : /\/+$/, "");
    const cut = base.replace(this.#destination.windows ? /[^\\/]*$/ : /[^/]*$/, "");
    if (!this.#options.resume) return `${cut}.pushy-${crypto.randomUUID().slice(0, 13)}.part`;
    const about = entry.type === "folder" ? "folder" : `${entry.size} ${Math.round(entry.mtime)}`;
    const text = new TextEncoder().encode([base.slice(cut.length), from, about].join("\0"));
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", text));
    return `${cut}.pushy-${digest.subarray(0, 8).toHex()}.part`;
  }

  #mode(entry: Entry): number {
    return entry.mode & 0o777;
  }

  /** Copies one file: all of it, or nothing. `path` is where it goes, and no link. */
  async #file(from: string, path: string, entry: Entry, there: Entry | null): Promise<void> {
    const { resume = false, checksum, preserve } = this.#options;
    const { files } = this.#destination;
    const part = await this.#beside(path, from, entry);
    this.#ending.signal.throwIfAborted();
    let start = 0;
    if (resume) {
      const begun = await this.#attempt(this.#destination, path, files.stat(part, false));
      const { type, size } = begun ? this.#checked(begun, this.#destination, path) : NOT_BEGUN;
      if (type !== "file") await this.#attempt(this.#destination, path, files.remove(part));
      else if (size <= entry.size) start = size;
    }
    const reading = this.#checkReading(
      await this.#attempt(this.#source, from, this.#source.files.read(from, start)),
      from,
    );
    const data = new Counted(
      reading,
      start,
      this.#ending.signal,
      (n) => this.#progress.add(n, from),
      this.#destination.name,
    );
    if (start > 0) {
      if (reading.size !== entry.size || reading.mtime !== entry.mtime) {
        data.drop();
        throw new CopyError("ECHANGED", this.#source.name, from);
      }
      this.#progress.skip(start, from);
    }
    // A mode that the file will not keep is tighter than that: nobody reads what is not complete.
    const mode = this.#mode(entry);
    const final = preserve ? mode : there ? there.mode & 0o777 : null;
    let committed = false;
    try {
      const writing = files.write(part, start, mode, resume, data.source);
      if (checksum) {
        await writing;
        const [read, written] = await Promise.all([
          this.#attempt(this.#source, from, this.#source.files.hash(from)),
          files.hash(part),
        ]);
        if (read !== written) throw new CopyError("ECHECKSUM", this.#destination.name, path);
      }
      const time = preserve || resume ? reading.mtime : null;
      await this.#finished(files.commit(part, path, final, time, writing));
      committed = true;
    } catch (error) {
      if (data.failure !== undefined && !this.#ending.signal.aborted) {
        throw copyError(data.failure, this.#source.name, from);
      }
      this.#ending.signal.throwIfAborted();
      throw destinationError(error, this.#destination.name, path);
    } finally {
      if (!committed) data.drop();
      if (!committed && !resume) await this.#remove(part);
    }
  }

  /** Takes a part away. What prevents it prevented the copy, too, and that error is told. */
  async #remove(part: string): Promise<void> {
    await within(5000, this.#destination.files.remove(part).catch(() => {}));
  }

  /** Waits for the end of a write; once the copy is to end, not for long. */
  async #finished(writing: Promise<void>): Promise<void> {
    const { signal } = this.#ending;
    let late!: () => void;
    const over = new Promise<void>((resolve) => late = resolve);
    const begin = () => {
      within(5000, writing.catch(() => {})).then(late);
    };
    signal.addEventListener("abort", begin, { once: true });
    try {
      await Promise.race([
        writing,
        over.then(() => {
          throw signal.reason;
        }),
      ]);
    } finally {
      signal.removeEventListener("abort", begin);
    }
  }

  #checkReading(reading: unknown, from: string): Reading {
    const { size, mode, mtime, bytes } = (reading ?? {}) as Partial<Reading>;
    const entry = { type: "file", size, mode, mtime };
    if (
      !(bytes instanceof Uint8Array) && !(bytes instanceof ReadableStream) || !checkEntry(entry)
    ) {
      throw new CopyError("EIO", this.#source.name, from, { detail: "its bytes did not come" });
    }
    return reading as Reading;
  }

  async #attempt<T>(side: Side, path: string, call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      this.#ending.signal.throwIfAborted();
      throw copyError(error, side.name, path);
    }
  }

  /** Copies a folder: a new one appears when it is complete, one that is there gets each file as it is complete. */
  async #folder(from: string, to: string, entry: Entry, there: Entry | null): Promise<void> {
    const { resume = false, preserve } = this.#options;
    const { files, name } = this.#destination;
    const base = there?.path ?? await this.#beside(to, from, entry);
    const tree = new Tree(this.#options.concurrency, this.#ending);
    const times: [path: string, entry: Entry][] = [];
    let committed = false;
    try {
      if (!there) {
        try {
          await files.folder(base, this.#mode(entry) | 0o700, !resume);
        } catch (error) {
          this.#ending.signal.throwIfAborted();
          throw destinationError(error, name, to);
        }
      }
      const complete = resume ? await this.#listing(base) : new Map<string, Entry>();
      await this.#walk(from, base, tree, times, complete);
      this.#progress.complete();
      await tree.finished();
      // A broken-off copy may have begun with what the source does not have any more.
      if (!there) {
        await Promise.all([...complete.keys()].map((name) => this.#remove(`${base}/${name}`)));
      }
      if (preserve) {
        // What is inside would change the time of a folder: the innermost come first.
        for (const [path, folder] of times.reverse()) {
          await this.#attempt(
            this.#destination,
            path,
            files.commit(path, path, this.#mode(folder), folder.mtime),
          );
        }
      }
      this.#ending.signal.throwIfAborted();
      const time = preserve ? entry.mtime : null;
      const mode = preserve ? this.#mode(entry) : null;
      const path = there ? base : to.replace(/(.)\/+$/, "$1");
      if (!there || preserve) await files.commit(base, path, mode, time);
      committed = true;
      this.#progress.add(0, from);
    } catch (error) {
      this.#ending.abort(error);
      await within(5000, tree.settled());
      this.#options.signal?.throwIfAborted();
      throw copyError(error, name, to);
    } finally {
      if (!committed && !there && !resume) await this.#remove(base);
    }
  }

  async #listing(base: string): Promise<Map<string, Entry>> {
    const found = new Map<string, Entry>();
    try {
      for await (const [name, entry] of this.#destination.files.walk(base)) {
        found.set(String(name), this.#checked(entry, this.#destination, base));
      }
    } catch (error) {
      throw copyError(error, this.#destination.name, base);
    }
    return found;
  }

  async #walk(
    from: string,
    base: string,
    tree: Tree,
    times: [string, Entry][],
    complete: Map<string, Entry>,
  ): Promise<void> {
    const { links = "keep", special = "refuse" } = this.#options;
    const source = this.#source;
    const { files, windows, name: side } = this.#destination;
    const unsafe = (what: string) => new CopyError("EUNSAFE", source.name, from, { detail: what });
    const entries = source.files.walk(from)[Symbol.asyncIterator]();
    let done = false;
    try {
      for (;;) {
        const step = await this.#attempt(source, from, entries.next());
        if (step.done) break;
        this.#ending.signal.throwIfAborted();
        const pair: unknown = step.value;
        if (!Array.isArray(pair)) throw unsafe("an entry without a name");
        const [name, value] = pair;
        const refused = unsafeName(name, windows);
        if (refused) throw unsafe(refused);
        const whole = `${from}/${name}`;
        const path = `${base}/${name}`;
        const entry = this.#checked(value, source, whole);
        const before = complete.get(name);
        complete.delete(name);
        const parent = tree.folderOf(name);
        if (!parent) throw unsafe(`the name ${JSON.stringify(name)}, before its folder`);
        switch (entry.type) {
          case "folder":
            times.push([path, entry]);
            await tree.addFolder(name, async () => {
              await parent;
              await this.#attempt(
                this.#destination,
                path,
                files.folder(path, this.#mode(entry) | 0o700, false),
              );
            });
            break;
          case "file": {
            this.#progress.expect(entry.size);
            if (before?.type === "file" && isSame(before, entry)) {
              this.#progress.skip(entry.size, whole);
              break;
            }
            await tree.add(async () => {
              await parent;
              await this.#file(whole, path, entry, before ?? null);
            }, entry.size <= SMALL);
            break;
          }
          case "link": {
            if (links === "skip") break;
            // From here a link may say what it likes: whoever copies may write there anyway.
            const lead = side === "local" ? unsafeLink(name, entry.target, windows) : undefined;
            if (lead) {
              throw new CopyError("EUNSAFE", source.name, from, {
                detail: lead,
                hint: 'leave links out with { links: "skip" }, or do not trust that host',
              });
            }
            await tree.add(async () => {
              await parent;
              await this.#link(entry.target!, path, whole, entry);
            }, true);
            break;
          }
          case "other":
            if (special === "refuse") throw new CopyError("ESPECIAL", source.name, whole);
        }
      }
      done = true;
    } finally {
      if (!done) await within(1000, entries.return?.().catch(() => {}) ?? Promise.resolve());
    }
  }

  async #link(target: string, path: string, from: string, entry: Entry): Promise<void> {
    const { files } = this.#destination;
    const part = await this.#beside(path, from, entry);
    try {
      if (this.#options.resume) await files.remove(part);
      await files.commit(part, path, null, null, files.link(target, part));
    } catch (error) {
      await this.#remove(part);
      this.#ending.signal.throwIfAborted();
      throw copyError(error, this.#destination.name, path);
    }
  }
}

/** Is a file the same by size and time? Systems keep times to different parts of a millisecond. */
function isSame(one: Entry, other: Entry): boolean {
  return one.size === other.size && Math.abs(one.mtime - other.mtime) < 2;
}

/** A file of no more bytes takes a round trip and next to no time: many may be under way. */
const SMALL = 64 << 10;
const ROOM = 64;
const LARGE_SHARE = 8;

/** What is under way in a folder: so much at once, and each after the folder that it stands in. */
class Tree {
  readonly #room: number;
  readonly #share: number;
  readonly #ending: AbortController;
  readonly #folders = new Map<string, Promise<void>>([["", Promise.resolve()]]);
  readonly #running = new Set<Promise<void>>();
  #used = 0;
  #failure: { error: unknown } | undefined;

  constructor(most: number | undefined, ending: AbortController) {
    this.#room = most ?? ROOM;
    this.#share = most === undefined ? LARGE_SHARE : 1;
    this.#ending = ending;
  }

  /** The folder that a name stands in, if there is one. */
  folderOf(name: string): Promise<void> | undefined {
    return this.#folders.get(name.slice(0, Math.max(0, name.lastIndexOf("/"))));
  }

  /** Makes a folder. Resolves when something else may be begun. */
  async addFolder(name: string, work: () => Promise<void>): Promise<void> {
    const made = this.#start(work, 1);
    this.#folders.set(name, made);
    await this.#whenRoom();
  }

  /** Begins something, which is `small` or takes a larger share of the room. Resolves when something else may be begun. */
  async add(work: () => Promise<void>, small: boolean): Promise<void> {
    this.#start(work, small ? 1 : this.#share);
    await this.#whenRoom();
  }

  #start(work: () => Promise<void>, share: number): Promise<void> {
    this.#used += share;
    const running = work();
    const settled = running.catch((error) => {
      this.#failure ??= { error };
      this.#ending.abort(error);
    }).finally(() => {
      this.#used -= share;
      this.#running.delete(settled);
    });
    this.#running.add(settled);
    return running;
  }

  async #whenRoom(): Promise<void> {
    // The next one may be large.
    while (this.#used > this.#room - this.#share && !this.#failure) {
      await Promise.race(this.#running);
    }
    if (this.#failure) throw this.#failure.error;
  }

  /** Resolves when all of it is done; rejects with what failed first. */
  async finished(): Promise<void> {
    await this.settled();
    if (this.#failure) throw this.#failure.error;
  }

  /** Resolves when nothing runs any more. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.race(this.#running);
  }
}

/** A piece that goes out as quickly as this, in milliseconds, may be larger; one that takes longer is smaller. */
const QUICK = 20;
const SLOW = 100;
const LEAST_PIECE = 64 << 10;
const MOST_PIECE = 1 << 20;

/** The bytes of a file on their way: counted, no more than there should be, and stopped when the copy is to end. */
class Counted {
  /** What is to be written. It is iterated over on this side, and sent as a stream to the other. */
  readonly source: Uint8Array | AsyncIterable<Uint8Array>;
  /** What went wrong at the source. */
  failure: unknown;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

  constructor(
    reading: Reading,
    start: number,
    signal: AbortSignal,
    count: (bytes: number) => void,
    destination: Side["name"],
  ) {
    const { bytes } = reading;
    if (bytes instanceof Uint8Array) {
      this.source = bytes;
      count(bytes.length);
      return;
    }
    const most = reading.size === 0 ? UNSIZED : reading.size - start;
    this.#reader = bytes.getReader();
    const pieces = this.#pieces(this.#reader, most, signal, count);
    this.source = destination === "local" ? pieces : this.#streamOf(pieces, signal);
  }

  #streamOf(pieces: AsyncGenerator<Uint8Array, void>, signal: AbortSignal): ReadableStream {
    let abort!: () => void;
    const end = () => signal.removeEventListener("abort", abort);
    return new ReadableStream<Uint8Array>({
      start(controller) {
        abort = () => controller.error(signal.reason);
        signal.addEventListener("abort", abort, { once: true });
      },
      async pull(controller) {
        const { done, value } = await pieces.next();
        if (signal.aborted) return;
        if (!done) return controller.enqueue(value);
        end();
        controller.close();
      },
      cancel: () => {
        end();
        this.drop();
      },
    }, { highWaterMark: 0 });
  }

  async *#pieces(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    most: number,
    signal: AbortSignal,
    count: (bytes: number) => void,
  ): AsyncGenerator<Uint8Array, void> {
    let passed = 0;
    let size = LEAST_PIECE;
    let done = false;
    const abort = () => {
      reader.cancel(signal.reason).catch(() => {});
    };
    signal.addEventListener("abort", abort, { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        const step = await reader.read();
        signal.throwIfAborted();
        if (step.done) break;
        passed += step.value.length;
        if (passed > most) {
          throw Object.assign(new Error("there is more of it than there should be"), {
            code: "ECHANGED",
          });
        }
        for (let taken = 0; taken < step.value.length;) {
          const piece = step.value.subarray(taken, taken + size);
          taken += piece.length;
          count(piece.length);
          const before = performance.now();
          yield piece;
          signal.throwIfAborted();
          const took = performance.now() - before;
          if (took < QUICK) size = Math.min(2 * size, MOST_PIECE);
          else if (took > SLOW) size = Math.max(size / 2, LEAST_PIECE);
        }
      }
      done = true;
    } catch (error) {
      this.failure = error;
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
      if (!done) reader.cancel(this.failure).catch(() => {});
    }
  }

  /** Nobody is going to write it. */
  drop(): void {
    this.#reader?.cancel().catch(() => {});
  }
}
