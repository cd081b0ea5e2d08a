/**
 * NTLMv2 (MS-NLMP): proving to know a password without sending it, the message integrity code
 * that binds the three messages together, and the session key that comes out.
 *
 * NTLMv1, LM responses and session security without "extended session security" are not spoken.
 *
 * @module
 */

import { createHash, createHmac, randomBytes } from "node:crypto";
import { concat, Cursor, MalformedError, utf16 } from "./cursor.ts";

const SIGNATURE = new TextEncoder().encode("NTLMSSP\0");

/** MS-NLMP 2.2.2.5. */
const FLAG = {
  unicode: 0x1,
  requestTarget: 0x4,
  sign: 0x10,
  ntlm: 0x200,
  anonymous: 0x800,
  alwaysSign: 0x8000,
  extendedSessionSecurity: 0x80000,
  targetInfo: 0x800000,
  version: 0x2000000,
  key128: 0x20000000,
  keyExchange: 0x40000000,
} as const;

const OFFERED = FLAG.unicode | FLAG.requestTarget | FLAG.sign | FLAG.ntlm | FLAG.alwaysSign |
  FLAG.extendedSessionSecurity | FLAG.targetInfo | FLAG.version | FLAG.key128 | FLAG.keyExchange;
const REQUIRED = FLAG.unicode | FLAG.extendedSessionSecurity | FLAG.targetInfo | FLAG.key128;

/** MS-NLMP 2.2.2.10: 10.0, NTLMSSP_REVISION_W2K3. */
const VERSION = Uint8Array.of(10, 0, 0, 0, 0, 0, 0, 15);

/** MS-NLMP 2.2.2.1. */
const AV = { end: 0, flags: 6, timestamp: 7, targetName: 9, channelBindings: 10 } as const;
const AV_FLAG_MIC = 2;

/** Who logs in. */
export interface Credentials {
  /** The account, without a domain in front. */
  readonly username: string;
  /** The password. */
  readonly password: string;
  /** The domain, or `""`. */
  readonly domain: string;
}

/** What is random or taken from the clock in a login, so that a test can fix it. */
export interface NtlmEntropy {
  /** 8 random bytes. */
  readonly clientChallenge: Uint8Array;
  /** 16 random bytes: the session key that the client chooses. */
  readonly sessionKey: Uint8Array;
  /** 100 ns units since 1601, used when the server sends no time. */
  readonly time: bigint;
}

/** MD5 keyed by HMAC. */
export function hmacMd5(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac("md5", key);
  for (const part of parts) mac.update(part);
  return new Uint8Array(mac.digest());
}

/** RC4, which OpenSSL 3 and Deno no longer have and MS-NLMP encrypts the session key with. */
export class Rc4 {
  readonly #state = Uint8Array.from({ length: 256 }, (_, i) => i);
  #i = 0;
  #j = 0;

  /** Schedules `key`. */
  constructor(key: Uint8Array) {
    const state = this.#state;
    for (let i = 0, j = 0; i < 256; i++) {
      const a = state[i]!;
      j = (j + a + key[i % key.length]!) & 255;
      state[i] = state[j]!;
      state[j] = a;
    }
  }

  /** Goes on with the key stream. */
  update(bytes: Uint8Array): Uint8Array {
    const state = this.#state;
    return bytes.map((byte) => {
      this.#i = (this.#i + 1) & 255;
      const a = state[this.#i]!;
      this.#j = (this.#j + a) & 255;
      const b = state[this.#j]!;
      state[this.#i] = b;
      state[this.#j] = a;
      return byte ^ state[(a + b) & 255]!;
    });
  }
}

/** Upper case one code unit at a time, as Windows does it: `ß` stays `ß`. */
function upperCase(text: string): string {
  return Array.from(text, (c) => c.toUpperCase().length === c.length ? c.toUpperCase() : c).join(
    "",
  );
}

/** NTOWFv2 (MS-NLMP 3.3.2). */
export function ntowfv2({ username, password, domain }: Credentials): Uint8Array {
  const hash = new Uint8Array(createHash("md4").update(utf16(password)).digest());
  return hmacMd5(hash, utf16(upperCase(username) + domain));
}

/** The NTLMv2 response (MS-NLMP 3.3.2) and the session base key. */
export function ntlmv2Response(
  responseKey: Uint8Array,
  serverChallenge: Uint8Array,
  clientChallenge: Uint8Array,
  time: bigint,
  targetInfo: Uint8Array,
): { response: Uint8Array; sessionBaseKey: Uint8Array } {
  const stamp = new Uint8Array(8);
  new DataView(stamp.buffer).setBigUint64(0, time, true);
  const temp = concat(
    Uint8Array.of(1, 1, 0, 0, 0, 0, 0, 0),
    stamp,
    clientChallenge,
    new Uint8Array(4),
    targetInfo,
    new Uint8Array(4),
  );
  const proof = hmacMd5(responseKey, serverChallenge, temp);
  return { response: concat(proof, temp), sessionBaseKey: hmacMd5(responseKey, proof) };
}

/** SIGNKEY and SEALKEY for 128-bit keys (MS-NLMP 3.4.5.2 and 3.4.5.3). */
export function messageKey(
  sessionKey: Uint8Array,
  from: "client" | "server",
  use: "signing" | "sealing",
): Uint8Array {
  const direction = from === "client" ? "client-to-server" : "server-to-client";
  const magic = `session key to ${direction} ${use} key magic constant\0`;
  return new Uint8Array(createHash("md5").update(sessionKey).update(magic).digest());
}

/** The AV pairs of a challenge (MS-NLMP 2.2.2.1). */
function avPairs(targetInfo: Uint8Array): Map<number, Uint8Array> {
  const pairs = new Map<number, Uint8Array>();
  const cursor = new Cursor(targetInfo, "NTLM target information");
  for (;;) {
    const id = cursor.u16();
    const value = cursor.bytes(cursor.u16());
    if (id === AV.end) return pairs;
    pairs.set(id, value);
  }
}

function avBytes(pairs: Map<number, Uint8Array>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [id, value] of pairs) {
    const head = new Uint8Array(4);
    const view = new DataView(head.buffer);
    view.setUint16(0, id, true);
    view.setUint16(2, value.length, true);
    parts.push(head, value);
  }
  return concat(...parts, new Uint8Array(4));
}

/** NEGOTIATE_MESSAGE (MS-NLMP 2.2.1.1). */
function negotiateMessage(flags: number): Uint8Array {
  const message = new Uint8Array(40);
  const view = new DataView(message.buffer);
  message.set(SIGNATURE);
  view.setUint32(8, 1, true);
  view.setUint32(12, flags, true);
  message.set(VERSION, 32);
  return message;
}

/** What a CHALLENGE_MESSAGE says (MS-NLMP 2.2.1.2). */
interface Challenge {
  flags: number;
  serverChallenge: Uint8Array;
  targetInfo: Uint8Array;
  build: number | undefined;
}

function readChallenge(message: Uint8Array): Challenge {
  const cursor = new Cursor(message, "NTLM challenge");
  if (SIGNATURE.some((byte) => byte !== cursor.u8()) || cursor.u32() !== 2) {
    throw new MalformedError("The server's token is not an NTLM challenge");
  }
  cursor.skip(8);
  const flags = cursor.u32();
  const serverChallenge = cursor.bytes(8);
  cursor.skip(8);
  const length = cursor.u16();
  const offset = cursor.skip(2).u32();
  const hasVersion = (flags & FLAG.version) !== 0 && cursor.left >= 8;
  return {
    flags,
    serverChallenge,
    targetInfo: cursor.range(offset, length),
    build: hasVersion ? new Cursor(message, "NTLM version", 50).u16() : undefined,
  };
}

/** A login that goes on: the client's side of the three messages, then its signatures. */
export class NtlmClient {
  readonly #credentials: Credentials | null;
  readonly #entropy: NtlmEntropy;
  readonly #service: string;
  #negotiate: Uint8Array = new Uint8Array(0);
  #sessionKey: Uint8Array = new Uint8Array(16);
  #keyExchange = false;
  #serverBuild: number | undefined;

  /**
   * `credentials` of `null` is an anonymous login. `service` is the service principal name that the
   * response is bound to (`cifs/host`).
   */
  constructor(credentials: Credentials | null, service: string, entropy?: NtlmEntropy) {
    this.#credentials = credentials;
    this.#service = service;
    this.#entropy = entropy ?? {
      clientChallenge: new Uint8Array(randomBytes(8)),
      sessionKey: new Uint8Array(randomBytes(16)),
      time: (BigInt(Date.now()) + 11_644_473_600_000n) * 10_000n,
    };
  }

  /** The exported session key, once the response is made. */
  get sessionKey(): Uint8Array {
    return this.#sessionKey;
  }

  /** The build number of the server's system, once its challenge was read. Samba says 0. */
  get serverBuild(): number | undefined {
    return this.#serverBuild;
  }

  /** The first message. */
  negotiate(): Uint8Array {
    return this.#negotiate = negotiateMessage(OFFERED);
  }

  /** The answer to the server's challenge (MS-NLMP 3.1.5.1.2). */
  authenticate(challengeMessage: Uint8Array): Uint8Array {
    const challenge = readChallenge(challengeMessage);
    if ((challenge.flags & REQUIRED) !== REQUIRED) {
      throw new MalformedError(
        "The server offers only a weak form of NTLM (no extended session security, no 128-bit " +
          "keys or no target information)",
      );
    }
    this.#serverBuild = challenge.build;
    this.#keyExchange = (challenge.flags & FLAG.keyExchange) !== 0;
    const flags = OFFERED & (challenge.flags | FLAG.version);
    if (this.#credentials === null) return this.#anonymous(challengeMessage, flags);

    const pairs = avPairs(challenge.targetInfo);
    const stamp = pairs.get(AV.timestamp);
    const time = stamp === undefined
      ? this.#entropy.time
      : new Cursor(stamp, "NTLM timestamp").u64();
    const flagPair = pairs.get(AV.flags);
    const avFlags = flagPair === undefined ? 0 : new Cursor(flagPair, "NTLM AV flags").u32();
    const flagBytes = new Uint8Array(4);
    new DataView(flagBytes.buffer).setUint32(0, avFlags | AV_FLAG_MIC, true);
    pairs.set(AV.flags, flagBytes);
    pairs.set(AV.channelBindings, new Uint8Array(16));
    pairs.set(AV.targetName, utf16(this.#service));

    const { response, sessionBaseKey } = ntlmv2Response(
      ntowfv2(this.#credentials),
      challenge.serverChallenge,
      this.#entropy.clientChallenge,
      time,
      avBytes(pairs),
    );
    return this.#response(challengeMessage, flags, sessionBaseKey, {
      lm: new Uint8Array(24),
      nt: response,
      domain: utf16(this.#credentials.domain),
      user: utf16(this.#credentials.username),
    });
  }

  #anonymous(challengeMessage: Uint8Array, flags: number): Uint8Array {
    const empty = new Uint8Array(0);
    return this.#response(challengeMessage, flags | FLAG.anonymous, new Uint8Array(16), {
      lm: Uint8Array.of(0),
      nt: empty,
      domain: empty,
      user: empty,
    });
  }

  /** AUTHENTICATE_MESSAGE (MS-NLMP 2.2.1.3). */
  #response(
    challengeMessage: Uint8Array,
    flags: number,
    baseKey: Uint8Array,
    fields: { lm: Uint8Array; nt: Uint8Array; domain: Uint8Array; user: Uint8Array },
  ): Uint8Array {
    let encryptedKey: Uint8Array = new Uint8Array(0);
    this.#sessionKey = baseKey;
    if (this.#keyExchange) {
      this.#sessionKey = this.#entropy.sessionKey;
      encryptedKey = new Rc4(baseKey).update(this.#sessionKey);
    }
    const head = new Uint8Array(88);
    const view = new DataView(head.buffer);
    head.set(SIGNATURE);
    view.setUint32(8, 3, true);
    const payload: Uint8Array[] = [];
    let offset = head.length;
    const field = (at: number, bytes: Uint8Array) => {
      view.setUint16(at, bytes.length, true);
      view.setUint16(at + 2, bytes.length, true);
      view.setUint32(at + 4, offset, true);
      payload.push(bytes);
      offset += bytes.length;
    };
    field(28, fields.domain);
    field(36, fields.user);
    field(44, new Uint8Array(0));
    field(12, fields.lm);
    field(20, fields.nt);
    field(52, encryptedKey);
    view.setUint32(60, flags, true);
    head.set(VERSION, 64);
    const message = concat(head, ...payload);
    const mic = hmacMd5(this.#sessionKey, this.#negotiate, challengeMessage, message);
    message.set(mic, 72);
    return message;
  }

  /** The first signature of one direction (MS-NLMP 3.4.4.2), for SPNEGO's mechListMIC. */
  sign(from: "client" | "server", message: Uint8Array): Uint8Array {
    const sequence = new Uint8Array(4);
    const key = messageKey(this.#sessionKey, from, "signing");
    let checksum: Uint8Array = hmacMd5(key, sequence, message).slice(0, 8);
    if (this.#keyExchange) {
      checksum = new Rc4(messageKey(this.#sessionKey, from, "sealing")).update(checksum);
    }
    return concat(Uint8Array.of(1, 0, 0, 0), checksum, sequence);
  }
}
