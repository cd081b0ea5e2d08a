/**
 * Messages over a TCP stream (MS-SMB2 2.1, "direct TCP"): a zero byte and a length of 24 bits in
 * front of each.
 *
 * @module
 */

import { MalformedError } from "./cursor.ts";
import { FRAME_HEAD } from "./messages.ts";

/** The part of a `Deno.Conn` that is used. */
export interface ByteConn {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** How much is read at once: a little more than the largest message a Samba pipe sends. */
const STAGE = 96 * 1024;

/** Cuts a byte stream into messages. */
export class Frames {
  readonly #conn: ByteConn;
  readonly #stage = new Uint8Array(STAGE);
  #from = 0;
  #to = 0;

  /** Takes `conn`, which {@linkcode Frames.close} closes. */
  constructor(conn: ByteConn) {
    this.#conn = conn;
  }

  /**
   * The next message, in a buffer of its own; `null` at the end between two messages. One that is
   * larger than `most` bytes is an error, before room is made for it.
   */
  async read(most: () => number): Promise<Uint8Array<ArrayBuffer> | null> {
    while (this.#to - this.#from < FRAME_HEAD) {
      if (!await this.#fill()) {
        if (this.#to === this.#from) return null;
        throw new MalformedError("The server closed the connection inside a message");
      }
    }
    const stage = this.#stage;
    const at = this.#from;
    if (stage[at] !== 0) {
      throw new MalformedError("What answers is not an SMB server: its messages have no length");
    }
    const size = (stage[at + 1]! << 16) | (stage[at + 2]! << 8) | stage[at + 3]!;
    if (size > most()) {
      throw new MalformedError(`A message of ${size} bytes is larger than ${most()} bytes`);
    }
    const message = new Uint8Array(size);
    const staged = Math.min(size, this.#to - at - FRAME_HEAD);
    message.set(stage.subarray(at + FRAME_HEAD, at + FRAME_HEAD + staged));
    this.#from = at + FRAME_HEAD + staged;
    for (let have = staged; have < size;) {
      const n = await this.#conn.read(message.subarray(have));
      if (n === null) {
        throw new MalformedError("The server closed the connection inside a message");
      }
      have += n;
    }
    return message;
  }

  async #fill(): Promise<boolean> {
    if (this.#from === this.#to) {
      this.#from = this.#to = 0;
    } else if (this.#to > STAGE - FRAME_HEAD) {
      this.#stage.copyWithin(0, this.#from, this.#to);
      this.#to -= this.#from;
      this.#from = 0;
    }
    const n = await this.#conn.read(this.#stage.subarray(this.#to));
    if (n === null) return false;
    this.#to += n;
    return true;
  }

  /** Writes a frame, after filling in its length. */
  async write(frame: Uint8Array): Promise<void> {
    const size = frame.length - FRAME_HEAD;
    frame[0] = 0;
    frame[1] = size >>> 16;
    frame[2] = (size >>> 8) & 255;
    frame[3] = size & 255;
    for (let at = 0; at < frame.length;) at += await this.#conn.write(frame.subarray(at));
  }

  /** Closes the connection. */
  close(): void {
    this.#conn.close();
  }
}
