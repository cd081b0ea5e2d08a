/**
 * Signatures of messages (MS-SMB2 3.1.4.1 and 3.1.5.1).
 *
 * Small messages are signed in the turn that sends them; large ones by Web Crypto, off the main
 * thread, where that is faster.
 *
 * @module
 */

import { createCipheriv, createHmac, timingSafeEqual } from "node:crypto";
import { cmac, cmacBlocks, cmacSubkeys } from "./aes_modes.ts";
import { SIGNATURE_AT } from "./messages.ts";
import type { SigningName } from "./negotiate.ts";

/** From how many bytes on a hop to another thread pays. */
const LARGE = 16 * 1024;
const FLAGS_AT = 16;
const COMMAND_AT = 12;
const MESSAGE_ID_AT = 24;
const CANCEL = 12;

/** Signs and checks messages with one key. */
export interface Signer {
  /** Puts the signature into `message`, a whole message without its frame. */
  sign(message: Uint8Array<ArrayBuffer>): void | Promise<void>;
  /** Is the signature of `message` right? Leaves the signature field zero. */
  verify(message: Uint8Array<ArrayBuffer>): boolean | Promise<boolean>;
}

type Mac = (message: Uint8Array<ArrayBuffer>) => Uint8Array | Promise<Uint8Array>;

class MacSigner implements Signer {
  readonly #mac: Mac;

  constructor(small: Mac, large: Mac = small) {
    this.#mac = (message) => message.length < LARGE ? small(message) : large(message);
  }

  sign(message: Uint8Array<ArrayBuffer>): void | Promise<void> {
    message[FLAGS_AT]! |= 8;
    message.fill(0, SIGNATURE_AT, SIGNATURE_AT + 16);
    const mac = this.#mac(message);
    if (!(mac instanceof Promise)) return void message.set(mac.subarray(0, 16), SIGNATURE_AT);
    return mac.then((bytes) => message.set(bytes.subarray(0, 16), SIGNATURE_AT));
  }

  verify(message: Uint8Array<ArrayBuffer>): boolean | Promise<boolean> {
    const seen = message.slice(SIGNATURE_AT, SIGNATURE_AT + 16);
    message.fill(0, SIGNATURE_AT, SIGNATURE_AT + 16);
    const mac = this.#mac(message);
    if (!(mac instanceof Promise)) return timingSafeEqual(seen, mac.subarray(0, 16));
    return mac.then((bytes) => timingSafeEqual(seen, bytes.subarray(0, 16)));
  }
}

/** The nonce of AES-GMAC (MS-SMB2 2.2.3.1.7 and 3.1.4.1): who sent the message, and its id. */
function gmacNonce(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const nonce = new Uint8Array(12);
  nonce.set(message.subarray(MESSAGE_ID_AT, MESSAGE_ID_AT + 8));
  const cancel = message[COMMAND_AT] === CANCEL && message[COMMAND_AT + 1] === 0;
  nonce[8] = (message[FLAGS_AT]! & 1) | (cancel ? 2 : 0);
  return nonce;
}

/** Makes the signer of an algorithm. */
export async function makeSigner(
  algorithm: SigningName,
  key: Uint8Array<ArrayBuffer>,
): Promise<Signer> {
  if (algorithm === "HMAC-SHA256") {
    return new MacSigner((message) =>
      new Uint8Array(createHmac("sha256", key).update(message).digest())
    );
  }
  if (algorithm === "AES-CMAC") {
    const cbc = await crypto.subtle.importKey("raw", key, "AES-CBC", false, ["encrypt"]);
    const subkeys = cmacSubkeys(key);
    return new MacSigner((message) => cmac(key, message, subkeys), async (message) => {
      const iv = new Uint8Array(16);
      const blocks = cmacBlocks(subkeys, message);
      // Web Crypto adds a block of padding; the one before it is the MAC.
      const all = await crypto.subtle.encrypt({ name: "AES-CBC", iv }, cbc, blocks);
      return new Uint8Array(all, all.byteLength - 32, 16);
    });
  }
  const gcm = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  return new MacSigner((message) => {
    const cipher = createCipheriv("aes-128-gcm", key, gmacNonce(message));
    cipher.setAAD(message);
    cipher.final();
    return cipher.getAuthTag();
  }, async (message) => {
    const all = await crypto.subtle.encrypt(
      { name: "AES-GCM", iv: gmacNonce(message), additionalData: message },
      gcm,
      new Uint8Array(0),
    );
    return new Uint8Array(all);
  });
}
