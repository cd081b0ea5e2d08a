/**
 * A peer that speaks raw frames to a real session: it may say whatever it likes.
 *
 * @module
 */

import { closed } from "../../protocol/trust.ts";
import { FrameReader, HEAD } from "../../protocol/frame.ts";
import type { Message } from "../../protocol/messages.ts";
import { makeStub } from "../../protocol/proxy.ts";
import { Session, type SessionOptions } from "../../protocol/session.ts";
import { turn } from "./pair.ts";

const encoder = new TextEncoder();

/** A frame with any text, and any head. */
export function frame(
  text: string | Uint8Array,
  { attachments = new Uint8Array(0), acknowledged = 0, length, textLength }: {
    attachments?: Uint8Array;
    acknowledged?: number;
    length?: number;
    textLength?: number;
  } = {},
): Uint8Array {
  const body = typeof text === "string" ? encoder.encode(text) : text;
  const bytes = new Uint8Array(HEAD + body.length + attachments.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length ?? body.length + attachments.length, true);
  view.setUint32(4, acknowledged, true);
  view.setUint32(8, textLength ?? body.length, true);
  bytes.set(body, HEAD);
  bytes.set(attachments, HEAD + body.length);
  return bytes;
}

/** A chunk frame. */
export function chunk(channel: number, bytes: Uint8Array): Uint8Array {
  const made = frame(bytes, { acknowledged: channel, textLength: 0xffff_ffff });
  return made;
}

/** A real client session, and the hand at the other end of its link. */
export class RawPeer {
  readonly session: Session;
  /** What the session sent. */
  // deno-lint-ignore no-explicit-any
  readonly received: any[] = [];
  readonly #reader: FrameReader;
  #acknowledge = 0;

  /** A session that trusts nobody, and this at its other end. */
  constructor(options: Partial<SessionOptions> = {}) {
    this.#reader = new FrameReader({
      messages: (text) => {
        if (text) this.received.push(...JSON.parse(text));
      },
      chunk: () => {},
    }, 1 << 30);
    this.session = new Session({
      access: closed,
      send: (bytes) => this.#reader.push(bytes.slice()),
      ...options,
    });
  }

  /** What a user of the session would start from. */
  // deno-lint-ignore no-explicit-any
  get root(): any {
    return makeStub(this.session.caller, null);
  }

  /** Says some messages in one frame. */
  say(...messages: unknown[]): void {
    this.raw(frame(JSON.stringify(messages), { acknowledged: this.#acknowledge }));
  }

  /** Says anything. */
  raw(bytes: Uint8Array): void {
    this.session.receive(bytes);
  }

  /** From the next frame on, so many answers are acknowledged. */
  acknowledge(count: number): void {
    this.#acknowledge = count;
  }

  /** The messages of some kinds that came, after the session has had its turns. */
  async heard(...ops: number[]): Promise<(Message & unknown[])[]> {
    for (let i = 0; i < 5; i++) await turn();
    return this.received.filter((message) => ops.includes(message[0]));
  }

  /** Passes `value` to this peer as the argument of a call; gives what stands for it on the wire. */
  async pass(value: unknown): Promise<unknown> {
    const before = this.received.length;
    const promise = this.root.take(value).then(() => {}, () => {});
    void promise;
    for (let i = 0; i < 5; i++) await turn();
    const call = this.received.slice(before).find((message) => message[0] === 2);
    return call[5][1];
  }
}
