/**
 * Frames: how messages and bulk bytes share one stream of bytes.
 *
 * ```text
 * frame   = length acknowledged-or-channel text-length body     three 32-bit words, little-endian
 * message frame: text-length < 2^32 - 1; body = text attachments
 *                text is UTF-8 JSON, an array of messages; attachments are raw bytes that the messages
 *                refer to by offset; the second word counts the answers that the sender has processed
 * chunk frame:   text-length = 2^32 - 1; body = raw bytes of the channel in the second word
 *                (as a signed number: negative if the receiver opened it)
 * ```
 *
 * @module
 */

import { ProtocolError } from "./errors.ts";
import { SHORT_TEXT } from "./short_json.ts";

/** The length of a frame's head, in bytes. */
export const HEAD = 12;
const CHUNK = 0xffff_ffff;

/**
 * How many bytes a chunk frame carries: with its head it fills a pipe exactly, once or several times, which is half as
 * fast again as a frame that is a little longer. Small calls go between two of them.
 */
export const CHUNK_BYTES = (64 << 10) - HEAD;
/** The same where the link is fast. */
export const LARGE_CHUNK_BYTES = (256 << 10) - HEAD;

/** What a reader hands its frames to. */
export interface FrameSink {
  /** A message frame. `attachments` is only valid during the call. */
  messages(text: string, attachments: Uint8Array, acknowledged: number): void;
  /** A message frame whose text a {@linkcode ParseShort} has read. */
  parsed?(messages: unknown, size: number, attachments: Uint8Array, acknowledged: number): void;
  /** Some bytes of a channel, valid only during the call. */
  chunk(channel: number, bytes: Uint8Array): void;
}

/** Reads a short text where it lies; `undefined` where that is for `JSON.parse`. */
export type ParseShort = (bytes: Uint8Array, from: number, to: number) => unknown;

/** Cuts a stream of bytes into frames. It copies only frames that arrive in pieces. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #limit: number;
  readonly #parseShort: ParseShort | undefined;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #head = new Uint8Array(HEAD);
  /** How much of `#head` is filled; `HEAD` while a body is awaited. */
  #headFilled = 0;
  #bodyLength = 0;
  #word = 0;
  #textLength = 0;
  #body: Uint8Array | undefined;
  #bodyFilled = 0;

  /** Reads frames of at most `limit` bytes and hands them to `sink`, the text of them if `parseShort` does not read it. */
  constructor(sink: FrameSink, limit: number, parseShort?: ParseShort) {
    this.#sink = sink;
    this.#limit = limit;
    this.#parseShort = parseShort;
  }

  /** Is the reader between two frames? */
  get atBoundary(): boolean {
    return this.#headFilled === 0;
  }

  /** Takes the first `end` bytes of a chunk, as they come. */
  push(chunk: Uint8Array, end: number = chunk.length): void {
    let at = 0;
    while (at < end) {
      if (this.#headFilled < HEAD) {
        if (this.#headFilled === 0 && end - at >= HEAD) {
          this.#readHead(chunk, at);
          at += HEAD;
        } else {
          const part = chunk.subarray(at, Math.min(end, at + HEAD - this.#headFilled));
          this.#head.set(part, this.#headFilled);
          this.#headFilled += part.length;
          at += part.length;
          if (this.#headFilled < HEAD) return;
          this.#readHead(this.#head, 0);
        }
        this.#headFilled = HEAD;
        this.#bodyFilled = 0;
        if (this.#bodyLength === 0) this.#finish(chunk, at);
        continue;
      }
      const start = at;
      at = Math.min(end, at + this.#bodyLength - this.#bodyFilled);
      if (this.#textLength === CHUNK) {
        this.#bodyFilled += at - start;
        if (this.#bodyFilled === this.#bodyLength) this.#headFilled = 0;
        this.#sink.chunk(this.#word | 0, chunk.subarray(start, at));
      } else if (at - start === this.#bodyLength) {
        this.#finish(chunk, start);
      } else {
        const part = chunk.subarray(start, at);
        // Grown as bytes arrive: a length that is only claimed reserves nothing.
        this.#body = grow(this.#body, this.#bodyFilled, part.length, this.#bodyLength);
        this.#body.set(part, this.#bodyFilled);
        this.#bodyFilled += part.length;
        if (this.#bodyFilled === this.#bodyLength) {
          const body = this.#body;
          this.#body = undefined;
          this.#finish(body, 0);
        }
      }
    }
  }

  #readHead(bytes: Uint8Array, at: number): void {
    this.#bodyLength = word(bytes, at);
    this.#word = word(bytes, at + 4);
    this.#textLength = word(bytes, at + 8);
    if (this.#bodyLength > this.#limit) {
      throw new ProtocolError(
        `The peer sent a frame of ${this.#bodyLength} bytes; limits.frameBytes is ${this.#limit}`,
      );
    }
    if (this.#textLength !== CHUNK && this.#textLength > this.#bodyLength) {
      throw new ProtocolError("The peer sent a frame whose text is longer than the frame");
    }
  }

  /** The frame's body is there, in these bytes. */
  #finish(bytes: Uint8Array, at: number): void {
    this.#headFilled = 0;
    if (this.#textLength === CHUNK) return;
    const textEnd = at + this.#textLength;
    const attachments = this.#bodyLength > this.#textLength
      ? bytes.subarray(textEnd, at + this.#bodyLength)
      : EMPTY;
    const messages = this.#parseShort?.(bytes, at, textEnd);
    if (messages !== undefined) {
      this.#sink.parsed!(messages, this.#textLength, attachments, this.#word);
    } else {
      this.#sink.messages(this.#decode(bytes, at, textEnd), attachments, this.#word);
    }
  }

  #decode(bytes: Uint8Array, at: number, end: number): string {
    if (end - at <= SHORT_TEXT) {
      // A decoder costs more to call than such a text is worth.
      const text = ascii(bytes, at, end);
      if (text !== undefined) return text;
    }
    try {
      return this.#decoder.decode(bytes.subarray(at, end));
    } catch (cause) {
      throw new ProtocolError("The peer sent a frame that is not UTF-8", { cause });
    }
  }
}

/** A message whose text is made only when its frame is. */
export interface LateMessage {
  /** Its JSON text. */
  text(): string;
  /** Writes that, if it is ASCII, and says where it ends; or else 0, as if it had not been called. */
  write(to: Uint8Array, at: number): number;
}

/** How much a frame that is being made has already. */
export interface AttachedMark {
  readonly messages: number;
  readonly attached: number;
  readonly bytes: number;
}

/** A frame is full when its text has grown to about this many characters. */
export const FRAME_TEXT = 64 << 10;

/**
 * Collects messages and attachments, and makes frames of them: as many as the text needs, but one where there are
 * attachments, which are found by their offset.
 */
export class FrameWriter {
  readonly #encoder = new TextEncoder();
  /** Grows with what is sent: an idle connection costs next to nothing. */
  #scratch = new Uint8Array(2 << 10);
  #messages: (string | LateMessage)[] = [];
  /** How many of them are in frames that were taken. */
  #taken = 0;
  #attached: Uint8Array[] = [];
  #attachedBytes = 0;
  #size = 0;

  /** How many messages the last frame had. */
  lastCount = 0;

  /** Is there nothing to send? */
  get empty(): boolean {
    return this.#messages.length === 0;
  }

  /** Does anything that waits have attachments? */
  get attaches(): boolean {
    return this.#attached.length > 0;
  }

  /** About how many bytes wait. */
  get size(): number {
    return this.#size + this.#attachedBytes;
  }

  /** Adds a message of about `size` characters, as JSON text. */
  add(message: string | LateMessage, size: number): void {
    this.#messages.push(message);
    this.#size += size;
  }

  /** Adds bytes, which are copied now, and gives their offset among the frame's attachments. */
  attach(bytes: Uint8Array): number {
    const offset = this.#attachedBytes;
    this.#attached.push(bytes.slice());
    this.#attachedBytes += bytes.length;
    return offset;
  }

  /** How much there is now, for {@linkcode FrameWriter.detach}. */
  mark(): AttachedMark {
    return {
      messages: this.#messages.length,
      attached: this.#attached.length,
      bytes: this.#attachedBytes,
    };
  }

  /** Takes back what was attached since; not if a message was added, which may need it. */
  detach(mark: AttachedMark): void {
    if (this.#messages.length !== mark.messages) return;
    this.#attached.length = mark.attached;
    this.#attachedBytes = mark.bytes;
  }

  /**
   * The next frame of what was added. Its bytes are valid until the next call without `own`, which asks for bytes of
   * their own.
   */
  take(acknowledged: number, own = false): Uint8Array {
    const scratch = this.#scratch;
    try {
      return this.#make(acknowledged, own);
    } finally {
      if (own) this.#scratch = scratch;
    }
  }

  #make(acknowledged: number, own: boolean): Uint8Array {
    const messages = this.#messages;
    if (messages.length === 1 && this.size <= SHORT_TEXT && this.#attached.length === 0) {
      const frame = this.#makeShort(messages[0]!, acknowledged, own);
      if (frame) return frame;
    }
    const most = this.#attached.length > 0 ? Infinity : FRAME_TEXT;
    let text = "";
    let next = this.#taken;
    for (; next < messages.length && text.length < most; next++) {
      const message = messages[next]!;
      const json = typeof message === "string" ? message : message.text();
      text += text === "" ? "[" + json : "," + json;
    }
    if (text !== "") text += "]";
    this.#reserve(HEAD + text.length + this.#attachedBytes, own);
    const written = this.#write(text);
    let at = HEAD + written;
    for (const bytes of this.#attached) {
      this.#scratch.set(bytes, at);
      at += bytes.length;
    }
    writeHead(this.#scratch, 0, at - HEAD, acknowledged, written);
    const frame = this.#scratch.subarray(0, at);
    this.lastCount = next - this.#taken;
    if (next === messages.length) {
      if (next > 0) this.#messages = [];
      this.#taken = 0;
      this.#size = 0;
    } else {
      this.#taken = next;
      this.#size -= text.length;
    }
    if (this.#attached.length > 0) this.#attached = [];
    this.#attachedBytes = 0;
    return frame;
  }

  /** One short message, as most calls and answers are: to join strings first would cost more than the frame. */
  #makeShort(
    message: string | LateMessage,
    acknowledged: number,
    own: boolean,
  ): Uint8Array | undefined {
    this.#reserve(HEAD + SHORT_TEXT + 2, own);
    const scratch = this.#scratch;
    const end = typeof message === "string"
      ? writeAscii(message, scratch, HEAD + 1)
      : message.write(scratch, HEAD + 1);
    if (end === 0) return undefined;
    scratch[HEAD] = 0x5b;
    scratch[end] = 0x5d;
    const length = end + 1 - HEAD;
    writeHead(scratch, 0, length, acknowledged, length);
    this.#messages = [];
    this.#size = 0;
    this.lastCount = 1;
    return scratch.subarray(0, end + 1);
  }

  #write(text: string): number {
    if (text.length <= SHORT_TEXT && writeAscii(text, this.#scratch, HEAD) > 0) return text.length;
    const { read, written } = this.#encoder.encodeInto(text, this.#scratch.subarray(HEAD));
    if (read === text.length && HEAD + written + this.#attachedBytes <= this.#scratch.length) {
      return written;
    }
    this.#reserve(HEAD + 3 * text.length + this.#attachedBytes, false);
    return this.#encoder.encodeInto(text, this.#scratch.subarray(HEAD)).written;
  }

  #reserve(bytes: number, own: boolean): void {
    if (own) {
      this.#scratch = new Uint8Array(bytes);
      return;
    }
    if (this.#scratch.length >= bytes) return;
    this.#scratch = new Uint8Array(Math.max(bytes, Math.min(2 * this.#scratch.length, 64 << 10)));
  }
}

/** Writes the head of a chunk frame that carries `length` bytes. */
export function writeChunkHead(frame: Uint8Array, channel: number, length: number): void {
  writeHead(frame, 0, length, channel, CHUNK);
}

const EMPTY = new Uint8Array(0);

/** The text of bytes if they are ASCII; eight at a time, which engines like best. */
function ascii(b: Uint8Array, at: number, end: number): string | undefined {
  let text = "";
  let i = at;
  let high = 0;
  for (; i + 8 <= end; i += 8) {
    const c0 = b[i]!, c1 = b[i + 1]!, c2 = b[i + 2]!, c3 = b[i + 3]!;
    const c4 = b[i + 4]!, c5 = b[i + 5]!, c6 = b[i + 6]!, c7 = b[i + 7]!;
    high |= c0 | c1 | c2 | c3 | c4 | c5 | c6 | c7;
    text += String.fromCharCode(c0, c1, c2, c3, c4, c5, c6, c7);
  }
  for (; i < end; i++) {
    high |= b[i]!;
    text += String.fromCharCode(b[i]!);
  }
  return high < 0x80 ? text : undefined;
}

/** Writes a text if it is ASCII, and says where it ends; or else 0. */
export function writeAscii(text: string, to: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return 0;
    to[at + i] = code;
  }
  return at + text.length;
}

/** Writes a whole number that is not negative, and says where it ends. */
export function writeNumber(number: number, to: Uint8Array, at: number): number {
  let end = at + 1;
  for (let rest = number; rest >= 10; rest = Math.floor(rest / 10)) end++;
  for (let place = end, rest = number; place > at; rest = Math.floor(rest / 10)) {
    to[--place] = 0x30 + rest % 10;
  }
  return end;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0;
}

function writeHead(bytes: Uint8Array, at: number, length: number, second: number, third: number) {
  writeWord(bytes, at, length);
  writeWord(bytes, at + 4, second);
  writeWord(bytes, at + 8, third);
}

function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word;
  bytes[at + 1] = word >> 8;
  bytes[at + 2] = word >> 16;
  bytes[at + 3] = word >> 24;
}

function grow(buffer: Uint8Array | undefined, used: number, more: number, whole: number) {
  if (buffer && buffer.length >= used + more) return buffer;
  const size = Math.min(whole, Math.max(used + more, 2 * used, 4096));
  const grown = new Uint8Array(size);
  if (buffer) grown.set(buffer.subarray(0, used));
  return grown;
}
