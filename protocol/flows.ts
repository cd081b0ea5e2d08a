/**
 * The channels of a session: who opened which, and the messages that flow on them.
 *
 * @module
 */

import type { Arrivals } from "./arrivals.ts";
import { blobSize, type ChannelNumbers, expectLargeArrays } from "./blobs.ts";
import { type ChannelPort, Inflow, Outflow } from "./channels.ts";
import { count, integer } from "./checks.ts";
import { type Border, Incoming, Outgoing } from "./crossing.ts";
import { ProtocolError } from "./errors.ts";
import { Lines } from "./lines.ts";
import {
  type CreditMessage,
  type EndMessage,
  type ItemsMessage,
  Op,
  type StopMessage,
} from "./messages.ts";
import type { Outbox } from "./outbox.ts";
import { thrown } from "./remote_error.ts";
import { encode } from "./values.ts";

/** What channels need of their half of the session. */
export interface FlowHost {
  /** Queues a message that ends with a reason, whatever it is. */
  addWithReason(head: string, reason: unknown): void;
}

/** What channels need of their session. */
export interface FlowBorder extends Border {
  readonly closeReason: Error | undefined;
  /** The numbers of all channels. */
  readonly channels: ChannelNumbers;
  /** Something here waits for the peer, or does no more. */
  waiting(waits: boolean): void;
  /** Runs what may fail with the session, where nobody else would catch it. */
  guard(work: () => void): void;
  /** Queues a message. */
  add(message: string): void;
}

/**
 * A source says how much credit its items use up, as two languages do not write all numbers alike. It may
 * be wrong by this factor.
 */
const SIZE_FACTOR = 8;

/** All channels of a session. */
export class Flows implements ChannelPort {
  readonly #host: FlowHost;
  readonly #border: FlowBorder;
  readonly #outbox: Outbox;
  readonly #lines: Lines;
  readonly #inflows = new Map<number, Inflow>();
  readonly #outflows = new Map<number, Outflow>();

  /** None is open yet. */
  constructor(host: FlowHost, border: FlowBorder, outbox: Outbox, arrivals: Arrivals) {
    this.#host = host;
    this.#border = border;
    this.#outbox = outbox;
    this.#lines = new Lines(arrivals, (work) => border.guard(work));
  }

  /** How many are open. */
  get size(): number {
    return this.#inflows.size + this.#outflows.size;
  }

  /** Opens the sending end of a channel; a negative number is one that the peer opened. */
  openOutflow(channel: number, credit: number): Outflow {
    this.#check(channel);
    const outflow = new Outflow(channel, this, credit);
    const { closeReason } = this.#border;
    if (closeReason) outflow.lose(closeReason);
    else this.#outflows.set(channel, outflow);
    return outflow;
  }

  /** Opens the reading end of a channel. */
  openInflow(channel: number, window: number, most: number, started: boolean): Inflow {
    this.#check(channel);
    expectLargeArrays();
    const inflow = new Inflow(channel, this, window, Math.max(window, most), started);
    const { closeReason } = this.#border;
    if (closeReason) inflow.lose(closeReason);
    else this.#inflows.set(channel, inflow);
    return inflow;
  }

  #check(channel: number): void {
    if (channel >= 0) return;
    this.#border.channels.peerOpens(-channel);
    const { channels } = this.#border.limits;
    if (this.size >= channels) {
      throw new ProtocolError(`There are more than ${channels} open streams (limits.channels)`);
    }
  }

  // ---- in

  #inflow(channel: number): Inflow {
    const inflow = this.#inflows.get(channel);
    if (!inflow) throw new ProtocolError(`The peer sent on channel ${channel}, which is not open`);
    return inflow;
  }

  /** Bytes, valid only during the call. */
  onBytes(channel: number, bytes: Uint8Array): void {
    const inflow = this.#inflow(channel);
    if (!this.#lines.isWaiting(channel)) {
      const own = new Uint8Array(bytes);
      inflow.push({ bytes: own }, own.length);
      return;
    }
    this.#lines.inOrder(channel, undefined, bytes, (held, next) => {
      inflow.push({ bytes: held }, held.length);
      next();
    });
  }

  /** Items that came in a frame of so much text. */
  onItems(message: ItemsMessage, attachments: Uint8Array, frameText: number): void {
    const [, number, declared, items, form, blobs] = message;
    const channel = -integer(number);
    const inflow = this.#inflow(channel);
    const size = count(declared);
    if (
      size * SIZE_FACTOR < frameText - 64 &&
      size * SIZE_FACTOR < JSON.stringify(items).length + blobSize(blobs)
    ) {
      throw new ProtocolError(`The peer sent more on channel ${channel} than it declared`);
    }
    this.#lines.inOrder(channel, blobs, attachments, (held, next) => {
      const push = (items: unknown) => {
        // Holes cost nothing to send: they are no items.
        if (!Array.isArray(items) || items.length > size) {
          throw new ProtocolError("The peer sent malformed items");
        }
        inflow.push({ items }, size);
        next();
      };
      if (form !== 1) return push(items);
      new Incoming(this.#border, held).take(
        items,
        (items) => this.#border.guard(() => push(items)),
        (error) => {
          inflow.fail(error);
          next();
        },
      );
    });
  }

  /** The source is at its end. */
  onEnd(message: EndMessage, attachments: Uint8Array): void {
    const [, number, failed, value, form] = message;
    const channel = -integer(number);
    this.#lines.inOrder(channel, undefined, attachments, (held, next) => {
      const inflow = this.#inflow(channel);
      const push = (failed: boolean, value: unknown) => {
        inflow.push({ failed, value }, 0);
        next();
      };
      if (form !== 1) return push(failed === 1, value);
      new Incoming(this.#border, held).take(
        value,
        (value) => this.#border.guard(() => push(failed === 1, value)),
        (error) => this.#border.guard(() => push(true, error)),
        failed === 1 ? thrown : undefined,
      );
    });
  }

  /** The reader gives credit. */
  onCredit(message: CreditMessage): void {
    const amount = count(message[2]);
    const channel = -integer(message[1]);
    const outflow = this.#outflows.get(channel);
    if (outflow) return outflow.grant(amount);
    // Credit may cross with the end.
    const { last, lastOfPeer } = this.#border.channels;
    if (Math.abs(channel) > (channel > 0 ? last : lastOfPeer) || channel === 0) {
      throw new ProtocolError(`The peer used channel ${channel}, which was never open`);
    }
  }

  /** The reader has stopped. */
  onStop(message: StopMessage, attachments: Uint8Array): void {
    const [, number, early, reason, form] = message;
    const channel = -integer(number);
    const outflow = this.#outflows.get(channel);
    if (!outflow) throw new ProtocolError(`The peer stopped channel ${channel}, which is none`);
    if (form !== 1) return outflow.stop(early === 1, reason);
    const stop = (reason: unknown) => this.#border.guard(() => outflow.stop(early === 1, reason));
    new Incoming(this.#border, attachments).take(reason, stop, stop);
  }

  // ---- out

  sendCredit(channel: number, amount: number): void {
    this.#border.add(`[${Op.credit},${channel},${amount}]`);
  }

  sendBytes(channel: number, bytes: Uint8Array, taken: () => void): void {
    this.#outbox.addBulk(channel, bytes, taken);
  }

  sendItems(channel: number, items: unknown[]): number {
    this.#outbox.hold();
    const outgoing = new Outgoing(this.#border);
    try {
      const { text, form } = encode(items, outgoing, "item", this.#border.limits.depth);
      const { blobs } = outgoing;
      const size = text.length + blobSize(blobs);
      this.#border.add(
        `[${Op.items},${channel},${size},${text}` +
          (blobs.length > 0 ? `,${form},[${blobs.join()}]]` : form === 1 ? ",1]" : "]"),
      );
      outgoing.sent();
      return size;
    } catch (error) {
      outgoing.withdraw();
      throw error;
    } finally {
      this.#outbox.unhold();
    }
  }

  relieved(): Promise<void> | undefined {
    return this.#outbox.relieved();
  }

  sendEnd(channel: number, failed: boolean, value: unknown): void {
    this.#addWithReason(`[${Op.end},${channel},${failed ? 1 : 0}`, value);
  }

  sendStop(channel: number, early: boolean, reason: unknown): void {
    this.#addWithReason(`[${Op.stop},${channel},${early ? 1 : 0}`, reason);
  }

  #addWithReason(head: string, value: unknown): void {
    if (value === undefined) this.#border.add(`${head}]`);
    else this.#host.addWithReason(head, value);
  }

  waiting(waits: boolean): void {
    this.#border.waiting(waits);
  }

  closed(channel: number): void {
    this.#inflows.delete(channel);
    this.#outflows.delete(channel);
  }

  /** The link is gone. */
  lose(reason: Error): void {
    for (const inflow of [...this.#inflows.values()]) inflow.lose(reason);
    for (const outflow of [...this.#outflows.values()]) outflow.lose(reason);
    this.#inflows.clear();
    this.#outflows.clear();
    this.#lines.clear();
  }
}
