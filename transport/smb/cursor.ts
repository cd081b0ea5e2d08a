/**
 * Little-endian reading that cannot leave the bytes it was given.
 *
 * Every number that another machine sends goes through here: an offset or a length that points
 * past the end is a {@linkcode MalformedError}, never `undefined` or a silent zero.
 *
 * @module
 */

/** What the server sent is not what the specification allows. */
export class MalformedError extends Error {
  /** The class's name. */
  override readonly name = "MalformedError";
}

/** Reads numbers and bytes one after the other. */
export class Cursor {
  /** The next position. */
  offset: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;

  /** Starts at `offset`; `what` names the structure in errors. */
  constructor(bytes: Uint8Array, what: string, offset = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
    this.offset = offset;
  }

  /** How many bytes are left. */
  get left(): number {
    return this.#bytes.length - this.offset;
  }

  #take(size: number): number {
    const at = this.offset;
    if (size < 0 || at < 0 || at + size > this.#bytes.length) {
      throw new MalformedError(
        `${this.#what}: ${size} bytes at offset ${at} of ${this.#bytes.length} bytes`,
      );
    }
    this.offset = at + size;
    return at;
  }

  /** The next byte. */
  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  /** The next two bytes. */
  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  /** The next four bytes. */
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** The next eight bytes. */
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** The next `size` bytes, not copied. */
  bytes(size: number): Uint8Array {
    const at = this.#take(size);
    return this.#bytes.subarray(at, at + size);
  }

  /** Goes over `size` bytes. */
  skip(size: number): this {
    this.#take(size);
    return this;
  }

  /** Goes on at the next multiple of `size`. */
  align(size: number): this {
    const over = this.offset % size;
    if (over !== 0) this.#take(size - over);
    return this;
  }

  /** The `size` bytes at `offset` from the start; an empty range may be anywhere. */
  range(offset: number, size: number): Uint8Array {
    if (size === 0) return new Uint8Array(0);
    return new Cursor(this.#bytes, this.#what, offset).bytes(size);
  }

  /** Checks the structure's own size field (the specification fixes it). */
  structure(size: number): this {
    const seen = this.u16();
    if (seen !== size) {
      throw new MalformedError(`${this.#what}: structure size ${seen} instead of ${size}`);
    }
    return this;
  }
}

/** Joins byte arrays. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const part of parts) size += part.length;
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** UTF-16LE, as every string of SMB2 and NTLM is. */
export function utf16(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length * 2);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < text.length; i++) view.setUint16(2 * i, text.charCodeAt(i), true);
  return bytes;
}
