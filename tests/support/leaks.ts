/**
 * Asserts that a test leaves nothing behind: no descriptor, no process, no temporary file.
 *
 * ```ts ignore
 * Deno.test("…", async () => {
 *   await using guard = leakGuard();
 *   const child = new Deno.Command("…", { cwd: guard.folder, env: guard.env }).spawn();
 * ```
 *
 * Descriptors and processes are read from /proc; on a system without it only files are checked.
 *
 * @module
 */

import "./suppressed.ts";

/** The variable that marks a test's processes, their descendants too. */
export const MARKER = "PUSHY_TEST_ID";

const POLL_MS = 20;

// The first child makes Deno open descriptors that it keeps.
if (Deno.build.os === "linux") await new Deno.Command("true").output();

/** How long, and for what, a {@linkcode LeakGuard} looks. */
export interface LeakOptions {
  /** How long what was ended may take to go, in milliseconds. Default: 1000. */
  grace?: number;
  /** Descriptors that may stay open, by what /proc shows: `/^socket:/`. Default: none. */
  keeps?: RegExp;
}

/** Watches from its making to its disposal. */
export class LeakGuard implements AsyncDisposable {
  /** Marks this test's processes. */
  readonly id: string = crypto.randomUUID();
  /** The test's own files. Removed at the end, with all that is in it. */
  readonly folder: string = Deno.makeTempDirSync({ prefix: "pushy_test_" });
  /** The `TMPDIR` of the test's children. It must be empty at the end. */
  readonly tmp: string = Deno.makeTempDirSync({ prefix: "pushy_test_tmp_" });
  readonly #descriptors = new Set(openDescriptors().map(({ target }) => target));
  readonly #children = new Set(children());
  readonly #options: LeakOptions;

  /** Starts to watch. */
  constructor(options: LeakOptions = {}) {
    this.#options = options;
  }

  /** What the test's children must have in their environment. */
  get env(): Record<string, string> {
    return { [MARKER]: this.id, TMPDIR: this.tmp };
  }

  /** What is left now, a line for each. */
  left(): string[] {
    const { keeps } = this.#options;
    const descriptors = openDescriptors().filter(({ target }) =>
      !this.#descriptors.has(target) && !keeps?.test(target)
    );
    return [
      ...descriptors.map(({ fd, target }) => `descriptor ${fd} is open: ${target}`),
      ...this.#processes().map((pid) => `process ${pid} is there: ${describeProcess(pid)}`),
      ...[...Deno.readDirSync(this.tmp)].map(({ name }) => `temporary file: ${name}`),
    ];
  }

  #processes(): number[] {
    const own = children().filter((pid) => !this.#children.has(pid));
    return [...new Set([...own, ...marked(this.id)])];
  }

  /**
   * Ends the watch, and removes the folders and the processes that are left.
   *
   * @throws {Error} Where something is left when the grace time is over.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const end = performance.now() + (this.#options.grace ?? 1000);
    let left = this.left();
    while (left.length > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      left = this.left();
    }
    for (const pid of this.#processes()) kill(pid);
    await Deno.remove(this.folder, { recursive: true });
    await Deno.remove(this.tmp, { recursive: true });
    if (left.length > 0) throw new Error(`The test left behind:\n  ${left.join("\n  ")}`);
  }
}

/** Watches for what a test leaves behind: `await using guard = leakGuard();`. */
export function leakGuard(options?: LeakOptions): LeakGuard {
  return new LeakGuard(options);
}

/** The processes that carry a marker, wherever in the tree they are now. */
export function marked(id: string): number[] {
  const entry = `\0${MARKER}=${id}\0`;
  return processes().filter((pid) => `\0${environment(pid)}`.includes(entry));
}

/** A process's environment. It reads as empty for the moment in which the process changes programs. */
function environment(pid: number): string {
  for (let tries = 0; tries < 1000; tries++) {
    const command = read(`/proc/${pid}/cmdline`);
    const text = read(`/proc/${pid}/environ`);
    if (text !== "") return text;
    if (command !== "" && read(`/proc/${pid}/cmdline`) === command) return "";
    const { state, parent } = statOf(pid);
    const kernelThread = parent === 0 || parent === 2;
    if (state === "Z" || state === undefined || kernelThread) return "";
  }
  return "";
}

/** The children of this process, those included that ended and were never waited for. */
function children(): number[] {
  return processes().filter((pid) => statOf(pid).parent === Deno.pid);
}

function statOf(pid: number): { state?: string; parent: number } {
  // The name before these, in parentheses, may have blanks and parentheses of its own.
  const stat = read(`/proc/${pid}/stat`);
  const [state, parent] = stat.slice(stat.lastIndexOf(")") + 1).trim().split(" ");
  return { state: state || undefined, parent: Number(parent) };
}

function describeProcess(pid: number): string {
  const command = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
  return command.slice(0, 200) || "ended, but never waited for";
}

function processes(): number[] {
  return list("/proc").map(Number).filter((pid) => pid > 0);
}

function openDescriptors(): { fd: string; target: string }[] {
  return list("/proc/self/fd").flatMap((fd) => {
    const target = ifThere(() => Deno.readLinkSync(`/proc/self/fd/${fd}`));
    return target === undefined || isRuntimes(target) ? [] : { fd, target };
  });
}

/** Whether a descriptor is the event loop's own, or one of Deno's caches. */
function isRuntimes(target: string): boolean {
  return /^anon_inode:\[(eventpoll|eventfd|io_uring)\]$/.test(target) ||
    /_cache_v\d+(-wal|-shm|-journal)?$/.test(target) || target === "/proc" ||
    /^\/proc\/\d+\/fd$/.test(target);
}

function list(folder: string): string[] {
  return ifThere(() => [...Deno.readDirSync(folder)].map(({ name }) => name)) ?? [];
}

function read(path: string): string {
  return ifThere(() => Deno.readTextFileSync(path)) ?? "";
}

/** The result, or `undefined` where a process or descriptor is gone, or is another user's. */
function ifThere<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
      return undefined;
    }
    // ESRCH: the process ended between the listing and the look.
    if (error instanceof Error && /os error 3\b/.test(error.message)) return undefined;
    throw error;
  }
}

function kill(pid: number): void {
  ifThere(() => Deno.kill(pid, "SIGKILL"));
}
