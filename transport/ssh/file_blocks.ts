/**
 * Local files in large blocks: each read and each write visits a thread, which may cost more than the bytes of a packet.
 *
 * @module
 */

/** How many bytes are read in one visit. */
const READ_BLOCK = 256 << 10;
/**
 * How many bytes are written in one visit. Larger writes took up to three times as much of the kernel's time
 * (`bench/RESULTS.md`).
 */
const WRITE_BLOCK = 64 << 10;

/** Reads a file from its start. */
export class BlockReader {
  readonly #file: Deno.FsFile;
  readonly #block = new Uint8Array(READ_BLOCK);
  #rest = this.#block.subarray(0, 0);

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Fills a piece of memory; says how much of it, which is less only at the end. */
  async fill(piece: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < piece.length) {
      if (this.#rest.length === 0) {
        const count = await this.#file.read(this.#block);
        if (count === null) break;
        this.#rest = this.#block.subarray(0, count);
      }
      const part = this.#rest.subarray(0, piece.length - filled);
      piece.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return filled;
  }
}

/** Writes a file: one block is filled while the one before is being written. */
export class BlockWriter {
  readonly #file: Deno.FsFile;
  #filling = new Uint8Array(WRITE_BLOCK);
  #other = new Uint8Array(WRITE_BLOCK);
  #filled = 0;
  #writing: Promise<void> | undefined;

  constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Takes bytes, which are copied. Rejects if what came before could not be written. */
  async add(bytes: Uint8Array): Promise<void> {
    for (let taken = 0; taken < bytes.length;) {
      const part = bytes.subarray(taken, taken + WRITE_BLOCK - this.#filled);
      this.#filling.set(part, this.#filled);
      this.#filled += part.length;
      taken += part.length;
      if (this.#filled === WRITE_BLOCK) await this.#flush();
    }
  }

  async #flush(): Promise<void> {
    await this.#writing;
    this.#writing = this.#write(this.#filling.subarray(0, this.#filled));
    this.#writing.catch(() => {});
    this.#filled = 0;
    [this.#filling, this.#other] = [this.#other, this.#filling];
  }

  async #write(block: Uint8Array): Promise<void> {
    for (let done = 0; done < block.length;) done += await this.#file.write(block.subarray(done));
  }

  /** Resolves when all of it was written. Once it has settled, nothing is on its way to the file. */
  async finish(): Promise<void> {
    if (this.#filled > 0) await this.#flush();
    await this.#writing;
  }
}
