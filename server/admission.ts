/**
 * Who is let in: how many at once, how long they may take to say who they are, and what becomes of those who guess.
 *
 * @module
 */

import type { SocketChannel } from "../transport/daemon/channel.ts";
import {
  admit,
  HandshakeError,
  type Refusal,
  type TokenKey,
} from "../transport/daemon/handshake.ts";
import type { Log } from "./log.ts";

/** A connection that has come in, and nothing is known of yet. */
export interface Arrival {
  /** Its bytes. */
  readonly channel: SocketChannel;
  /** Where it comes from, for the log: `"192.0.2.1:40000"`, `"unix"`. */
  readonly peer: string;
  /** The host that it comes from: guesses are counted by it. */
  readonly host: string;
  /** The address that it has reached, if a client may insist on it; else empty. */
  readonly place: string;
}

/** The rules. */
export interface AdmissionOptions {
  key: TokenKey | undefined;
  handshakeTimeout: number;
  refusal: () => Refusal | undefined;
  /** Keeps a place for somebody who is almost in, or gives it back. */
  reserve: (places: 1 | -1) => void;
  log: Log;
}

/** So many may be at the door at once; beyond that, those who have waited longest are sent away. */
const AT_THE_DOOR = 2000;
/** A wrong token is answered after so many ms; twice as many the next time, up to the most. */
const FIRST_DELAY = 200;
const MOST_DELAY = 5000;
/** How long a host's guesses are remembered, in ms, and of how many hosts. */
const MEMORY = 10 * 60_000;
const HOSTS = 4096;
/** How long somebody who is sent away may take to read why, in ms. */
const LINGER = 1000;

interface Guesses {
  count: number;
  last: number;
}

/** The door of a server. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #waiting = new Map<SocketChannel, (why: Error) => void>();
  readonly #guesses = new Map<string, Guesses>();
  readonly #delays = new Set<() => void>();
  readonly #leaving = new Set<SocketChannel>();
  #failed = 0;

  /** Opens it. */
  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** How many are at the door. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** How many have failed to prove that they know the token. */
  get failed(): number {
    return this.#failed;
  }

  /**
   * Lets one in, or not. Resolves to whether it is in, and a place is kept for it; if it is not, it was told why, logged and closed. Never takes
   * longer than the handshake's time.
   */
  async receive(arrival: Arrival): Promise<boolean> {
    const { channel, peer } = arrival;
    const { handshakeTimeout, log } = this.#options;
    if (this.#waiting.size >= AT_THE_DOOR) {
      const [oldest] = this.#waiting.values();
      oldest!(new Error("too many clients are coming in at once"));
    }
    const away = Promise.withResolvers<never>();
    this.#waiting.set(channel, away.reject);
    const timer = setTimeout(
      () => away.reject(new Error(`the handshake was not complete after ${handshakeTimeout} ms`)),
      handshakeTimeout,
    );
    let entering: Promise<boolean> | undefined;
    let reserved = false;
    const takePlace = (): Refusal | undefined => {
      const reason = this.#options.refusal();
      if (reason) return reason;
      reserved = true;
      this.#options.reserve(1);
      return undefined;
    };
    try {
      entering = this.#enter(arrival, takePlace);
      return await Promise.race([entering, away.promise]);
    } catch (error) {
      if (reserved) this.#options.reserve(-1);
      entering?.catch(() => {});
      log({ event: "refused", peer, reason: reasonOf(error), failed: this.#failed || undefined });
      await this.#sendAway(channel, error);
      return false;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(channel);
    }
  }

  /** Sends everybody at the door away. */
  close(): void {
    for (const reject of this.#waiting.values()) reject(new Error("the server is shutting down"));
    for (const end of this.#delays) end();
    for (const channel of this.#leaving) channel.close();
  }

  async #enter(
    { channel, host, place }: Arrival,
    takePlace: () => Refusal | undefined,
  ): Promise<boolean> {
    const { key, refusal } = this.#options;
    const rest = await admit(channel, {
      key,
      place,
      refusal,
      takePlace,
      delay: () => this.#delay(host),
    });
    if (rest === undefined) {
      await this.#linger(channel);
      return false;
    }
    channel.unread(rest);
    return true;
  }

  /** Only a wrong token waits: who knows the right one is not held up by others who guess. */
  #delay(host: string): Promise<void> {
    const now = performance.now();
    let guesses = this.#guesses.get(host);
    if (!guesses || now - guesses.last > MEMORY) guesses = { count: 0, last: now };
    guesses.count++;
    guesses.last = now;
    this.#failed++;
    // The last one to guess stands last, and the first one is forgotten.
    this.#guesses.delete(host);
    this.#guesses.set(host, guesses);
    if (this.#guesses.size > HOSTS) {
      const [oldest] = this.#guesses.keys();
      this.#guesses.delete(oldest!);
    }
    const delay = Math.min(FIRST_DELAY * 2 ** Math.min(guesses.count - 1, 10), MOST_DELAY);
    const { handshakeTimeout } = this.#options;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#delays.delete(end);
        resolve();
      };
      const timer = setTimeout(end, Math.min(delay, handshakeTimeout / 2));
      this.#delays.add(end);
    });
  }

  async #sendAway(channel: SocketChannel, error: unknown): Promise<void> {
    const told = error instanceof HandshakeError &&
      (error.fault === "refused" || error.fault === "guess" || error.fault === "version");
    if (told) await this.#linger(channel);
    else channel.close();
  }

  /** Ends a connection in a way that lets the other side read what was said last. */
  async #linger(channel: SocketChannel): Promise<void> {
    this.#leaving.add(channel);
    await channel.finish();
    const timer = setTimeout(() => channel.close(), LINGER);
    const buffer = new Uint8Array(1024);
    try {
      for (let read = 0; read < 64 << 10;) {
        const length = await channel.read(buffer);
        if (length === null) break;
        read += length;
      }
    } catch {
      // It has gone, or its time is over.
    } finally {
      clearTimeout(timer);
      channel.close();
      this.#leaving.delete(channel);
    }
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof HandshakeError)) {
    return error instanceof Error ? error.message : String(error);
  }
  switch (error.fault) {
    case "ended":
      return error.said === "" ? "it left without a word" : "it left in the middle of a line";
    case "stranger":
      return "it speaks something else";
    case "tls":
      return "it speaks TLS, and this port does not";
    case "version":
      return `it speaks version ${error.said} of the handshake`;
    case "guess":
      return "wrong token";
    case "refused":
      return error.said;
  }
  return error.message;
}
