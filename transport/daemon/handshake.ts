/**
 * What is said on a connection to a daemon before the first frame, by both ends.
 *
 * ```text
 * client: PUSHY-DAEMON/1 hello <nonce>            32 random bytes, hexadecimal
 * server: PUSHY-DAEMON/1 open                     nothing is to be proven here; frames follow
 *       | PUSHY-DAEMON/1 challenge <nonce>        prove that you know the token
 *       | PUSHY-DAEMON/1 refused <reason>
 * client: PUSHY-DAEMON/1 proof <mac>              HMAC-SHA-256 of the token over both nonces
 * server: PUSHY-DAEMON/1 welcome <mac>            the server's own; frames follow
 *       | PUSHY-DAEMON/1 refused <reason>
 *
 * client: PUSHY-DAEMON/1 health                   asks for no more than a sign of life
 * server: PUSHY-DAEMON/1 healthy
 * ```
 *
 * The token itself is never sent, and each side proves that it knows it. The client goes first: a stranger
 * at the port learns nothing that a token could be guessed from. What a mac covers begins with the role of
 * who made it, so that none can be sent back, and may name the address that the client has reached, so that
 * none can be passed on to another one.
 *
 * @module
 */

import type { ByteChannel } from "../popen.ts";

/** The version of this conversation. */
export const HANDSHAKE_VERSION = 1;

const NAME = "PUSHY-DAEMON/";
const HEAD = `${NAME}${HANDSHAKE_VERSION} `;
/** No line is longer, in bytes. */
const LINE_BYTES = 256;
const NONCE = /^[0-9a-f]{64}$/;

/** Why a server refuses: what it says of it on the wire. */
export type Refusal = "full" | "stopping" | "token" | "version" | "busy";

/** What went wrong before the first frame. */
export type HandshakeFault =
  /** The other side ended the connection. */
  | "ended"
  /** The other side speaks something else. */
  | "stranger"
  /** The other side speaks TLS, and this one does not. */
  | "tls"
  /** The other side speaks another version of this. */
  | "version"
  /** The server asks for a token, and there is none. */
  | "token missing"
  /** The server did not prove that it knows the token. */
  | "unproven"
  /** The server asks for no token where one was to be proven. */
  | "downgrade"
  /** The client's proof was wrong. */
  | "guess"
  /** The server refuses; `said` is its reason. */
  | "refused";

/** The conversation before the first frame has failed. */
export class HandshakeError extends Error {
  override readonly name = "HandshakeError";
  /** In which way. */
  readonly fault: HandshakeFault;
  /** What the other side said last, as text; not to be trusted. */
  readonly said: string;

  /** Makes the error. */
  constructor(fault: HandshakeFault, said = "", cause?: unknown) {
    super(said === "" ? fault : `${fault}: ${said}`, cause === undefined ? undefined : { cause });
    this.fault = fault;
    this.said = said;
  }
}

/** What proves knowledge of a token. */
export type TokenKey = CryptoKey;

const encoder = new TextEncoder();

/** Makes a key of a token. */
export function tokenKey(token: string): Promise<TokenKey> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey("raw", encoder.encode(token), algorithm, false, [
    "sign",
    "verify",
  ]);
}

type Role = "client" | "server";

function covered(role: Role, clientNonce: string, serverNonce: string, place: string) {
  return encoder.encode(`${HEAD}${role} ${clientNonce} ${serverNonce} ${place}`);
}

async function prove(key: TokenKey, bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes)));
}

/** Web Crypto compares macs in constant time. */
async function proves(
  key: TokenKey,
  mac: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  return NONCE.test(mac) && await crypto.subtle.verify("HMAC", key, fromHex(mac), bytes);
}

function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (byte + 0x100).toString(16).slice(1);
  return text;
}

function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

function newNonce(): string {
  return toHex(crypto.getRandomValues(new Uint8Array(32)));
}

/** Reads and writes the lines of the conversation. */
class Lines {
  readonly #channel: ByteChannel;
  readonly #buffer = new Uint8Array(2 * LINE_BYTES);
  #filled = 0;

  constructor(channel: ByteChannel) {
    this.#channel = channel;
  }

  /** What came behind the last line. */
  get rest(): Uint8Array {
    return this.#buffer.slice(0, this.#filled);
  }

  async write(words: string): Promise<void> {
    await this.#channel.write(encoder.encode(`${HEAD}${words}\n`));
  }

  /** The words of the next line. Bytes that cannot become one are noticed as they come. */
  async read(): Promise<string[]> {
    for (;;) {
      const filled = this.#buffer.subarray(0, this.#filled);
      const end = filled.indexOf(0x0a);
      const line = latin1(end < 0 ? filled : filled.subarray(0, end));
      this.#check(line, end >= 0);
      if (end >= 0) {
        this.#buffer.copyWithin(0, end + 1, this.#filled);
        this.#filled -= end + 1;
        return line.slice(HEAD.length).split(" ");
      }
      let length: number | null;
      try {
        length = await this.#channel.read(this.#buffer.subarray(this.#filled));
      } catch (cause) {
        throw new HandshakeError("ended", line, cause);
      }
      if (length === null) throw new HandshakeError("ended", line);
      this.#filled += length;
    }
  }

  #check(line: string, complete: boolean): void {
    if (line === "") {
      if (complete) throw new HandshakeError("stranger", line);
      return;
    }
    // A TLS record: a handshake or an alert.
    const first = line.charCodeAt(0);
    if (first === 0x15 || first === 0x16) throw new HandshakeError("tls");
    const ours = line.length < HEAD.length ? HEAD.startsWith(line) : line.startsWith(HEAD);
    if (ours && line.length <= LINE_BYTES && (!complete || line.length >= HEAD.length)) return;
    const version = new RegExp(`^${NAME}(\\d+) `).exec(line);
    if (version && !ours) throw new HandshakeError("version", version[1]);
    if (new RegExp(`^${NAME}\\d*$`).test(line) && line.length < LINE_BYTES && !complete) return;
    throw new HandshakeError("stranger", line);
  }
}

function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** What a client knows to prove. */
export interface Credential {
  /** The token's key. */
  key: TokenKey;
  /** The address that was reached, where nothing may stand between; else empty. */
  place: string;
}

/**
 * The client's end. `credential` is asked for when the server wants a token; `mustProve` says whether
 * a server that wants none is refused.
 *
 * Resolves to the bytes that came behind. Rejects with a {@linkcode HandshakeError}.
 */
export async function enter(
  channel: ByteChannel,
  credential: () => Promise<Credential | undefined>,
  mustProve: () => Promise<boolean>,
): Promise<Uint8Array> {
  const lines = new Lines(channel);
  const nonce = newNonce();
  await say(lines, `hello ${nonce}`);
  let [verb, word = ""] = await lines.read();
  if (verb === "open") {
    if (await mustProve()) throw new HandshakeError("downgrade");
    return lines.rest;
  }
  if (verb === "challenge" && NONCE.test(word)) {
    const challenge = word;
    const known = await credential();
    if (!known) throw new HandshakeError("token missing");
    const { key, place } = known;
    await say(lines, `proof ${await prove(key, covered("client", nonce, challenge, place))}`);
    [verb, word = ""] = await lines.read();
    if (verb === "welcome") {
      if (await proves(key, word, covered("server", nonce, challenge, place))) return lines.rest;
      throw new HandshakeError("unproven");
    }
  }
  if (verb === "refused") throw new HandshakeError("refused", word);
  throw new HandshakeError("stranger", `${verb} ${word}`);
}

/** A server that refuses may have ended the connection before it read: what it said counts. */
async function say(lines: Lines, words: string): Promise<void> {
  try {
    await lines.write(words);
  } catch {
    // The next read tells of it.
  }
}

/** How a server answers. */
export interface Doorkeeping {
  /** The token's key, if one is to be proven. */
  key: TokenKey | undefined;
  /** The address that the client has reached, if a client may insist on it. */
  place: string;
  /** Why nobody is let in just now. */
  refusal: () => Refusal | undefined;
  /** The same, asked when there is nothing left to prove: if there is no reason, a place is taken. */
  takePlace: () => Refusal | undefined;
  /** Holds up the answer to a wrong proof. */
  delay: () => Promise<void>;
}

/**
 * The server's end. Resolves to the bytes that came behind, or to `undefined` for a health probe, which has
 * its answer. Rejects with a {@linkcode HandshakeError}; the client was told what it may know.
 */
export async function admit(
  channel: ByteChannel,
  { key, place, refusal, takePlace, delay }: Doorkeeping,
): Promise<Uint8Array | undefined> {
  const lines = new Lines(channel);
  const refuse = async (reason: Refusal): Promise<never> => {
    await say(lines, `refused ${reason}`);
    throw new HandshakeError("refused", reason);
  };
  let [verb, nonce = ""] = await lines.read().catch(async (error) => {
    if (error instanceof HandshakeError && error.fault === "version") {
      await say(lines, "refused version");
    }
    throw error;
  });
  if (verb === "health") {
    await say(lines, "healthy");
    return undefined;
  }
  if (verb !== "hello" || !NONCE.test(nonce)) {
    throw new HandshakeError("stranger", `${verb} ${nonce}`);
  }
  const reason = key ? refusal() : takePlace();
  if (reason) return await refuse(reason);
  if (!key) {
    await say(lines, "open");
    return lines.rest;
  }
  const challenge = newNonce();
  await say(lines, `challenge ${challenge}`);
  let mac: string | undefined;
  [verb, mac = ""] = await lines.read();
  if (verb !== "proof") throw new HandshakeError("stranger", verb);
  for (const where of place === "" ? [""] : ["", place]) {
    if (!await proves(key, mac, covered("client", nonce, challenge, where))) continue;
    // Others may have come in while this one was proving.
    const reason = takePlace();
    if (reason) return await refuse(reason);
    await say(lines, `welcome ${await prove(key, covered("server", nonce, challenge, where))}`);
    return lines.rest;
  }
  await delay();
  await say(lines, "refused token");
  throw new HandshakeError("guess");
}

/** Asks a server for a sign of life. Rejects with a {@linkcode HandshakeError} if it gives none. */
export async function checkHealth(channel: ByteChannel): Promise<void> {
  const lines = new Lines(channel);
  await say(lines, "health");
  const [verb, word = ""] = await lines.read();
  if (verb === "refused") throw new HandshakeError("refused", word);
  if (verb !== "healthy") throw new HandshakeError("stranger", verb);
}
