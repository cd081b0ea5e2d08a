/**
 * The pipes to a process of this machine: made larger where much goes through them.
 *
 * A pipe of Linux holds 64 KiB. Two programs that pass large values wait for each other after each of these, and to be
 * woken takes longer than to copy the bytes. JavaScript has no word for it, but where this program has the permission
 * `ffi` anyway, the C library can be told. The permission is never asked for.
 *
 * @module
 */

/**
 * How many bytes the pipe to the process holds, and the one from it. Four times as much would be half as fast again, but a
 * call, or its answer, waits for all that is before it: the longer where the process has to find memory for each byte.
 */
const SIZES = [128 << 10, 256 << 10] as const;
/**
 * How many pipes of this program, or of one of its workers, are large at once. A user has 64 MiB for all pipes (pipe(7),
 * `pipe-user-pages-soft`); who has used them up gets pipes of 8 KiB.
 */
const MOST = 64;

/** Commands of fcntl(2), the same wherever Deno runs. */
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
/** After so many numbers in turn that are no descriptor of this program, it looks no further. */
const GAP = 64;

/** Two descriptors of a process: what it reads, and what it writes. */
export type Descriptors = readonly [number, number];
/** Standard input and output. */
export const STANDARD: Descriptors = [0, 1];

let wide = 0;

/** The two pipes of one process. */
export class WidePipes {
  readonly #pid: number;
  readonly #candidates: readonly Descriptors[];
  #done = false;
  #wide = 0;

  /** Those of child `pid`: the first of the `candidates` that are pipes of this program. */
  constructor(pid: number, candidates: readonly Descriptors[]) {
    this.#pid = pid;
    this.#candidates = candidates;
  }

  /** Makes the pipes larger, once; where that is not possible, they are as they always were. */
  widen(): void {
    if (this.#done) return;
    this.#done = true;
    if (wide + 2 > MOST || !mayAsk()) return;
    let libc;
    try {
      libc = Deno.dlopen("libc.so.6", {
        readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
        fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
      });
    } catch {
      // Another C library.
      return;
    }
    const { readlink, fcntl } = libc.symbols;
    const target = new Uint8Array(64);
    // "pipe:[123]", say; no descriptor has no text.
    const linkAt = (process: number | "self", descriptor: number): string => {
      const path = new TextEncoder().encode(`/proc/${process}/fd/${descriptor}\0`);
      const length = Number(readlink(path, target, BigInt(target.length)));
      return new TextDecoder().decode(target.subarray(0, Math.max(0, length)));
    };
    try {
      // Whatever has that number, only a pipe that this program has an end of is touched, and by that end.
      const own = new Map<string, number>();
      for (let fd = 0, last = 0; fd - last <= GAP; fd++) {
        const link = linkAt("self", fd);
        if (link === "") continue;
        last = fd;
        if (link.startsWith("pipe:[")) own.set(link, fd);
      }
      const ends = (pair: Descriptors) =>
        pair.map((descriptor) => own.get(linkAt(this.#pid, descriptor)));
      const pair = this.#candidates.map(ends).find((pair) => !pair.includes(undefined)) ?? [];
      for (const [index, fd] of pair.entries()) {
        const size = SIZES[index]!;
        if (fcntl(fd!, F_GETPIPE_SZ, 0) < size && fcntl(fd!, F_SETPIPE_SZ, size) >= 0) this.#wide++;
      }
    } finally {
      libc.close();
    }
    wide += this.#wide;
  }

  /** The process has ended. */
  release(): void {
    this.#done = true;
    wide -= this.#wide;
    this.#wide = 0;
  }
}

function mayAsk(): boolean {
  return Deno.build.os === "linux" &&
    Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}
