/**
 * Which ciphers npm:ssh2 is to use on Deno, and how what they hold is given back.
 *
 * Measured on Deno 2.9, in blocks of 32 KiB: AES-GCM 150 MB/s; AES-CTR 350 and HMAC-SHA-256 1,100;
 * ChaCha20 2,200. So GCM, the library's first choice, is the slowest; and for ChaCha20 the library
 * makes three cipher objects a packet that it never finishes, which Deno then never frees. That
 * leaves CTR, with a MAC over what was encrypted.
 *
 * @module
 */

import type { Ssh2Client } from "./ssh2_library.ts";

/** The library's option `algorithms.cipher`, best first. */
export const CIPHERS: readonly string[] = [
  "aes128-ctr",
  "aes192-ctr",
  "aes256-ctr",
  "aes128-gcm@openssh.com",
  "aes256-gcm@openssh.com",
  "chacha20-poly1305@openssh.com",
];

interface Finishable {
  final?(): unknown;
}

interface Inside {
  readonly _protocol?: {
    readonly _cipher?: { readonly _cipherInstance?: Finishable };
    readonly _decipher?: { readonly _decipherInstance?: Finishable };
  };
}

/** Finishes the cipher objects of a connection: Deno holds their memory until then. */
export class CipherKeeper {
  readonly #client: Inside;
  #held: Finishable[] = [];

  constructor(client: Ssh2Client) {
    this.#client = client as unknown as Inside;
  }

  /** Takes note of the objects in use, and finishes those of before: after each key exchange. */
  exchange(): void {
    const before = this.#held;
    this.#held = this.#inUse();
    finish(before.filter((object) => !this.#held.includes(object)));
  }

  /** Finishes all: after the end. */
  finish(): void {
    finish([...new Set([...this.#held, ...this.#inUse()])]);
    this.#held = [];
  }

  #inUse(): Finishable[] {
    const { _cipher, _decipher } = this.#client._protocol ?? {};
    return [_cipher?._cipherInstance, _decipher?._decipherInstance]
      .filter((object) => object !== undefined && object !== null);
  }
}

function finish(objects: readonly Finishable[]): void {
  for (const object of objects) {
    try {
      object.final?.();
    } catch {
      // It was finished already, or in the middle of a message; it is free either way.
    }
  }
}
