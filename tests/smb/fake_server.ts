/**
 * An SMB server in this process that does what a test tells it to: by default everything right,
 * and whatever a test replaces, wrong.
 */

import { concat, Cursor, utf16 } from "../../transport/smb/cursor.ts";
import { Encryption } from "../../transport/smb/encryption.ts";
import { PreauthHash, sessionKeys } from "../../transport/smb/keys.ts";
import { COMMAND, type Command, HEADER } from "../../transport/smb/messages.ts";
import type { Dialect } from "../../transport/smb/negotiate.ts";
import { hmacMd5, messageKey, ntowfv2, Rc4 } from "../../transport/smb/ntlm.ts";
import { makeSigner, type Signer } from "../../transport/smb/signing.ts";
import { MECHANISMS } from "../../transport/smb/spnego.ts";

export const FAKE_USER = "me";
export const FAKE_PASSWORD = "secret";
const SESSION = 0x1122334455n;
const TREE = 7;

/** A request as the server sees it. */
export interface Request {
  command: Command;
  messageId: bigint;
  flags: number;
  /** The message after its header. */
  body: Uint8Array;
  message: Uint8Array<ArrayBuffer>;
}

/** A response, right where nothing else is said. */
export interface Reply {
  status?: number;
  body?: Uint8Array;
  command?: number;
  messageId?: bigint;
  flags?: number;
  credits?: number;
  nextCommand?: number;
  treeId?: number;
  sessionId?: bigint;
  asyncId?: bigint;
  /** Default: as the session is. */
  protect?: "none" | "sign" | "encrypt";
  /** Changes the message after it was signed. */
  tamper?: (message: Uint8Array) => void;
  /** Sends these bytes instead, without a frame. */
  raw?: Uint8Array;
  /** Closes the connection after this. */
  hangUp?: boolean;
}

export type Handler = (
  request: Request,
  server: FakeServer,
) => Reply | readonly Reply[] | Promise<Reply | readonly Reply[]>;

export interface FakeOptions {
  dialect?: Dialect;
  /** Default: AES-128-GCM for 3.1.1. Zero: none. */
  cipher?: 0 | 1 | 2 | 4;
  /** Flags of the session setup response. */
  sessionFlags?: number;
  shareFlags?: number;
  /** Credits a response. Default: 32. */
  credits?: number;
  /** What is done otherwise. */
  on?: Partial<Record<keyof typeof COMMAND, Handler>>;
}

/** Numbers in little-endian order, of 1, 2, 4 or 8 bytes. */
export function pack(
  ...fields: readonly (readonly [size: 1 | 2 | 4 | 8, value: number | bigint])[]
) {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, Number(value) >>> 0, true);
    else if (size === 2) view.setUint16(at, Number(value), true);
    else view.setUint8(at, Number(value));
    at += size;
  }
  return bytes;
}

function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const body = concat(...parts);
  return concat(Uint8Array.of(tag, 0x82, body.length >> 8, body.length & 255), body);
}

const NTLM_OID = [6, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10];
const KRB_OID = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];

/** NegTokenInit2 with the mechanisms of the server. */
export function mechanisms(...oids: number[][]): Uint8Array {
  return der(
    0x60,
    Uint8Array.of(6, 6, 0x2b, 6, 1, 5, 5, 2),
    der(0xa0, der(0x30, der(0xa0, der(0x30, ...oids.map((oid) => Uint8Array.from(oid)))))),
  );
}
export const OIDS = { ntlm: NTLM_OID, kerberos: KRB_OID };

/** NegTokenResp. */
export function serverToken(state: number, token?: Uint8Array, mic?: Uint8Array): Uint8Array {
  return der(
    0xa1,
    der(
      0x30,
      der(0xa0, Uint8Array.of(0x0a, 1, state)),
      ...(token === undefined ? [] : [der(0xa2, der(0x04, token))]),
      ...(mic === undefined ? [] : [der(0xa3, der(0x04, mic))]),
    ),
  );
}

const CHALLENGE_FLAGS = 0x62898215 | 0x800000;

/** CHALLENGE_MESSAGE. */
export function challenge(): Uint8Array {
  const name = utf16("FAKE");
  const info = concat(pack([2, 2], [2, name.length]), name, new Uint8Array(4));
  return concat(
    new TextEncoder().encode("NTLMSSP\0"),
    pack([4, 2], [2, 0], [2, 0], [4, 56], [4, CHALLENGE_FLAGS]),
    new Uint8Array(8).fill(5),
    new Uint8Array(8),
    pack([2, info.length], [2, info.length], [4, 56]),
    Uint8Array.of(10, 0, 99, 0, 0, 0, 0, 15),
    info,
  );
}

/** The body of a session setup response. */
export function setupBody(flags: number, token: Uint8Array): Uint8Array {
  return concat(pack([2, 9], [2, flags], [2, HEADER + 8], [2, token.length]), token);
}

/** The body of a READ response. */
export function readBody(
  data: Uint8Array,
  { offset = HEADER + 16, length = data.length } = {},
): Uint8Array {
  return concat(pack([2, 17], [1, offset], [1, 0], [4, length], [4, 0], [4, 0]), data);
}

/** The body of a WRITE response. */
export function writeBody(count: number): Uint8Array {
  return pack([2, 17], [2, 0], [4, count], [4, 0], [2, 0], [2, 0]);
}

/** The body of an error response. */
export const ERROR_BODY: Uint8Array = pack([2, 9], [2, 0], [4, 0], [1, 0]);
const EMPTY_BODY: Uint8Array = pack([2, 4], [2, 0]);

export class FakeServer implements AsyncDisposable {
  readonly port: number;
  /** What was asked for, in order. */
  readonly commands: Command[] = [];
  readonly #listener: Deno.TcpListener;
  readonly #options: FakeOptions;
  readonly #dialect: Dialect;
  readonly #work: Promise<void>;
  #conn: Deno.TcpConn | undefined;
  #hash = new PreauthHash();
  #signer: Signer | undefined;
  #encryption: Encryption | undefined;
  #encrypting = false;
  #waiting: Uint8Array[] = [];
  #reads: ((data: Uint8Array) => void)[] = [];
  readonly #readWork = new Map<bigint, Promise<void>>();
  #capabilities = 0;

  constructor(options: FakeOptions = {}) {
    this.#options = options;
    this.#dialect = options.dialect ?? 0x0210;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    this.#work = this.#accept();
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#conn = conn;
      try {
        await this.#serve(conn);
      } catch {
        // The client has closed the connection, as it should.
      } finally {
        this.hangUp();
      }
    }
  }

  /** Ends the connection. */
  hangUp(): void {
    try {
      this.#conn?.close();
    } catch {
      // It was closed before.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.hangUp();
    await this.#work;
  }

  async #serve(conn: Deno.TcpConn): Promise<void> {
    for (;;) {
      const head = await this.#exactly(conn, 4);
      let message = await this.#exactly(conn, (head[1]! << 16) | (head[2]! << 8) | head[3]!);
      if (message[0] === 0xfd) message = await this.#encryption!.open(message);
      const cursor = new Cursor(message, "request", 12);
      const command = cursor.u16() as Command;
      const flags = cursor.skip(2).u32();
      const messageId = cursor.skip(4).u64();
      this.commands.push(command);
      const request = { command, messageId, flags, message, body: message.subarray(HEADER) };
      const name = Object.entries(COMMAND).find(([, value]) => value === command)![0];
      const handler = this.#options.on?.[name as keyof typeof COMMAND] ??
        ((request) => this.right(request));
      if (command < COMMAND.logoff) this.#hash.update(message);
      const work = (async () => {
        const replies = await handler(request, this);
        for (const reply of Array.isArray(replies) ? replies : [replies as Reply]) {
          await this.send(request, reply);
        }
      })();
      // Reads are answered when there is something to read, the rest one after the other.
      if (command === COMMAND.read) this.#readWork.set(messageId, work.catch(() => {}));
      else await work;
    }
  }

  async #exactly(conn: Deno.TcpConn, size: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(size);
    for (let have = 0; have < size;) {
      const n = await conn.read(bytes.subarray(have));
      if (n === null) throw new Error("the end");
      have += n;
    }
    return bytes;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#conn!.write(bytes.subarray(at));
  }

  /** Sends a reply to a request. */
  async send(request: Request, reply: Reply): Promise<void> {
    if (reply.raw !== undefined) {
      await this.#write(reply.raw);
    } else if (reply.body !== undefined) {
      const { status = 0, flags = 1 } = reply;
      const message = concat(
        pack([4, 0x424d53fe], [2, 64], [2, 0], [4, status]),
        pack([2, reply.command ?? request.command], [
          2,
          reply.credits ?? this.#options.credits ?? 32,
        ], [4, flags]),
        pack([4, reply.nextCommand ?? 0], [8, reply.messageId ?? request.messageId]),
        reply.asyncId !== undefined
          ? pack([8, reply.asyncId])
          : pack([4, 0], [4, reply.treeId ?? (request.command < COMMAND.create ? 0 : TREE)]),
        pack([8, reply.sessionId ?? (request.command === COMMAND.negotiate ? 0n : SESSION)]),
        new Uint8Array(16),
        reply.body,
      );
      if (request.command === COMMAND.treeConnect) message[36] = reply.treeId ?? TREE;
      if (request.command === COMMAND.treeDisconnect) message[36] = TREE;
      const last = request.command === COMMAND.sessionSetup && status === 0;
      if (request.command < COMMAND.logoff && !last) this.#hash.update(message);
      const protect = reply.protect ??
        (this.#encrypting && !last ? "encrypt" : this.#signer === undefined ? "none" : "sign");
      if (protect === "sign") await this.#signer!.sign(message);
      if (protect !== "encrypt") reply.tamper?.(message);
      let frame = concat(new Uint8Array(4), message);
      if (protect === "encrypt") {
        frame = await this.#encryption!.seal(frame);
        reply.tamper?.(frame.subarray(4));
      }
      const size = frame.length - 4;
      frame.set([0, size >> 16, (size >> 8) & 255, size & 255]);
      await this.#write(frame);
      if (last && (this.#options.sessionFlags ?? 0) & 4) this.#encrypting = true;
      if (request.command === COMMAND.treeConnect && (this.#options.shareFlags ?? 0) & 0x8000) {
        this.#encrypting = true;
      }
    }
    if (reply.hangUp) this.hangUp();
  }

  /** What a server that does everything right answers. */
  async right(request: Request): Promise<Reply> {
    switch (request.command) {
      case COMMAND.negotiate:
        return { body: this.negotiateBody() };
      case COMMAND.sessionSetup:
        return await this.setup(request);
      case COMMAND.treeConnect:
        return {
          body: pack([2, 16], [1, 2], [1, 0], [4, this.#options.shareFlags ?? 0], [4, 0], [4, 0]),
        };
      case COMMAND.create:
        return { body: concat(pack([2, 89]), new Uint8Array(86).fill(3)) };
      case COMMAND.close:
        return { body: concat(pack([2, 60]), new Uint8Array(58)) };
      case COMMAND.read: {
        const data = await this.#data();
        return data.length > 0
          ? { body: readBody(data) }
          : { status: 0xc0000120, body: ERROR_BODY };
      }
      case COMMAND.write: {
        const length = new Cursor(request.body, "write", 4).u32();
        this.feed(request.body.slice(48, 48 + length));
        return { body: writeBody(length) };
      }
      case COMMAND.ioctl:
        return { body: this.validateBody(this.#dialect) };
      case COMMAND.cancel:
        this.feed(new Uint8Array(0));
        await this.#readWork.get(request.messageId);
        return {};
      default:
        return { body: EMPTY_BODY };
    }
  }

  /** Gives bytes to whoever reads. */
  feed(data: Uint8Array): void {
    const read = this.#reads.shift();
    if (read === undefined) this.#waiting.push(data);
    else read(data);
  }

  #data(): Promise<Uint8Array> {
    const data = this.#waiting.shift();
    if (data !== undefined) return Promise.resolve(data);
    return new Promise((resolve) => this.#reads.push(resolve));
  }

  /** The body of the negotiate response. */
  negotiateBody(
    { dialect = this.#dialect, token = mechanisms(NTLM_OID), tokenLength = token.length }: {
      dialect?: number;
      token?: Uint8Array;
      tokenLength?: number;
    } = {},
  ): Uint8Array {
    const cipher = this.#options.cipher ?? 2;
    this.#capabilities = 4 | (this.#dialect >= 0x300 && this.#dialect < 0x311 ? 0x40 : 0);
    const at = HEADER + 64;
    const padding = new Uint8Array((8 - ((at + token.length) % 8)) % 8);
    const modern = this.#dialect === 0x311;
    const contexts = modern
      ? concat(
        pack([2, 1], [2, 6], [4, 0], [2, 1], [2, 0], [2, 1], [2, 0]),
        ...(cipher === 0 ? [] : [pack([2, 2], [2, 4], [4, 0], [2, 1], [2, cipher], [4, 0])]),
        pack([2, 8], [2, 4], [4, 0], [2, 1], [2, 2], [4, 0]),
      )
      : new Uint8Array(0);
    return concat(
      pack([2, 65], [2, 1], [2, dialect], [2, modern ? (cipher === 0 ? 2 : 3) : 0]),
      new Uint8Array(16).fill(8),
      pack([4, this.#capabilities], [4, 1 << 20], [4, 1 << 20], [4, 1 << 20], [8, 0], [8, 0]),
      pack([2, at], [2, tokenLength]),
      pack([4, modern ? at + token.length + padding.length : 0]),
      token,
      padding,
      contexts,
    );
  }

  /** The body of the answer to FSCTL_VALIDATE_NEGOTIATE_INFO. */
  validateBody(dialect: number): Uint8Array {
    const output = concat(
      pack([4, this.#capabilities]),
      new Uint8Array(16).fill(8),
      pack([2, 1], [2, dialect]),
    );
    return concat(
      pack([2, 49], [2, 0], [4, 0x00140204]),
      new Uint8Array(16).fill(255),
      pack([4, 0], [4, 0], [4, HEADER + 48], [4, output.length], [4, 0], [4, 0]),
      output,
    );
  }

  /** Both rounds of the login; checks what the client proves. */
  async setup(request: Request): Promise<Reply> {
    const cursor = new Cursor(request.message, "setup", HEADER + 12);
    const token = cursor.range(cursor.u16(), cursor.u16());
    const at = new TextDecoder("latin1").decode(token).indexOf("NTLMSSP\0");
    const ntlm = token.subarray(at);
    if (ntlm[8] === 1) {
      return { status: 0xc0000016, body: setupBody(0, serverToken(1, challenge())) };
    }
    const field = (offset: number) => {
      const size = new Cursor(ntlm, "field", offset).u16();
      return new Cursor(ntlm, "field").range(new Cursor(ntlm, "field", offset + 4).u32(), size);
    };
    let key = new Uint8Array(16) as Uint8Array;
    const response = field(20);
    if (response.length > 0) {
      const who = { username: FAKE_USER, password: FAKE_PASSWORD, domain: "" };
      const owf = ntowfv2(who);
      const proof = hmacMd5(owf, new Uint8Array(8).fill(5), response.subarray(16));
      if (proof.some((byte, i) => byte !== response[i])) {
        return { status: 0xc000006d, body: ERROR_BODY, protect: "none" };
      }
      key = new Rc4(hmacMd5(owf, proof)).update(field(52));
    }
    const cipher = this.#options.cipher ?? (this.#dialect === 0x311 ? 2 : 1);
    const keys = sessionKeys(this.#dialect, key, this.#hash.value, cipher || undefined);
    this.#signer = await makeSigner(
      this.#dialect < 0x300 ? "HMAC-SHA256" : this.#dialect < 0x311 ? "AES-CMAC" : "AES-GMAC",
      keys.signing,
    );
    if (cipher !== 0 && this.#dialect >= 0x300) {
      this.#encryption = await Encryption.make(
        SESSION,
        cipher,
        keys.serverToClient!,
        keys.clientToServer!,
      );
    }
    return {
      body: setupBody(this.#options.sessionFlags ?? 0, serverToken(0, undefined, mic(key))),
    };
  }
}

/** The server's signature of the mechanism list. */
function mic(key: Uint8Array): Uint8Array {
  const checksum = hmacMd5(messageKey(key, "server", "signing"), new Uint8Array(4), MECHANISMS);
  return concat(
    Uint8Array.of(1, 0, 0, 0),
    new Rc4(messageKey(key, "server", "sealing")).update(checksum.slice(0, 8)),
    new Uint8Array(4),
  );
}
