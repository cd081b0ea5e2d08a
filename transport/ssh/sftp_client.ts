/**
 * The SSH File Transfer Protocol, version 3, as OpenSSH's server speaks it
 * (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL section 4 for the extensions).
 *
 * Requests are answered by id, so many are under way at once; that is what its speed depends on.
 *
 * @module
 */

import type { ByteChannel } from "../popen.ts";

// draft-ietf-secsh-filexfer-02 section 3.
const INIT = 1, VERSION = 2, OPEN = 3, CLOSE = 4, READ = 5, WRITE = 6, LSTAT = 7, FSTAT = 8;
const SETSTAT = 9, REMOVE = 13, REALPATH = 16, STAT = 17, RENAME = 18;
const STATUS = 101, HANDLE = 102, DATA = 103, NAME = 104, ATTRS = 105;
const EXTENDED = 200, EXTENDED_REPLY = 201;

/** Section 6.3: what a file is opened for. */
export const OPEN_READ = 1, OPEN_WRITE = 2, OPEN_CREATE = 8, OPEN_TRUNCATE = 16, OPEN_NEW = 32;

const OK = 0, EOF = 1, NO_SUCH_FILE = 2, PERMISSION_DENIED = 3, UNSUPPORTED = 8;
const NAMES = [
  "ok",
  "end of file",
  "no such file",
  "permission denied",
  "failure",
  "bad message",
  "no connection",
  "connection lost",
  "operation not supported",
];

/** A packet begins with its length. */
const HEAD = 4;
const MOST_PACKET = 1_048_576;
// What every server must take (section 3), and most what OpenSSH takes.
const LEAST_DATA = 32_768;
const MOST_DATA = 261_120;
// Memory that is used again: fresh pages for each block cost a quarter of the speed.
const BLOCK = 262_144;
const MOST_SPARE = 32;

/** A channel that may read without a copy. */
export interface LendingChannel extends ByteChannel {
  /**
   * Reads into memory that it takes away meanwhile: resolves to what was read, in the same memory by
   * a new name, or to `null` at the end. Counts as a read.
   */
  lend?(view: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null>;
}

/** What a server says of a file (section 5). */
export interface FileAttributes {
  readonly size: number | undefined;
  /** The type and permission bits of POSIX. */
  readonly mode: number | undefined;
}

/** An answer other than success. */
export class SftpError extends Error {
  override readonly name = "SftpError";
  /** The protocol's number (section 7). */
  readonly status: number;
  /** POSIX's name for it, where there is one. */
  readonly code: string | undefined;

  constructor(status: number, text: string) {
    super(text === "" ? NAMES[status] ?? `status ${status}` : text);
    this.status = status;
    this.code = status === NO_SUCH_FILE
      ? "ENOENT"
      : status === PERMISSION_DENIED
      ? "EACCES"
      : undefined;
  }
}

interface Answer {
  readonly type: number;
  readonly body: Uint8Array;
}

interface Pending {
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A conversation with an SFTP server. */
export class SftpClient {
  readonly #channel: LendingChannel;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #writing: Promise<void> = Promise.resolve();
  #broken: Error | undefined;
  #spare: ArrayBuffer[] = [];
  /** The next packet's length, and how much of it has come with the packet before. */
  readonly #head = new Uint8Array(HEAD);
  #ahead = 0;
  #extensions = new Map<string, string>();
  /** Bytes that one read or write may have. */
  maxRead = LEAST_DATA;
  maxWrite = LEAST_DATA;

  private constructor(channel: LendingChannel) {
    this.#channel = channel;
  }

  /** Exchanges versions, and asks for the server's limits. */
  static async open(channel: LendingChannel): Promise<SftpClient> {
    const client = new SftpClient(channel);
    await channel.write(new Uint8Array([0, 0, 0, 5, INIT, 0, 0, 0, 3]));
    const hello = await client.#packet();
    if (hello === null || hello.type !== VERSION) {
      throw new Error("The remote side does not speak SFTP.");
    }
    const fields = new Fields(hello.body);
    fields.uint32();
    while (!fields.done) client.#extensions.set(fields.text(), fields.text());
    client.#receive();
    if (client.#extensions.has("limits@openssh.com")) {
      // OpenSSH's PROTOCOL section 4.8: four 64-bit numbers, zero where there is no limit.
      const limits = new Fields(
        (await client.#request(EXTENDED, text("limits@openssh.com"), EXTENDED_REPLY)).body,
      );
      limits.uint64();
      client.maxRead = Math.min(limits.uint64() || MOST_DATA, MOST_DATA);
      client.maxWrite = Math.min(limits.uint64() || MOST_DATA, MOST_DATA);
    }
    return client;
  }

  /** Gives memory for a large block: for a write's packet. */
  block(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#spare.pop() ?? new ArrayBuffer(BLOCK));
  }

  /** Takes back the memory of a block, or of what a read gave. Nobody may look at it any more. */
  recycle(block: Uint8Array): void {
    const { buffer } = block;
    if (buffer.byteLength === BLOCK && this.#spare.length < MOST_SPARE) {
      this.#spare.push(buffer as ArrayBuffer);
    }
  }

  /** Why no request can be made any more, or `undefined`. */
  get broken(): Error | undefined {
    return this.#broken;
  }

  async #packet(): Promise<Answer | null> {
    const head = this.#head;
    const ahead = this.#ahead;
    this.#ahead = 0;
    if (ahead < HEAD && !await this.#fill(head.subarray(ahead), ahead === 0)) return null;
    const length = new DataView(head.buffer).getUint32(0);
    if (length < 1 || length > MOST_PACKET) {
      throw new Error(
        "The remote side does not speak SFTP: its login shell may print something of its own.",
      );
    }
    let body: Uint8Array;
    if (length > LEAST_DATA && length <= BLOCK - HEAD) body = await this.#block(length);
    else await this.#fill(body = new Uint8Array(length), false);
    return { type: body[0]!, body: body.subarray(1) };
  }

  /** A large packet's body; what the last read has of the next one's head is kept. */
  async #block(length: number): Promise<Uint8Array> {
    let block = this.block();
    let filled = 0;
    while (filled < length) {
      const view = block.subarray(filled, length + HEAD);
      let count: number | null;
      if (this.#channel.lend === undefined) {
        count = await this.#channel.read(view);
      } else {
        const lent = await this.#channel.lend(view);
        count = lent && lent.length;
        if (lent) block = new Uint8Array(lent.buffer);
      }
      if (count === null) throw new Error("The SFTP connection ended within a message.");
      filled += count;
    }
    this.#head.set(block.subarray(length, filled));
    this.#ahead = filled - length;
    return block.subarray(0, length);
  }

  async #fill(buffer: Uint8Array, mayEnd: boolean): Promise<boolean> {
    for (let filled = 0; filled < buffer.length;) {
      const count = await this.#channel.read(buffer.subarray(filled));
      if (count === null) {
        if (mayEnd && filled === 0) return false;
        throw new Error("The SFTP connection ended within a message.");
      }
      filled += count;
    }
    return true;
  }

  async #receive(): Promise<void> {
    let reason = new Error("The SFTP connection was closed by the other side.");
    try {
      while (true) {
        const answer = await this.#packet();
        if (answer === null) break;
        const id = new DataView(answer.body.buffer, answer.body.byteOffset).getUint32(0);
        const pending = this.#pending.get(id);
        this.#pending.delete(id);
        pending?.resolve({ type: answer.type, body: answer.body.subarray(4) });
      }
    } catch (error) {
      reason = error instanceof Error ? error : new Error(String(error));
    }
    this.#broken = reason;
    for (const pending of this.#pending.values()) pending.reject(reason);
    this.#pending.clear();
  }

  // Sends a whole packet, whose length and id are filled in here; resolves to the answer.
  #send(packet: Uint8Array): { sent: Promise<void>; answer: Promise<Answer> } {
    if (this.#broken) {
      const failed = Promise.reject(this.#broken);
      failed.catch(() => {});
      return { sent: failed, answer: failed };
    }
    const id = this.#nextId;
    this.#nextId = id === 0xffffffff ? 1 : id + 1;
    const view = new DataView(packet.buffer, packet.byteOffset);
    view.setUint32(0, packet.length - 4);
    view.setUint32(5, id);
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    const sent = this.#writing.then(() => this.#channel.write(packet));
    this.#writing = sent.catch((error) => {
      this.#pending.get(id)?.reject(error);
      this.#pending.delete(id);
    });
    // Both tell of the same failure; whoever awaits only one of them has heard.
    sent.catch(() => {});
    answer.catch(() => {});
    return { sent, answer };
  }

  async #request(type: number, fields: Uint8Array, expected: number): Promise<Answer> {
    const packet = new Uint8Array(9 + fields.length);
    packet[4] = type;
    packet.set(fields, 9);
    return check(await this.#send(packet).answer, expected);
  }

  /** Opens a file and gives its handle (section 6.3). */
  async openFile(path: string, flags: number, mode?: number): Promise<Uint8Array> {
    const attributes = mode === undefined ? uint32(0) : join(uint32(4), uint32(mode));
    const body = join(text(path), uint32(flags), attributes);
    return new Fields((await this.#request(OPEN, body, HANDLE)).body).bytes();
  }

  /** Closes a handle. */
  async closeFile(handle: Uint8Array): Promise<void> {
    await this.#request(CLOSE, string(handle), STATUS);
  }

  /** Reads up to `length` bytes; resolves to `null` at the end of the file. */
  async read(handle: Uint8Array, offset: number, length: number): Promise<Uint8Array | null> {
    const packet = new Uint8Array(9 + 4 + handle.length + 12);
    packet[4] = READ;
    putPlace(packet, handle, offset, length);
    const answer = await this.#send(packet).answer;
    if (answer.type === STATUS && new Fields(answer.body).uint32() === EOF) return null;
    return new Fields(check(answer, DATA).body).bytes();
  }

  /** How many bytes of a write's packet come before its data. */
  writeHead(handle: Uint8Array): number {
    return 9 + 4 + handle.length + 12;
  }

  /**
   * Writes the data that begins at {@linkcode writeHead} in `packet`, whose front is filled in
   * here. `sent` resolves when it was handed on, `done` when the server has it.
   */
  write(
    handle: Uint8Array,
    offset: number,
    packet: Uint8Array,
  ): { sent: Promise<void>; done: Promise<void> } {
    packet[4] = WRITE;
    putPlace(packet, handle, offset, packet.length - this.writeHead(handle));
    const { sent, answer } = this.#send(packet);
    const done = answer.then((given) => {
      check(given, STATUS);
    });
    done.catch(() => {});
    return { sent, done };
  }

  /** What the server says of a path, links followed. */
  async stat(path: string): Promise<FileAttributes> {
    return new Fields((await this.#request(STAT, text(path), ATTRS)).body).attributes();
  }

  /** What the server says of a path, links not followed. */
  async lstat(path: string): Promise<FileAttributes> {
    return new Fields((await this.#request(LSTAT, text(path), ATTRS)).body).attributes();
  }

  /** What the server says of an open file. */
  async fstat(handle: Uint8Array): Promise<FileAttributes> {
    return new Fields((await this.#request(FSTAT, string(handle), ATTRS)).body).attributes();
  }

  /** Sets the permission bits of a path. */
  async chmod(path: string, mode: number): Promise<void> {
    await this.#request(SETSTAT, join(text(path), uint32(4), uint32(mode)), STATUS);
  }

  /** Removes a file. */
  async remove(path: string): Promise<void> {
    await this.#request(REMOVE, text(path), STATUS);
  }

  /** Gives the absolute path, links resolved. */
  async realPath(path: string): Promise<string> {
    const fields = new Fields((await this.#request(REALPATH, text(path), NAME)).body);
    fields.uint32();
    return fields.text();
  }

  /** Renames a file in the place of another, in one step where the server can. */
  async rename(from: string, to: string): Promise<void> {
    const paths = join(text(from), text(to));
    if (this.#extensions.has("posix-rename@openssh.com")) {
      await this.#request(EXTENDED, join(text("posix-rename@openssh.com"), paths), STATUS);
      return;
    }
    try {
      await this.#request(RENAME, paths, STATUS);
    } catch (error) {
      if (!(error instanceof SftpError)) throw error;
      // Version 3 renames to no name that exists.
      await this.remove(to);
      await this.#request(RENAME, paths, STATUS);
    }
  }
}

function check(answer: Answer, expected: number): Answer {
  if (answer.type === STATUS) {
    const fields = new Fields(answer.body);
    const status = fields.uint32();
    if (status !== OK || expected !== STATUS) {
      throw new SftpError(status === OK ? UNSUPPORTED : status, fields.done ? "" : fields.text());
    }
  } else if (answer.type !== expected) {
    throw new Error(`The SFTP server gave an answer of type ${answer.type}.`);
  }
  return answer;
}

function putPlace(packet: Uint8Array, handle: Uint8Array, offset: number, length: number): void {
  const view = new DataView(packet.buffer, packet.byteOffset);
  view.setUint32(9, handle.length);
  packet.set(handle, 13);
  view.setBigUint64(13 + handle.length, BigInt(offset));
  view.setUint32(21 + handle.length, length);
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function string(bytes: Uint8Array): Uint8Array {
  return join(uint32(bytes.length), bytes);
}

function text(value: string): Uint8Array {
  return string(encoder.encode(value));
}

function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** Reads the fields of a message; a message that is too short is a `RangeError`. */
class Fields {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#offset >= this.#bytes.length;
  }

  uint32(): number {
    const value = this.#view.getUint32(this.#offset);
    this.#offset += 4;
    return value;
  }

  uint64(): number {
    const value = this.#view.getBigUint64(this.#offset);
    this.#offset += 8;
    return Number(value);
  }

  bytes(): Uint8Array {
    const length = this.uint32();
    if (this.#offset + length > this.#bytes.length) {
      throw new RangeError("An SFTP message is too short.");
    }
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  text(): string {
    return decoder.decode(this.bytes());
  }

  attributes(): FileAttributes {
    const flags = this.uint32();
    const size = flags & 1 ? this.uint64() : undefined;
    if (flags & 2) this.#offset += 8;
    const mode = flags & 4 ? this.uint32() : undefined;
    return { size, mode };
  }
}
