/**
 * The memory of large values that come to this program: in huge pages, where it may ask for them.
 *
 * An agent gets them by a variable of its environment (see `huge_pages.ts`), if its C library understands that: glibc
 * 2.36 does so by chance, as it compares a text beyond its end. And the program that connects, or serves, runs already.
 * JavaScript has no word for it, but where a program of Deno's has the permission `ffi` anyway, the C library can be
 * told: a large array is there in a half to a fifth of the time. The permission is never asked for.
 *
 * @module
 */

/** A shorter array is not worth the call, which takes a millisecond. */
const LARGE = 8 << 20;
/** The least that memory is divided into; what is asked for begins and ends with one. */
const PAGE = 4096;
/** `MADV_HUGEPAGE` of madvise(2), the same on all of Linux but for Alpha, MIPS, PA-RISC and Xtensa, which have no Deno. */
const MADV_HUGEPAGE = 14;

/** An array of so many bytes, all zero. */
export function largeArray(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  if (length >= LARGE && mayAsk()) ask(bytes);
  return bytes;
}

function mayAsk(): boolean {
  return typeof Deno !== "undefined" && Deno.build.os === "linux" &&
    Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

function ask(bytes: Uint8Array<ArrayBuffer>): void {
  let library;
  try {
    library = Deno.dlopen("libc.so.6", {
      madvise: { parameters: ["usize", "usize", "i32"], result: "i32" },
    });
  } catch {
    // Another C library: the memory is as it always was.
    return;
  }
  try {
    const start = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
    const from = Math.ceil(start / PAGE) * PAGE;
    const to = Math.floor((start + bytes.length) / PAGE) * PAGE;
    // A system that has none says so by a number, and it is no matter.
    library.symbols.madvise(BigInt(from), BigInt(to - from), MADV_HUGEPAGE);
  } finally {
    library.close();
  }
}
