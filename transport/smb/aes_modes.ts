/**
 * AES-CMAC and AES-CCM, which neither `node:crypto` on Deno nor Web Crypto has, made of their
 * AES-CBC and AES-CTR. (On Deno a cipher that is not finished keeps its resource for ever.)
 *
 * @module
 */

import { createCipheriv, timingSafeEqual } from "node:crypto";
import { concat } from "./cursor.ts";

const ZERO_BLOCK = new Uint8Array(16);

function name(key: Uint8Array, mode: "cbc" | "ctr" | "ecb"): string {
  return `aes-${key.length * 8}-${mode}`;
}

/** CBC with a zero IV over whole blocks; the last block is a MAC of all of them. */
function cbc(key: Uint8Array, blocks: Uint8Array): Uint8Array {
  const cipher = createCipheriv(name(key, "cbc"), key, ZERO_BLOCK);
  cipher.setAutoPadding(false);
  const encrypted = cipher.update(blocks);
  cipher.final();
  return encrypted;
}

function doubled(block: Uint8Array): Uint8Array {
  const out = new Uint8Array(16);
  for (let i = 0; i < 16; i++) out[i] = (block[i]! << 1) | (i < 15 ? block[i + 1]! >> 7 : 0);
  if (block[0]! & 0x80) out[15]! ^= 0x87;
  return out;
}

/** The two subkeys of RFC 4493, section 2.3. */
export interface CmacSubkeys {
  /** For a message of whole blocks. */
  readonly whole: Uint8Array;
  /** For a message whose last block is padded. */
  readonly padded: Uint8Array;
}

/** Derives the subkeys of `key` (RFC 4493, section 2.3). */
export function cmacSubkeys(key: Uint8Array): CmacSubkeys {
  const cipher = createCipheriv(name(key, "ecb"), key, null);
  cipher.setAutoPadding(false);
  const whole = doubled(cipher.update(ZERO_BLOCK));
  cipher.final();
  return { whole, padded: doubled(whole) };
}

/**
 * The message as CMAC feeds it to CBC: its last block padded and mixed with a subkey (RFC 4493,
 * section 2.4).
 */
export function cmacBlocks(subkeys: CmacSubkeys, message: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = Math.max(16, Math.ceil(message.length / 16) * 16);
  const blocks = new Uint8Array(size);
  blocks.set(message);
  if (message.length !== size) blocks[message.length] = 0x80;
  const subkey = message.length === size ? subkeys.whole : subkeys.padded;
  for (let i = 0; i < 16; i++) blocks[size - 16 + i]! ^= subkey[i]!;
  return blocks;
}

/** AES-CMAC (RFC 4493): 16 bytes. */
export function cmac(key: Uint8Array, message: Uint8Array, subkeys = cmacSubkeys(key)): Uint8Array {
  return cbc(key, cmacBlocks(subkeys, message)).subarray(-16);
}

function padded(bytes: Uint8Array): Uint8Array {
  const over = bytes.length % 16;
  return over === 0 ? bytes : concat(bytes, new Uint8Array(16 - over));
}

/** The tag before it is encrypted (RFC 3610, section 2.2), 16 bytes. */
function ccmTag(key: Uint8Array, nonce: Uint8Array, data: Uint8Array, plain: Uint8Array) {
  const lengthSize = 15 - nonce.length;
  const first = new Uint8Array(16);
  first[0] = (data.length > 0 ? 0x40 : 0) | (((16 - 2) / 2) << 3) | (lengthSize - 1);
  first.set(nonce, 1);
  for (let i = 15, rest = plain.length; i > 15 - lengthSize && rest > 0; i--) {
    first[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  const header = new Uint8Array(2);
  new DataView(header.buffer).setUint16(0, data.length);
  const authenticated = data.length > 0 ? padded(concat(header, data)) : data;
  return cbc(key, concat(first, authenticated, padded(plain))).subarray(-16);
}

/** Encrypts the tag and the text with one key stream (RFC 3610, section 2.3). */
function ccmStream(key: Uint8Array, nonce: Uint8Array, tag: Uint8Array, text: Uint8Array) {
  const counter = new Uint8Array(16);
  counter[0] = 14 - nonce.length;
  counter.set(nonce, 1);
  const cipher = createCipheriv(name(key, "ctr"), key, counter);
  const result = { tag: cipher.update(tag), text: cipher.update(text) };
  cipher.final();
  return result;
}

/** AES-CCM with a tag of 16 bytes (RFC 3610). `data` is at most 65,279 bytes. */
export function ccmSeal(
  key: Uint8Array,
  nonce: Uint8Array,
  data: Uint8Array,
  plain: Uint8Array,
): { text: Uint8Array; tag: Uint8Array } {
  return ccmStream(key, nonce, ccmTag(key, nonce, data, plain), plain);
}

/** The opposite of {@linkcode ccmSeal}; `null` when the tag is wrong. */
export function ccmOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  data: Uint8Array,
  text: Uint8Array,
  tag: Uint8Array,
): Uint8Array | null {
  const { tag: expected, text: plain } = ccmStream(key, nonce, tag, text);
  return timingSafeEqual(expected, ccmTag(key, nonce, data, plain)) ? plain : null;
}
