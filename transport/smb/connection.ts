/**
 * Many requests over one connection (MS-SMB2 3.2.4.1 and 3.2.5.1): message ids, credits, signatures
 * and encryption, interim responses, cancelling, and keeping the connection alive.
 *
 * Whatever the server sends that nobody asked for, that does not carry the signature it should, or
 * that comes twice ends the connection: each request then fails with the reason.
 *
 * @module
 */

import { MalformedError } from "./cursor.ts";
import type { Encryption } from "./encryption.ts";
import type { Frames } from "./framing.ts";
import {
  COMMAND,
  type Command,
  commandName,
  emptyRequest,
  FLAG,
  FRAME_HEAD,
  type Header,
  readHeader,
  writeHeader,
} from "./messages.ts";
import { STATUS, statusName } from "./ntstatus.ts";
import type { Signer } from "./signing.ts";

/** How many credits the client would like to have. */
const CREDIT_TARGET = 256;
/** More credits than this cannot be of use (MS-SMB2 gives them 16 bits). */
const CREDIT_LIMIT = 0xffff;
/** What one credit pays for (MS-SMB2 3.1.5.2). */
export const CREDIT_BYTES = 0x10000;
/** The largest message before the negotiation has fixed another limit. */
const FIRST_LIMIT = 0x11000;

/** The server's answer to a request. */
export interface Response {
  readonly status: number;
  readonly header: Header;
  /** The whole message. */
  readonly message: Uint8Array<ArrayBuffer>;
}

/** A request under way. */
export interface Call {
  readonly response: Promise<Response>;
  /** Asks the server to give the request up (MS-SMB2 2.2.30); it still answers it. */
  cancel(): void;
}

/** How messages of the session are protected. */
export interface Protection {
  readonly sessionId: bigint;
  /** Absent for guests and anonymous users, who have no key. */
  readonly signer?: Signer;
  readonly encryption?: Encryption;
}

interface Pending {
  readonly command: Command;
  readonly treeId: number;
  readonly sessionId: bigint;
  readonly protection: Protection | undefined;
  readonly resolve: (response: Response) => void;
  readonly reject: (reason: Error) => void;
  messageId: number;
  asyncId: bigint | undefined;
}

interface Waiter {
  readonly charge: number;
  readonly send: () => void;
}

/** Multiplexes requests. */
export class Connection {
  /** Resolves with the reason when the connection is no more; `null` when this side ended it. */
  readonly closed: Promise<Error | null>;
  /** What follows is protected like this. */
  protection: Protection | undefined;
  /** The largest message that the server may send, in bytes. */
  messageLimit = FIRST_LIMIT;
  /** The session and the tree that requests are made in. */
  sessionId = 0n;
  treeId = 0;
  /** Do requests say how many credits they cost (MS-SMB2 3.2.4.1.5)? */
  multiCredit = false;

  readonly #frames: Frames;
  readonly #pending = new Map<number, Pending>();
  readonly #waiters: Waiter[] = [];
  readonly #outgoing: [Uint8Array<ArrayBuffer>, Protection | undefined][] = [];
  readonly #resolveClosed: (reason: Error | null) => void;
  #sending = false;
  #credits = 1;
  #nextMessageId = 0;
  #failure: Error | undefined;
  #heard = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #unref = false;

  /** Reads from `frames` until its end. */
  constructor(frames: Frames) {
    this.#frames = frames;
    const closed = Promise.withResolvers<Error | null>();
    this.closed = closed.promise;
    this.#resolveClosed = closed.resolve;
    void this.#receive();
  }

  /** How many payload bytes, up to `most`, the credits at hand pay for; at least one credit's. */
  affordable(most: number): number {
    return Math.min(most, Math.max(1, this.#credits - 2) * CREDIT_BYTES);
  }

  /**
   * Sends a request made by a function of `messages.ts`; `payload` is the larger of what it sends
   * and what it may bring, in bytes. The bytes are on their way, or wait for credits in the order
   * of the calls, when this returns.
   */
  request(command: Command, frame: Uint8Array<ArrayBuffer>, payload = 0): Call {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const charge = Math.max(1, Math.ceil(payload / CREDIT_BYTES));
    const pending: Pending = {
      command,
      treeId: this.treeId,
      sessionId: this.sessionId,
      protection: this.protection,
      resolve,
      reject,
      messageId: -1,
      asyncId: undefined,
    };
    const send = () => {
      this.#credits -= charge;
      pending.messageId = this.#nextMessageId;
      this.#nextMessageId += charge;
      writeHeader(frame, command, {
        creditCharge: this.multiCredit ? charge : 0,
        creditRequest: Math.max(charge, CREDIT_TARGET - this.#credits),
        messageId: pending.messageId,
        treeId: pending.treeId,
        sessionId: pending.sessionId,
      });
      this.#pending.set(pending.messageId, pending);
      this.#send(frame, pending.protection);
    };
    if (this.#failure !== undefined) {
      reject(this.#failure);
    } else if (this.#waiters.length === 0 && this.#credits >= charge) {
      send();
    } else {
      this.#waiters.push({ charge, send });
      this.#checkCredits();
      // The caller sees the failure through `promise` when the check has ended the connection.
      if (this.#failure !== undefined) reject(this.#failure);
    }
    return { response: promise, cancel: () => this.#cancel(pending) };
  }

  /** Sends an ECHO whenever nothing was heard for `interval` ms, and gives up after another. */
  keepAlive(interval: number): void {
    if (interval <= 0 || this.#failure !== undefined) return;
    let asked = false;
    let seen = this.#heard;
    this.#timer = setInterval(() => {
      if (this.#heard !== seen) {
        asked = false;
      } else if (asked) {
        this.fail(new Error(`The server has been silent for ${2 * interval} ms, also to an echo`));
        return;
      } else {
        asked = true;
        this.request(COMMAND.echo, emptyRequest()).response.catch(() => {
          // The connection's end is what its users see.
        });
      }
      seen = this.#heard;
    }, interval);
    if (this.#unref) Deno.unrefTimer(this.#timer);
  }

  /** Lets the program exit although the keep-alive timer runs; `false` takes it back. */
  unref(on: boolean): void {
    this.#unref = on;
    if (this.#timer === undefined) return;
    if (on) Deno.unrefTimer(this.#timer);
    else Deno.refTimer(this.#timer);
  }

  /** Ends the connection at once; what is under way fails with `reason`. */
  fail(reason: Error): void {
    this.#end(reason, reason);
  }

  /** Ends the connection at once and on purpose. */
  close(): void {
    this.#end(null, new Error("The connection was closed"));
  }

  #end(closed: Error | null, reason: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = reason;
    clearInterval(this.#timer);
    this.#frames.close();
    this.#waiters.length = 0;
    this.#outgoing.length = 0;
    for (const pending of this.#pending.values()) pending.reject(reason);
    this.#pending.clear();
    this.#resolveClosed(closed);
  }

  #cancel(pending: Pending): void {
    if (!this.#pending.has(pending.messageId)) return;
    const frame = emptyRequest();
    const { asyncId, messageId, treeId, sessionId } = pending;
    writeHeader(frame, COMMAND.cancel, {
      creditCharge: 0,
      creditRequest: 0,
      messageId,
      treeId,
      sessionId,
      asyncId,
    });
    this.#send(frame, pending.protection);
  }

  #send(frame: Uint8Array<ArrayBuffer>, protection: Protection | undefined): void {
    this.#outgoing.push([frame, protection]);
    if (!this.#sending) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#sending = true;
    try {
      for (let item = this.#outgoing.shift(); item; item = this.#outgoing.shift()) {
        let [frame] = item;
        const protection = item[1];
        if (protection?.encryption !== undefined) {
          const sealed = protection.encryption.seal(frame);
          frame = sealed instanceof Promise ? await sealed : sealed;
        } else if (protection?.signer !== undefined) {
          const signed = protection.signer.sign(frame.subarray(FRAME_HEAD));
          if (signed !== undefined) await signed;
        }
        if (this.#failure !== undefined) return;
        await this.#frames.write(frame);
      }
    } catch (error) {
      this.fail(lost(error));
    } finally {
      this.#sending = false;
    }
  }

  async #receive(): Promise<void> {
    try {
      for (;;) {
        const bytes = await this.#frames.read(() => this.messageLimit);
        if (this.#failure !== undefined) return;
        if (bytes === null) throw new Error("The server closed the connection");
        this.#heard++;
        const handled = this.#open(bytes);
        if (handled !== undefined) await handled;
        this.#checkCredits();
      }
    } catch (error) {
      this.fail(error instanceof MalformedError ? error : lost(error));
    }
  }

  /** Decrypts, checks and delivers one message; a promise only where that takes another thread. */
  #open(bytes: Uint8Array<ArrayBuffer>): void | Promise<void> {
    const protocol = bytes.length >= 4 && bytes[1] === 0x53 && bytes[2] === 0x4d &&
        bytes[3] === 0x42
      ? bytes[0]
      : undefined;
    if (protocol === 0xfe) return this.#check(bytes, false);
    if (protocol === 0xfd) {
      const encryption = this.protection?.encryption;
      if (encryption === undefined) {
        throw new MalformedError("The server sent an encrypted message, and there is no key");
      }
      const opened = encryption.open(bytes);
      if (opened instanceof Promise) return opened.then((message) => this.#check(message, true));
      return this.#check(opened, true);
    }
    if (protocol === 0xff) {
      throw new MalformedError("The server answers in SMB 1, which is not safe and not spoken");
    }
    throw new MalformedError(
      protocol === 0xfc
        ? "The server sent a compressed message, which was not agreed on"
        : "What answers is not an SMB server",
    );
  }

  #check(message: Uint8Array<ArrayBuffer>, encrypted: boolean): void | Promise<void> {
    const header = readHeader(message);
    const what = `A response to ${commandName(header.command)} (${statusName(header.status)})`;
    if ((header.flags & FLAG.response) === 0 || header.nextCommand !== 0) {
      throw new MalformedError(`${what} is compounded, or is not a response`);
    }
    const pending = this.#pending.get(header.messageId);
    if (pending === undefined || pending.command !== header.command) {
      throw new MalformedError(`${what} answers no request: unsolicited, or sent twice`);
    }
    if (pending.sessionId !== 0n && header.sessionId !== pending.sessionId) {
      throw new MalformedError(`${what} is of another session`);
    }
    const async = (header.flags & FLAG.async) !== 0;
    const interim = async && header.status === STATUS.PENDING;
    const { protection } = pending;
    if (protection?.encryption !== undefined && !encrypted) {
      throw new MalformedError(`${what} is not encrypted`);
    }
    if (encrypted || protection?.signer === undefined) {
      return this.#deliver(pending, header, message, interim);
    }
    // An interim response may go without a signature (MS-SMB2 3.2.5.1.3): it carries nothing.
    if ((header.flags & FLAG.signed) === 0) {
      if (interim) return this.#deliver(pending, header, message, interim);
      throw new MalformedError(`${what} is not signed`);
    }
    const right = protection.signer.verify(message);
    const go = (right: boolean) => {
      if (!right) throw new MalformedError(`${what} has a wrong signature`);
      this.#deliver(pending, header, message, interim);
    };
    return right instanceof Promise ? right.then(go) : go(right);
  }

  #deliver(
    pending: Pending,
    header: Header,
    message: Uint8Array<ArrayBuffer>,
    interim: boolean,
  ): void {
    const async = (header.flags & FLAG.async) !== 0;
    if (interim) {
      if (pending.asyncId !== undefined && pending.asyncId !== header.asyncId) {
        throw new MalformedError("An interim response changes the id of its request");
      }
      pending.asyncId = header.asyncId;
      this.#grant(header.credits);
      return;
    }
    if (async && header.asyncId !== pending.asyncId) {
      throw new MalformedError("A response to a request that was never put off");
    }
    const own = pending.command === COMMAND.treeConnect || pending.command === COMMAND.sessionSetup;
    if (!async && !own && header.treeId !== pending.treeId) {
      throw new MalformedError("A response is of another tree");
    }
    this.#pending.delete(pending.messageId);
    this.#grant(header.credits);
    pending.resolve({ status: header.status, header, message });
  }

  #grant(credits: number): void {
    this.#credits = Math.min(this.#credits + credits, CREDIT_LIMIT);
    for (let next = this.#waiters[0]; next !== undefined; next = this.#waiters[0]) {
      if (next.charge > this.#credits) return;
      this.#waiters.shift();
      next.send();
    }
  }

  /** A request that waits for credits while nothing can bring any would wait for ever. */
  #checkCredits(): void {
    if (this.#waiters.length === 0) return;
    for (const pending of this.#pending.values()) {
      if (pending.asyncId === undefined) return;
    }
    this.fail(new MalformedError("The server grants no credits, so that nothing can be sent"));
  }
}

function lost(cause: unknown): Error {
  if (cause instanceof Error && cause.message === "The server closed the connection") return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  return new Error(`The connection to the server broke: ${text}`, { cause });
}
