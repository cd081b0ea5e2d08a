/**
 * Encryption of messages (MS-SMB2 2.2.41, 3.1.4.3 and 3.2.5.1.1): a message inside a
 * transform header that names the session, with a nonce that is never used twice.
 *
 * @module
 */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { ccmOpen, ccmSeal } from "./aes_modes.ts";
import { concat, MalformedError } from "./cursor.ts";
import { FRAME_HEAD } from "./messages.ts";
import { type CipherId, CIPHERS } from "./negotiate.ts";

/** The size of the transform header (MS-SMB2 2.2.41). */
export const TRANSFORM_HEADER = 52;
/** From how many bytes on a hop to another thread pays. */
const LARGE = 8 * 1024;
const TAG = 16;
const NONCE_AT = 20;

/** Seals what the client sends and opens what the server sends. */
export class Encryption {
  readonly #sessionId: bigint;
  readonly #mode: "ccm" | "gcm";
  readonly #algorithm: "aes-128-gcm" | "aes-256-gcm";
  readonly #nonceSize: number;
  readonly #sealKey: Uint8Array<ArrayBuffer>;
  readonly #openKey: Uint8Array<ArrayBuffer>;
  readonly #subtleSeal: CryptoKey;
  readonly #subtleOpen: CryptoKey;
  readonly #nonce: DataView<ArrayBuffer>;

  private constructor(
    sessionId: bigint,
    cipher: CipherId,
    seal: Uint8Array<ArrayBuffer>,
    open: Uint8Array<ArrayBuffer>,
    subtleSeal: CryptoKey,
    subtleOpen: CryptoKey,
  ) {
    this.#sessionId = sessionId;
    this.#mode = CIPHERS[cipher].mode;
    this.#algorithm = CIPHERS[cipher].keySize === 16 ? "aes-128-gcm" : "aes-256-gcm";
    this.#nonceSize = this.#mode === "gcm" ? 12 : 11;
    this.#sealKey = seal;
    this.#openKey = open;
    this.#subtleSeal = subtleSeal;
    this.#subtleOpen = subtleOpen;
    // A counter, then random bytes: the keys live for one session, so no nonce comes back.
    this.#nonce = new DataView(new Uint8Array(randomBytes(16)).buffer);
    this.#nonce.setBigUint64(0, 0n, true);
  }

  /** Makes the two directions of a session. */
  static async make(
    sessionId: bigint,
    cipher: CipherId,
    clientToServer: Uint8Array<ArrayBuffer>,
    serverToClient: Uint8Array<ArrayBuffer>,
  ): Promise<Encryption> {
    const gcm = (key: Uint8Array<ArrayBuffer>, use: "encrypt" | "decrypt") =>
      crypto.subtle.importKey("raw", key, "AES-GCM", false, [use]);
    return new Encryption(
      sessionId,
      cipher,
      clientToServer,
      serverToClient,
      await gcm(clientToServer, "encrypt"),
      await gcm(serverToClient, "decrypt"),
    );
  }

  /** Takes a frame (four bytes, then a message) and gives one whose message is encrypted. */
  seal(frame: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    const message = frame.subarray(FRAME_HEAD);
    const out = new Uint8Array(FRAME_HEAD + TRANSFORM_HEADER + message.length);
    const view = new DataView(out.buffer, FRAME_HEAD, TRANSFORM_HEADER);
    view.setUint32(0, 0x424d53fd, true);
    const nonce = this.#nextNonce();
    out.set(nonce, FRAME_HEAD + NONCE_AT);
    view.setUint32(36, message.length, true);
    view.setUint16(42, 1, true);
    view.setBigUint64(44, this.#sessionId, true);
    const data = out.subarray(FRAME_HEAD + NONCE_AT, FRAME_HEAD + TRANSFORM_HEADER);
    const finish = (text: Uint8Array, tag: Uint8Array) => {
      out.set(tag, FRAME_HEAD + 4);
      out.set(text, FRAME_HEAD + TRANSFORM_HEADER);
      return out;
    };
    if (this.#mode === "ccm") {
      const { text, tag } = ccmSeal(this.#sealKey, nonce, data, message);
      return finish(text, tag);
    }
    if (message.length < LARGE) {
      const cipher = createCipheriv(this.#algorithm, this.#sealKey, nonce);
      cipher.setAAD(data);
      const text = cipher.update(message);
      cipher.final();
      return finish(text, cipher.getAuthTag());
    }
    return crypto.subtle.encrypt(
      { name: "AES-GCM", iv: nonce, additionalData: data },
      this.#subtleSeal,
      message,
    ).then((sealed) => {
      const bytes = new Uint8Array(sealed);
      return finish(bytes.subarray(0, -TAG), bytes.subarray(-TAG));
    });
  }

  /** The message inside an encrypted one. Throws where it is not the server's. */
  open(
    envelope: Uint8Array<ArrayBuffer>,
  ): Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>> {
    if (envelope.length < TRANSFORM_HEADER) {
      throw new MalformedError("An encrypted message is shorter than its header");
    }
    const view = new DataView(envelope.buffer, envelope.byteOffset, TRANSFORM_HEADER);
    const size = envelope.length - TRANSFORM_HEADER;
    if (view.getUint32(36, true) !== size || view.getUint16(42, true) !== 1) {
      throw new MalformedError("An encrypted message's header is not what it should be");
    }
    if (view.getBigUint64(44, true) !== this.#sessionId) {
      throw new MalformedError("An encrypted message is of another session");
    }
    const nonce = envelope.subarray(NONCE_AT, NONCE_AT + this.#nonceSize);
    const data = envelope.subarray(NONCE_AT, TRANSFORM_HEADER);
    const tag = envelope.subarray(4, 4 + TAG);
    const text = envelope.subarray(TRANSFORM_HEADER);
    if (this.#mode === "ccm") {
      const plain = ccmOpen(this.#openKey, nonce, data, text, tag);
      if (plain === null) throw forged();
      return new Uint8Array(plain);
    }
    if (size < LARGE) {
      const decipher = createDecipheriv(this.#algorithm, this.#openKey, nonce);
      decipher.setAAD(data);
      decipher.setAuthTag(tag);
      const plain = decipher.update(text);
      try {
        decipher.final();
      } catch (cause) {
        throw forged(cause);
      }
      return new Uint8Array(plain);
    }
    return crypto.subtle.decrypt(
      { name: "AES-GCM", iv: nonce, additionalData: data },
      this.#subtleOpen,
      concat(text, tag),
    ).then((plain) => new Uint8Array(plain), (cause) => {
      throw forged(cause);
    });
  }

  #nextNonce(): Uint8Array<ArrayBuffer> {
    this.#nonce.setBigUint64(0, this.#nonce.getBigUint64(0, true) + 1n, true);
    return new Uint8Array(this.#nonce.buffer.slice(0, this.#nonceSize));
  }
}

function forged(cause?: unknown): MalformedError {
  const error = new MalformedError("An encrypted message of the server does not decrypt");
  if (cause !== undefined) error.cause = cause;
  return error;
}
