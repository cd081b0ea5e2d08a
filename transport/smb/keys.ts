/**
 * The keys of a session: what is derived from the session key, and for what (MS-SMB2 3.1.4.2).
 *
 * @module
 */

import { createHash, createHmac } from "node:crypto";
import { concat } from "./cursor.ts";
import { type CipherId, CIPHERS, DIALECT, type Dialect } from "./negotiate.ts";

const text = new TextEncoder();

/**
 * The key derivation of SP 800-108 in counter mode with HMAC-SHA-256 and a 32-bit counter and
 * length (MS-SMB2 3.1.4.2). `size` is 16 or 32 bytes; `label` and `context` include their own
 * terminating zeros.
 */
export function deriveKey(
  key: Uint8Array,
  label: Uint8Array,
  context: Uint8Array,
  size: number,
): Uint8Array<ArrayBuffer> {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, size * 8);
  const input = concat(Uint8Array.of(0, 0, 0, 1), label, Uint8Array.of(0), context, length);
  return new Uint8Array(createHmac("sha256", key).update(input).digest()).slice(0, size);
}

/** The keys of one session. */
export interface SessionKeys {
  /** Signs requests and responses. */
  readonly signing: Uint8Array<ArrayBuffer>;
  /** Encrypts what the client sends; absent where the dialect has no encryption. */
  readonly clientToServer?: Uint8Array<ArrayBuffer>;
  /** Decrypts what the server sends. */
  readonly serverToClient?: Uint8Array<ArrayBuffer>;
}

/**
 * Derives the session's keys (MS-SMB2 3.2.5.3.1). `preauth` is the hash of the negotiation and the
 * session setup, which 3.1.1 binds the keys to.
 */
export function sessionKeys(
  dialect: Dialect,
  sessionKey: Uint8Array,
  preauth: Uint8Array,
  cipher: CipherId | undefined,
): SessionKeys {
  const key = new Uint8Array(16);
  key.set(sessionKey.subarray(0, 16));
  if (dialect < DIALECT.v300) return { signing: key };
  const named = (label: string, context: string | Uint8Array, size = 16) =>
    deriveKey(
      key,
      text.encode(label + "\0"),
      typeof context === "string" ? text.encode(context + "\0") : context,
      size,
    );
  const size = cipher === undefined ? 16 : CIPHERS[cipher].keySize;
  if (dialect < DIALECT.v311) {
    return {
      signing: named("SMB2AESCMAC", "SmbSign"),
      clientToServer: named("SMB2AESCCM", "ServerIn "),
      serverToClient: named("SMB2AESCCM", "ServerOut"),
    };
  }
  return {
    signing: named("SMBSigningKey", preauth),
    clientToServer: named("SMBC2SCipherKey", preauth, size),
    serverToClient: named("SMBS2CCipherKey", preauth, size),
  };
}

/** The pre-authentication integrity hash (MS-SMB2 3.1.4.4.1): SHA-512 over each message in turn. */
export class PreauthHash {
  /** The hash so far; 64 zeros at first. */
  value: Uint8Array<ArrayBuffer> = new Uint8Array(64);

  /** Takes one whole message in. */
  update(message: Uint8Array): void {
    this.value = new Uint8Array(
      createHash("sha512").update(this.value).update(message).digest(),
    );
  }
}
