/**
 * What is on its way out, and in which order.
 *
 * Messages that are made in the same turn share a frame. Large values and streams go in pieces, taken in
 * turn from all that wait, and messages go between two pieces: nothing large delays a small call.
 * One write is under way at a time; while it is, messages gather for the next frame.
 *
 * @module
 */

import {
  type AttachedMark,
  CHUNK_BYTES,
  FRAME_TEXT,
  FrameWriter,
  HEAD,
  LARGE_CHUNK_BYTES,
  type LateMessage,
  writeChunkHead,
} from "./frame.ts";

/** Takes bytes away. If it gives a promise, the next bytes wait for it. */
export type Send = (bytes: Uint8Array) => void | Promise<void>;

/** After so many full frames that left at once, larger ones may follow. */
const QUICK_FRAMES = 4;
/** What is at once, and what is too slow for large frames, in milliseconds. */
const QUICK_MS = 1;
const SLOW_MS = 4;
/** How many bytes of messages may wait before those who can wait are asked to. */
const PATIENCE = 2 << 20;

/** Bytes that go in pieces. They are not copied: they are read when their turn comes. */
interface Bulk {
  readonly bytes: Uint8Array;
  readonly length: number;
  at: number;
  /** How many messages must have left before the first piece: its own is the last of them. */
  readonly after: number;
  readonly done: (() => void) | undefined;
}

/** A frame that waits, and how many messages it has. */
interface Sealed {
  readonly frame: Uint8Array;
  readonly messages: number;
}

/** The outgoing half of a session. */
export class Outbox {
  readonly #send: Send;
  readonly #acknowledged: () => number;
  readonly #failed: (error: unknown) => void;
  readonly #now: () => number;
  readonly #writer = new FrameWriter();
  #sealed: Sealed[] = [];
  #sealedBytes = 0;
  /** How many messages were added, and how many of them have left. */
  #added = 0;
  #left = 0;
  /** What goes in pieces, by channel; the first in the map is the next. */
  readonly #bulk = new Map<number, Bulk[]>();
  #relieve: (() => void)[] = [];
  #writing = false;
  #scheduled = false;
  #held = 0;
  /** What is added once nothing holds it. */
  readonly #behind: string[] = [];
  #closed = false;
  #bulkTurn = false;
  /** Where chunk frames are made: the one before has been written by then. */
  #chunk: Uint8Array | undefined;
  /** How many bytes the next chunk frame may carry: more where the link is fast. */
  #most = CHUNK_BYTES;
  #quick = 0;
  /** When a full chunk frame began to be written. */
  #began: number | undefined;
  /** Whom to tell once the frame that is being written has been. */
  #written: (() => void)[] = [];
  #finished: (() => void) | undefined;
  /** What was sent so far. */
  readonly sent = { bytes: 0, frames: 0 };

  /**
   * `acknowledged` is asked for the number that goes with each frame; `failed` hears of a failed write; `now` is the
   * time in milliseconds.
   */
  constructor(
    send: Send,
    acknowledged: () => number,
    failed: (error: unknown) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#now = now;
    this.#send = send;
    this.#acknowledged = acknowledged;
    this.#failed = failed;
  }

  /** Is a write under way, or is there something left to write? */
  get busy(): boolean {
    return this.#writing ||
      !this.#closed &&
        (!this.#writer.empty || this.#sealed.length > 0 || this.#bulk.size > 0);
  }

  /** About how many bytes wait for the frame that is being made. */
  get frameSize(): number {
    return this.#writer.size;
  }

  /** How many bytes of messages wait to be written. Large values are not counted: they are somebody's own. */
  get waiting(): number {
    return this.#sealedBytes + this.#writer.size;
  }

  /** Queues a message. It leaves at the end of this turn. */
  add(message: string | LateMessage, size: number): void {
    if (this.#closed || this.#finished) return;
    this.#writer.add(message, size);
    this.#added++;
    if (this.#writer.attaches && this.#held === 0) this.#sealIfFull();
    this.#schedule();
  }

  /** The same; but what is being made, while something holds the outbox, leaves first: it may need what this gives back. */
  addBehind(message: string): void {
    if (this.#held > 0) this.#behind.push(message);
    else this.add(message, message.length);
  }

  /** Adds bytes to the frame that is being made; gives their offset. They are copied. */
  attach(bytes: Uint8Array): number {
    if (!this.#writer.attaches) this.#sealIfFull();
    return this.#writer.attach(bytes);
  }

  /** What is attached to the frame that is being made. */
  markAttached(): AttachedMark {
    if (!this.#writer.attaches) this.#sealIfFull();
    return this.#writer.mark();
  }

  /** Takes back what was attached since. */
  detach(mark: AttachedMark): void {
    this.#writer.detach(mark);
  }

  /** While something holds the outbox, no frame with attachments is made: offsets that were given stay good. */
  hold(): void {
    this.#held++;
  }

  /** The opposite of {@linkcode Outbox.hold}. */
  unhold(): void {
    // The end of the session holds for nobody.
    if (this.#held === 0 || --this.#held > 0) return;
    if (this.#writer.attaches) this.#sealIfFull();
    for (const message of this.#behind.splice(0)) this.add(message, message.length);
  }

  /** Queues bytes for a channel. `done` is called when the last of them was written, or never will be. */
  addBulk(channel: number, bytes: Uint8Array, done?: () => void): void {
    if (this.#closed || this.#finished) {
      done?.();
      return;
    }
    const bulk = { bytes, length: bytes.length, at: 0, after: this.#added, done };
    const waiting = this.#bulk.get(channel);
    if (waiting) waiting.push(bulk);
    else this.#bulk.set(channel, [bulk]);
    this.#schedule();
  }

  /** If too much waits to be written: resolves when that has changed. */
  relieved(): Promise<void> | undefined {
    if (this.waiting < PATIENCE) return undefined;
    return new Promise((resolve) => this.#relieve.push(resolve));
  }

  /** Sends what there is, now. */
  flush(): void {
    this.#pump();
  }

  /** An empty frame, which does nothing but acknowledge. */
  acknowledge(): void {
    if (this.#closed || this.busy) return;
    this.#seal();
    this.#schedule();
  }

  /** Takes nothing more; resolves when the messages that are queued have been written, or cannot be. */
  finish(): Promise<void> {
    this.#dropBulk();
    this.#held = 0;
    return new Promise((resolve) => {
      this.#finished = resolve;
      this.#pump();
    });
  }

  /** Drops everything; nothing more is sent. */
  close(): void {
    if (this.#finished) return;
    this.#closed = true;
    this.#sealed = [];
    this.#sealedBytes = 0;
    this.#dropBulk();
  }

  /** Whoever waits for something to leave waits no more. */
  #dropBulk(): void {
    for (const relieved of this.#relieve.splice(0)) relieved();
    // What was being written has been copied, and whether it arrives is not known.
    for (const done of this.#written.splice(0)) done();
    const waiting = [...this.#bulk.values()];
    this.#bulk.clear();
    for (const queue of waiting) for (const { done } of queue) done?.();
  }

  /** Messages whose text is made late are: the later, the more is known of them. So only what must be is sealed. */
  #sealIfFull(): void {
    if (this.#writer.size > FRAME_TEXT) this.#seal();
  }

  #seal(): void {
    do {
      const frame = this.#writer.take(this.#acknowledged(), true);
      this.#sealed.push({ frame, messages: this.#writer.lastCount });
      this.#sealedBytes += frame.length;
    } while (!this.#writer.empty);
  }

  #schedule(): void {
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    queueMicrotask(this.#soon);
  }

  /** Once more, so that `await f()` has asked for its value by then: its own `then` runs between the two. */
  readonly #soon = () => queueMicrotask(this.#turnEnds);

  readonly #turnEnds = () => {
    this.#scheduled = false;
    this.#pump();
  };

  readonly #onWritten = () => {
    this.#writing = false;
    this.#pump();
  };

  readonly #onFailed = (error: unknown) => {
    this.#writing = false;
    this.#finished?.();
    this.#failed(error);
  };

  #pump(): void {
    while (!this.#writing && !this.#closed && this.#held === 0) {
      if (this.#began !== undefined) this.#adapt(this.#began);
      if (this.#written.length > 0) {
        for (const done of this.#written.splice(0)) done();
        continue;
      }
      let written: void | Promise<void>;
      try {
        const frame = this.#next();
        if (frame === undefined) {
          this.#finished?.();
          return;
        }
        this.sent.bytes += frame.length;
        written = this.#send(frame);
      } catch (error) {
        this.#finished?.();
        this.#failed(error);
        return;
      }
      if (written === undefined) continue;
      this.#writing = true;
      written.then(this.#onWritten, this.#onFailed);
    }
  }

  #next(): Uint8Array | undefined {
    // A flood of messages must not hold up the pieces for ever: they alternate.
    if (this.#bulkTurn) {
      this.#bulkTurn = false;
      const piece = this.#nextPiece();
      if (piece) return piece;
    }
    const frame = this.#nextFrame();
    if (frame === undefined) return this.#nextPiece();
    this.#bulkTurn = this.#bulk.size > 0;
    return frame;
  }

  #nextFrame(): Uint8Array | undefined {
    const sealed = this.#sealed.shift();
    let frame = sealed?.frame;
    if (sealed) {
      this.#sealedBytes -= sealed.frame.length;
      this.#left += sealed.messages;
    } else if (!this.#writer.empty) {
      frame = this.#writer.take(this.#acknowledged());
      this.#left += this.#writer.lastCount;
    }
    if (this.#relieve.length > 0 && this.waiting < PATIENCE) {
      for (const relieved of this.#relieve.splice(0)) relieved();
    }
    if (frame !== undefined) this.sent.frames++;
    return frame;
  }

  /** A frame of what waits on one channel, from as much of it as there is room for. */
  #nextPiece(): Uint8Array | undefined {
    for (const [channel, queue] of this.#bulk) {
      if (queue[0]!.after > this.#left) continue;
      this.#bulk.delete(channel);
      if (!this.#chunk || this.#chunk.length < HEAD + this.#most) {
        this.#chunk = new Uint8Array(HEAD + this.#most);
      }
      const frame = this.#chunk;
      let length = 0;
      while (queue.length > 0 && length < this.#most && queue[0]!.after <= this.#left) {
        const bulk = queue[0]!;
        if (bulk.bytes.length !== bulk.length) {
          this.#bulk.set(channel, queue);
          throw new TypeError("An array was detached while it was being sent");
        }
        const piece = bulk.bytes.subarray(bulk.at, bulk.at + this.#most - length);
        frame.set(piece, HEAD + length);
        length += piece.length;
        bulk.at += piece.length;
        if (bulk.at < bulk.length) break;
        queue.shift();
        if (bulk.done) this.#written.push(bulk.done);
      }
      if (queue.length > 0) this.#bulk.set(channel, queue);
      writeChunkHead(frame, channel, length);
      this.sent.frames++;
      if (length === this.#most) this.#began = this.#now();
      return frame.subarray(0, HEAD + length);
    }
    return undefined;
  }

  /** Large frames are faster, but hold up what is behind them: only a link that takes them at once gets them. */
  #adapt(began: number): void {
    this.#began = undefined;
    const time = this.#now() - began;
    if (time > SLOW_MS) {
      this.#most = CHUNK_BYTES;
      this.#quick = 0;
    } else if (time < QUICK_MS && ++this.#quick >= QUICK_FRAMES) {
      this.#most = LARGE_CHUNK_BYTES;
    }
  }
}
