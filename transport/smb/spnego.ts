/**
 * SPNEGO (RFC 4178, MS-SPNG): the envelope in which NTLM's messages travel, in the little DER that
 * it needs.
 *
 * @module
 */

import { concat, MalformedError } from "./cursor.ts";

const SPNEGO_OID = Uint8Array.of(0x2b, 6, 1, 5, 5, 2);
const NTLM_OID = Uint8Array.of(0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10);

const TAG = { octets: 0x04, oid: 0x06, enumerated: 0x0a, sequence: 0x30, application: 0x60 };
const context = (n: number) => 0xa0 | n;

function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const body = concat(...content);
  const length = body.length < 0x80
    ? [body.length]
    : body.length < 0x100
    ? [0x81, body.length]
    : [0x82, body.length >> 8, body.length & 255];
  return concat(Uint8Array.of(tag, ...length), body);
}

/** Reads one element after the other out of `bytes`. */
class DerReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  next(): { tag: number; content: Uint8Array } {
    const tag = this.#byte();
    let length = this.#byte();
    if (length >= 0x80) {
      const size = length & 0x7f;
      if (size === 0 || size > 3) throw new MalformedError("SPNEGO token: a length's length");
      length = 0;
      for (let i = 0; i < size; i++) length = length * 256 + this.#byte();
    }
    const end = this.#at + length;
    if (end > this.#bytes.length) {
      throw new MalformedError(
        `SPNEGO token: ${length} bytes at offset ${this.#at} of ${this.#bytes.length} bytes`,
      );
    }
    const content = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return { tag, content };
  }

  expect(tag: number): Uint8Array {
    const element = this.next();
    if (element.tag !== tag) {
      throw new MalformedError(`SPNEGO token: tag ${element.tag} instead of ${tag}`);
    }
    return element.content;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new MalformedError("SPNEGO token: it ends too early");
    this.#at++;
    return byte;
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** The list of mechanisms that the client offers, which mechListMIC signs (RFC 4178, section 5). */
export const MECHANISMS: Uint8Array<ArrayBuffer> = der(TAG.sequence, der(TAG.oid, NTLM_OID));

/** NegTokenInit with NTLM as the only mechanism, and its first message. */
export function initToken(ntlm: Uint8Array): Uint8Array<ArrayBuffer> {
  return der(
    TAG.application,
    der(TAG.oid, SPNEGO_OID),
    der(
      context(0),
      der(
        TAG.sequence,
        der(context(0), MECHANISMS),
        der(context(2), der(TAG.octets, ntlm)),
      ),
    ),
  );
}

/** NegTokenResp with NTLM's third message, and the signature of the mechanism list. */
export function responseToken(ntlm: Uint8Array, mic: Uint8Array | null): Uint8Array<ArrayBuffer> {
  return der(
    context(1),
    der(
      TAG.sequence,
      der(context(2), der(TAG.octets, ntlm)),
      ...(mic === null ? [] : [der(context(3), der(TAG.octets, mic))]),
    ),
  );
}

/**
 * The mechanisms of the NegTokenInit2 that a server sends with its NEGOTIATE response (MS-SPNG
 * 2.2.1): does it speak NTLM?
 */
export function offersNtlm(token: Uint8Array): boolean {
  const outer = new DerReader(new DerReader(token).expect(TAG.application));
  if (!same(outer.expect(TAG.oid), SPNEGO_OID)) return false;
  const init = new DerReader(new DerReader(outer.expect(context(0))).expect(TAG.sequence));
  const list = new DerReader(new DerReader(init.expect(context(0))).expect(TAG.sequence));
  while (!list.done) {
    if (same(list.expect(TAG.oid), NTLM_OID)) return true;
  }
  return false;
}

/** What a server's NegTokenResp says (RFC 4178, section 4.2.2). */
export interface ServerToken {
  readonly state?: "completed" | "incomplete" | "rejected" | "request-mic";
  readonly token?: Uint8Array;
  readonly mic?: Uint8Array;
}

const STATES = ["completed", "incomplete", "rejected", "request-mic"] as const;

/** Reads a server's NegTokenResp. */
export function readServerToken(bytes: Uint8Array): ServerToken {
  const fields = new DerReader(
    new DerReader(new DerReader(bytes).expect(context(1))).expect(TAG.sequence),
  );
  const result: { -readonly [K in keyof ServerToken]: ServerToken[K] } = {};
  while (!fields.done) {
    const { tag, content } = fields.next();
    const inner = new DerReader(content);
    if (tag === context(0)) {
      const state = STATES[inner.expect(TAG.enumerated)[0] ?? -1];
      if (state === undefined) throw new MalformedError("SPNEGO token: an unknown state");
      result.state = state;
    } else if (tag === context(1)) {
      if (!same(inner.expect(TAG.oid), NTLM_OID)) {
        throw new MalformedError("SPNEGO token: the server chose a mechanism that is not NTLM");
      }
    } else if (tag === context(2)) {
      result.token = inner.expect(TAG.octets);
    } else if (tag === context(3)) {
      result.mic = inner.expect(TAG.octets);
    }
  }
  return result;
}
