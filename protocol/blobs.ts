/**
 * Blobs: the bytes of one large value, on a channel of their own whose number and length a message announced. They need
 * no credit: the receiver has agreed to them. And the numbers of all channels, whatever they carry.
 *
 * @module
 */

import { count } from "./checks.ts";
import { ProtocolError } from "./errors.ts";
import type { Limits } from "./limits.ts";

/** Who opened which channel: each number is used once. */
export class ChannelNumbers {
  readonly #limits: Limits;
  /** The last one of this side. */
  last = 0;
  /** The highest one of the peer's. */
  lastOfPeer = 0;
  /** Numbers that the peer left out so far. */
  readonly #skipped = new Set<number>();

  /** None was used yet. */
  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** The number of a new channel of this side. */
  next(): number {
    return ++this.last;
  }

  /** Notes the number of a channel that the peer opens, or refuses it. */
  peerOpens(channel: unknown): number {
    const number = count(channel);
    const { channels } = this.#limits;
    if (number > this.lastOfPeer + channels) {
      throw new ProtocolError(`The peer opened channel ${number} far out of order`);
    }
    if (number <= this.lastOfPeer) {
      if (this.#skipped.delete(number)) return number;
      throw new ProtocolError(`The peer opened channel ${number} twice`);
    }
    // A message that waits opens its channels later than the ones behind it do.
    while (++this.lastOfPeer < number) this.#skipped.add(this.lastOfPeer);
    for (const oldest of this.#skipped) {
      if (this.#skipped.size <= channels) break;
      this.#skipped.delete(oldest);
    }
    return number;
  }
}

/** The bytes of a large value, as they arrive. */
export interface Blob {
  readonly bytes: Uint8Array;
  filled: number;
  readonly arrived: (() => void)[];
}

/** Just below the most that glibc still learns from. With less, it gives back what a stream took, and asks for it again. */
const LEARNED = 31 << 20;
let learned = false;

/**
 * Is called before large arrays come and go. glibc asks the kernel for new pages for each of them, which costs more than
 * their bytes, until it has seen one of that size being given back: then it keeps memory for the next ones (mallopt(3),
 * `M_MMAP_THRESHOLD`). So it is shown a large one, which is never written to.
 */
export function expectLargeArrays(): void {
  if (learned) return;
  learned = true;
  // Node 20 has no such method, and gives it back later.
  new ArrayBuffer(LEARNED).transfer?.(0);
}

/** Makes an array of so many bytes. */
export type MakeArray = (length: number) => Uint8Array;

/** The blobs that are on their way in. */
export class Blobs {
  readonly #limits: Limits;
  readonly #makeArray: MakeArray;
  readonly #byChannel = new Map<number, Blob>();
  #incoming = 0;

  /** No more than `limits` says is taken in. */
  constructor(limits: Limits, makeArray: MakeArray = (length) => new Uint8Array(length)) {
    this.#limits = limits;
    this.#makeArray = makeArray;
  }

  /** How many are known. */
  get size(): number {
    return this.#byChannel.size;
  }

  /** A message announces a blob. */
  announce(channel: number, length: number): void {
    const { valueBytes, incomingBytes } = this.#limits;
    if (length > valueBytes) {
      throw new ProtocolError(
        `The peer sent a value of ${length} bytes; limits.valueBytes is ${valueBytes}`,
      );
    }
    if (this.#incoming + length > incomingBytes) {
      throw new ProtocolError(
        `The peer sent more than ${incomingBytes} bytes at once (limits.incomingBytes)`,
      );
    }
    if (this.#byChannel.has(channel) || length === 0) {
      throw new ProtocolError(`The peer announced channel ${channel} twice`);
    }
    this.#incoming += length;
    expectLargeArrays();
    this.#byChannel.set(channel, { bytes: this.#makeArray(length), filled: 0, arrived: [] });
  }

  /** Some bytes came. Says whether they were a blob's. */
  fill(channel: number, bytes: Uint8Array): boolean {
    const blob = this.#byChannel.get(channel);
    if (!blob) return false;
    if (blob.filled + bytes.length > blob.bytes.length) {
      throw new ProtocolError(`The peer sent more bytes on channel ${channel} than it announced`);
    }
    blob.bytes.set(bytes, blob.filled);
    blob.filled += bytes.length;
    if (blob.filled === blob.bytes.length) { for (const arrived of blob.arrived) arrived(); }
    return true;
  }

  /** Calls back when all of these have arrived; at once if they have. */
  whenArrived(channels: readonly number[], then: () => void): void {
    let missing = 1;
    const one = () => {
      if (--missing === 0) then();
    };
    for (const channel of channels) {
      const blob = this.#byChannel.get(channel);
      if (blob && blob.filled < blob.bytes.length) {
        missing++;
        blob.arrived.push(one);
      }
    }
    one();
  }

  /** The bytes of a blob that has arrived; it is forgotten with that. */
  take(channel: number, length: number): Uint8Array {
    const blob = this.#byChannel.get(channel);
    if (!blob || blob.filled !== length || blob.bytes.length !== length) {
      throw new ProtocolError(`The peer used channel ${channel}, which has no such bytes`);
    }
    this.forget(channel);
    return blob.bytes;
  }

  /** Drops a blob that nobody took. */
  forget(channel: number): void {
    const blob = this.#byChannel.get(channel);
    if (blob && this.#byChannel.delete(channel)) this.#incoming -= blob.bytes.length;
  }

  /** The link is gone. */
  clear(): void {
    this.#byChannel.clear();
    this.#incoming = 0;
  }
}

/** How many bytes a list of blobs announces. */
export function blobSize(blobs: unknown): number {
  let size = 0;
  if (Array.isArray(blobs)) { for (let i = 1; i < blobs.length; i += 2) size += count(blobs[i]); }
  return size;
}
