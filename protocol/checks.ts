/**
 * What a field of the peer's messages must be, or the session ends.
 *
 * @module
 */

import { ProtocolError } from "./errors.ts";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The error for something of the peer's that is not what it should be. */
export function malformed(what: string): ProtocolError {
  return new ProtocolError(`The peer sent a malformed ${what}`);
}

/** A string of the peer's, or a `ProtocolError`. */
export function string(value: unknown): string {
  if (typeof value !== "string") throw malformed("string");
  return value;
}

/** An integer of the peer's, or a `ProtocolError`. */
export function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw malformed("number");
  return value as number;
}

/** An integer of the peer's that is not negative, or a `ProtocolError`. */
export function count(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw malformed("count");
  return value as number;
}

/** A number of the peer's, or a `ProtocolError`. */
export function finite(value: unknown): number {
  if (typeof value !== "number") throw malformed("number");
  return value;
}

/** The text of bytes of the peer's, which must be UTF-8. */
export function utf8Text(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new ProtocolError("The peer sent a string that is not UTF-8", { cause });
  }
}
