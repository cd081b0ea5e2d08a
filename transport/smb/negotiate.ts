/**
 * What the two sides agree on before anything else (MS-SMB2 3.2.4.2.2 and 3.2.5.2): the dialect,
 * the cipher, the way to sign.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { concat, Cursor, MalformedError } from "./cursor.ts";
import { negotiateRequest, type NegotiateResponse } from "./messages.ts";

/** The dialects (MS-SMB2 2.2.3). */
export const DIALECT = {
  v202: 0x0202,
  v210: 0x0210,
  v300: 0x0300,
  v302: 0x0302,
  v311: 0x0311,
} as const;

/** A dialect as its number on the wire. */
export type Dialect = (typeof DIALECT)[keyof typeof DIALECT];

/** A dialect as users write it. */
export type DialectName = "2.0.2" | "2.1" | "3.0" | "3.0.2" | "3.1.1";

/** The number of each name, oldest first. */
export const DIALECTS: Readonly<Record<DialectName, Dialect>> = {
  "2.0.2": DIALECT.v202,
  "2.1": DIALECT.v210,
  "3.0": DIALECT.v300,
  "3.0.2": DIALECT.v302,
  "3.1.1": DIALECT.v311,
};

/** The name of a dialect's number, for errors. */
export function dialectName(dialect: number): string {
  const found = Object.entries(DIALECTS).find(([, value]) => value === dialect);
  return found?.[0] ?? `0x${dialect.toString(16)}`;
}

/** A cipher's number on the wire (MS-SMB2 2.2.3.1.2). */
export type CipherId = 1 | 2 | 3 | 4;

/** The ciphers. */
export const CIPHERS: Readonly<
  Record<CipherId, { name: string; mode: "ccm" | "gcm"; keySize: 16 | 32 }>
> = {
  1: { name: "AES-128-CCM", mode: "ccm", keySize: 16 },
  2: { name: "AES-128-GCM", mode: "gcm", keySize: 16 },
  3: { name: "AES-256-CCM", mode: "ccm", keySize: 32 },
  4: { name: "AES-256-GCM", mode: "gcm", keySize: 32 },
};
const CIPHER_PREFERENCE: readonly CipherId[] = [2, 4, 1, 3];

/** A signing algorithm (MS-SMB2 2.2.3.1.7). */
export type SigningName = "HMAC-SHA256" | "AES-CMAC" | "AES-GMAC";
const SIGNINGS: readonly SigningName[] = ["HMAC-SHA256", "AES-CMAC", "AES-GMAC"];
const SIGNING_PREFERENCE: readonly number[] = [2, 1, 0];

/** MS-SMB2 2.2.3: signing is possible, or required. */
const SIGNING_MODE = { enabled: 1, required: 2 } as const;
/** MS-SMB2 2.2.3: more than one credit a request. */
const CAP_LARGE_MTU = 4;
/** MS-SMB2 2.2.3: encryption, for dialects that have no context for it. */
const CAP_ENCRYPTION = 0x40;

/** MS-SMB2 2.2.3.1. */
const CONTEXT = { preauth: 1, encryption: 2, signing: 8 } as const;
const SHA512 = 1;

function contextBytes(type: number, data: Uint8Array, last: boolean): Uint8Array {
  const size = last ? data.length : Math.ceil(data.length / 8) * 8;
  const bytes = new Uint8Array(8 + size);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, type, true);
  view.setUint16(2, data.length, true);
  bytes.set(data, 8);
  return bytes;
}

function u16s(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 2);
  const view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint16(2 * i, value, true));
  return bytes;
}

/** What the client offers. */
export class Offer {
  /** The dialects, oldest first. */
  readonly dialects: readonly Dialect[];
  /** What the client can do. */
  readonly capabilities: number;
  /** Names this connection's client. */
  readonly clientGuid: Uint8Array = new Uint8Array(randomBytes(16));
  /** Says whether the client insists on signatures. */
  readonly securityMode: number;

  /**
   * Offers every dialect from `least` to `most`. `signed` is false for guests and anonymous
   * users, who have no key to sign with.
   */
  constructor(least: Dialect, most: Dialect, signed: boolean) {
    this.securityMode = signed ? SIGNING_MODE.required : SIGNING_MODE.enabled;
    this.dialects = Object.values(DIALECTS).filter((dialect) =>
      dialect >= least && dialect <= most
    );
    // 2.0.2 alone has no capabilities of the client's (MS-SMB2 2.2.3).
    this.capabilities = most < DIALECT.v210
      ? 0
      : CAP_LARGE_MTU | (most >= DIALECT.v300 ? CAP_ENCRYPTION : 0);
  }

  /** The NEGOTIATE request. */
  request(): Uint8Array<ArrayBuffer> {
    const contexts: Uint8Array[] = [];
    if (this.dialects.includes(DIALECT.v311)) {
      contexts.push(
        contextBytes(
          CONTEXT.preauth,
          concat(u16s(1, 32, SHA512), new Uint8Array(randomBytes(32))),
          false,
        ),
        contextBytes(
          CONTEXT.encryption,
          u16s(CIPHER_PREFERENCE.length, ...CIPHER_PREFERENCE),
          false,
        ),
        contextBytes(CONTEXT.signing, u16s(SIGNING_PREFERENCE.length, ...SIGNING_PREFERENCE), true),
      );
    }
    return negotiateRequest(
      this.dialects,
      this.securityMode,
      this.capabilities,
      this.clientGuid,
      contexts,
    );
  }

  /** What the server made of it; throws where the server chose something that was not offered. */
  agree(response: NegotiateResponse): Agreement {
    const dialect = this.dialects.find((offered) => offered === response.dialect);
    if (dialect === undefined) {
      throw new MalformedError(
        `The server chose the dialect ${dialectName(response.dialect)}, which was not offered`,
      );
    }
    let signing: SigningName = dialect < DIALECT.v300 ? "HMAC-SHA256" : "AES-CMAC";
    let cipher: CipherId | undefined;
    if (dialect === DIALECT.v311) {
      const contexts = new Map(response.contexts);
      if (contexts.size !== response.contexts.length) {
        throw new MalformedError("Negotiate response: a context appears twice");
      }
      this.#checkPreauth(contexts.get(CONTEXT.preauth));
      const ciphers = contexts.get(CONTEXT.encryption);
      // Zero: the server has none of the ciphers (MS-SMB2 3.3.5.4).
      const chosen = ciphers === undefined ? 0 : onlyChoice(ciphers, "cipher");
      cipher = CIPHER_PREFERENCE.find((offered) => offered === chosen);
      if (chosen !== 0 && cipher === undefined) {
        throw new MalformedError(`The server chose the cipher ${chosen}, which was not offered`);
      }
      const signings = contexts.get(CONTEXT.signing);
      if (signings !== undefined) {
        const chosenSigning = SIGNINGS[onlyChoice(signings, "signing algorithm")];
        if (chosenSigning === undefined) {
          throw new MalformedError("The server chose a signing algorithm that was not offered");
        }
        signing = chosenSigning;
      }
    } else if (dialect >= DIALECT.v300 && (response.capabilities & CAP_ENCRYPTION) !== 0) {
      cipher = 1;
    }
    const largeMtu = dialect >= DIALECT.v210 && (response.capabilities & CAP_LARGE_MTU) !== 0;
    const size = (most: number) => {
      if (most < 0x1000) {
        throw new MalformedError(`Negotiate response: a limit of ${most} bytes a message`);
      }
      return largeMtu ? most : Math.min(most, 0x10000);
    };
    return {
      dialect,
      signing,
      cipher,
      largeMtu,
      maxRead: size(response.maxReadSize),
      maxWrite: size(response.maxWriteSize),
      response,
    };
  }

  #checkPreauth(data: Uint8Array | undefined): void {
    if (data === undefined) {
      throw new MalformedError("Negotiate response: no pre-authentication integrity");
    }
    const cursor = new Cursor(data, "Pre-authentication integrity");
    const count = cursor.u16();
    if (count !== 1 || cursor.skip(2).u16() !== SHA512) {
      throw new MalformedError("The server chose a pre-authentication hash that is not SHA-512");
    }
  }

  /** Can a third party have talked the two sides into an older dialect than both speak? */
  mustValidate({ dialect }: Agreement): boolean {
    return dialect < DIALECT.v311 && this.dialects.some((offered) => offered >= DIALECT.v300);
  }

  /** The input of FSCTL_VALIDATE_NEGOTIATE_INFO (MS-SMB2 2.2.31.4). */
  validateInput(): Uint8Array<ArrayBuffer> {
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, this.capabilities, true);
    return concat(
      head,
      this.clientGuid,
      u16s(this.securityMode, this.dialects.length, ...this.dialects),
    );
  }
}

function onlyChoice(data: Uint8Array, what: string): number {
  const cursor = new Cursor(data, `Negotiated ${what}`);
  if (cursor.u16() !== 1) throw new MalformedError(`The server chose more than one ${what}`);
  return cursor.u16();
}

/** What was agreed on. */
export interface Agreement {
  readonly dialect: Dialect;
  readonly signing: SigningName;
  /** Absent where the server cannot encrypt. */
  readonly cipher: CipherId | undefined;
  /** May a request be larger than 64 KiB, for more than one credit? */
  readonly largeMtu: boolean;
  /** The largest read and write, in bytes. */
  readonly maxRead: number;
  readonly maxWrite: number;
  /** What the server said, to be compared when the session is signed. */
  readonly response: NegotiateResponse;
}

/**
 * Compares what the server says under its signature with what it said before there was one
 * (MS-SMB2 3.2.5.14.12). Throws where somebody between the two has changed it.
 */
export function checkValidation(output: Uint8Array, { response }: Agreement): void {
  const cursor = new Cursor(output, "Validated negotiation");
  const capabilities = cursor.u32();
  const guid = cursor.bytes(16);
  const securityMode = cursor.u16();
  const dialect = cursor.u16();
  if (
    capabilities !== response.capabilities || securityMode !== response.securityMode ||
    dialect !== response.dialect || !guid.every((byte, i) => byte === response.serverGuid[i])
  ) {
    throw new MalformedError(
      "Somebody between here and the server has changed the negotiation (a downgrade attack)",
    );
  }
}
