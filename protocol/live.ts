/**
 * Streams and iterators, at both ends of a channel.
 *
 * A stream is pumped from the moment that its message leaves; an iterator that was asked for by iterating
 * too, and one that merely came along starts with its first `next()`.
 *
 * @module
 */

import { type Arrival, free, type Inflow, type Outflow } from "./channels.ts";

/** Does this stream give bytes? Only a byte stream has such a reader. */
export function givesBytes(stream: ReadableStream): boolean {
  try {
    stream.getReader({ mode: "byob" }).releaseLock();
    return true;
  } catch {
    return false;
  }
}

/** A batch of items is not let grow beyond this size of its text. */
const BATCH_BYTES = 32 << 10;
const BATCH_ITEMS = 8192;

/** Items that leave together: the first at once, later ones in batches that grow. */
class Batch {
  readonly #out: Outflow;
  #items: unknown[] = [];
  #most = 1;
  /** Was there an item that cannot cross? The ones before it have left. */
  unsendable = false;

  constructor(out: Outflow) {
    this.#out = out;
  }

  get empty(): boolean {
    return this.#items.length === 0;
  }

  /** Adds an item; says whether the batch should leave now. */
  add(item: unknown): boolean {
    return this.#items.push(item) >= this.#most;
  }

  /** Sends what there is. To await it lets the frame leave, and credit come in, where a source never waits. */
  async send(): Promise<void> {
    if (this.#items.length === 0) return;
    // What was sent while the source made itself waited for may have used the credit up.
    if (!this.#out.ready) await this.#out.whenReady();
    if (this.#out.over) return;
    const items = this.#items;
    this.#items = [];
    let size: number;
    try {
      size = this.#out.sendItems(items);
    } catch (error) {
      // The items before the one that cannot cross do arrive.
      this.unsendable = true;
      for (let i = 0; items.length > 1 && i < items.length && !this.#out.over; i++) {
        await this.#out.whenReady();
        this.#out.sendItems([items[i]]);
      }
      throw error;
    }
    const relieved = this.#out.relieved();
    if (relieved) await relieved;
    this.#most = size > BATCH_BYTES
      ? Math.max(1, Math.floor(items.length * BATCH_BYTES / size))
      : Math.min(2 * this.#most, BATCH_ITEMS);
  }
}

/** What a promise holds if it has settled within a few turns of the microtask queue. */
async function settledSoon<T>(promise: Promise<T>): Promise<T | undefined> {
  let value: T | undefined;
  promise.then((result) => value = result, () => {});
  for (let i = 0; i < 4 && value === undefined; i++) await undefined;
  return value;
}

/**
 * Sends what a stream gives. It never rejects: an error is the channel's end. What a stream of `bytes` gives is the
 * reader's own, so the next chunk is asked for before it has left; other sources may use their memory again.
 */
export async function pumpReadable(
  stream: ReadableStream,
  bytes: boolean,
  out: Outflow,
): Promise<void> {
  const reader = stream.getReader();
  out.stopped.then(({ early, reason }) => {
    if (early) reader.cancel(reason).catch(() => {});
  });
  const batch = new Batch(out);
  try {
    for (;;) {
      if (!out.ready) await out.whenReady();
      if (out.over) break;
      const reading = reader.read();
      const step = batch.empty
        ? await reading
        : await settledSoon(reading) ?? (await batch.send(), await reading);
      const { done, value } = step;
      if (done) break;
      if (value instanceof Uint8Array) {
        await batch.send();
        await (bytes ? out.sendAhead(value) : out.sendBytes(value));
      } else {
        await out.flushed();
        if (batch.add(value)) await batch.send();
      }
    }
    await batch.send();
    await out.flushed();
    out.end(false, undefined);
  } catch (error) {
    reader.cancel(error).catch(() => {});
    let last = error;
    if (!batch.unsendable) {
      // An item that cannot cross came first, and is what ends the stream.
      await batch.send().catch((worse) => last = worse);
    }
    await out.flushed();
    out.end(true, last);
  }
}

/** A stream of what comes on a channel. */
export function readableOf(inflow: Inflow, bytes: boolean): ReadableStream {
  // Without a queue of its own: it asks only when somebody reads, and then takes what has come.
  const deliver = (controller: Controller): void => {
    const brought = Boolean(controller.byobRequest);
    try {
      for (let given = false;;) {
        const arrival = inflow.next;
        if (arrival === undefined) break;
        if (given && !mayFollow(arrival, brought, controller)) break;
        inflow.take();
        handOver(controller, arrival, inflow);
        given ||= !("items" in arrival) || arrival.items.length > 0;
      }
    } catch (error) {
      // Objects in a stream of bytes, say: the source is told, and so is the reader.
      inflow.stop(true, error);
      throw error;
    }
  };
  const stream = new ReadableStream({
    type: bytes ? "bytes" : undefined,
    pull(controller: Controller) {
      if (!inflow.ready) return inflow.wait().then(() => deliver(controller));
      return deliver(controller);
    },
    cancel(reason) {
      inflow.stop(true, reason);
    },
  } as UnderlyingDefaultSource, { highWaterMark: 0 });
  forgotten.register(stream, inflow);
  return stream;
}

/** May this be handed over without having been asked for? */
function mayFollow(arrival: Arrival, brought: boolean, controller: Controller): boolean {
  // Who brings buffers gets what they hold: the rest is copied only when there is one for it.
  if ("bytes" in arrival) return !brought || Boolean(controller.byobRequest);
  // An error empties a stream's queue: what was put there is read first.
  return !("failed" in arrival && arrival.failed);
}

type Controller = ReadableStreamDefaultController & Partial<ReadableByteStreamController>;

function handOver(controller: Controller, arrival: Arrival, inflow: Inflow): void {
  if ("bytes" in arrival) {
    const { bytes } = arrival;
    const view = controller.byobRequest?.view;
    if (!view) return controller.enqueue(bytes);
    const length = Math.min(bytes.length, view.byteLength);
    new Uint8Array(view.buffer, view.byteOffset).set(bytes.subarray(0, length));
    controller.byobRequest!.respond(length);
    if (length < bytes.length) controller.enqueue(bytes.subarray(length));
    else free(bytes);
  } else if ("items" in arrival) {
    for (const item of arrival.items) controller.enqueue(item);
  } else {
    inflow.stop(false);
    if (arrival.failed) {
      controller.error(arrival.value);
    } else {
      controller.close();
      // A byte stream with a reader waiting is only closed once that reader is answered.
      controller.byobRequest?.respond(0);
    }
  }
}

/** A stream or iterator that nobody uses any more stops its source. */
const forgotten = new FinalizationRegistry<Inflow>((inflow) => inflow.stop(true, "it was dropped"));

/** Writes what comes on a channel to a stream. It never rejects: an error goes to the source. */
export async function pumpWritable(stream: WritableStream, inflow: Inflow): Promise<void> {
  const writer = stream.getWriter();
  writer.closed.catch((error) => inflow.stop(true, error));
  try {
    for (;;) {
      await inflow.wait();
      const arrival = inflow.take();
      if (arrival === undefined) return;
      if ("bytes" in arrival) {
        await writer.write(arrival.bytes);
      } else if ("items" in arrival) {
        for (const item of arrival.items) await writer.write(item);
      } else {
        if (arrival.failed) await writer.abort(arrival.value);
        else await writer.close();
        inflow.stop(false);
        return;
      }
    }
  } catch (error) {
    inflow.stop(true, error);
  }
}

/** A stream whose chunks go out on a channel. Its `close()` resolves when the other end has closed. */
export function writableOf(out: Outflow): WritableStream {
  const check = async () => {
    if (out.over) throw (await out.stopped).reason;
  };
  return new WritableStream({
    start(controller) {
      out.stopped.then(({ early, reason }) => {
        if (!early) return;
        controller.error(reason);
        // The end must not overtake the pieces that wait.
        out.flushed().then(() => out.end(false, undefined));
      });
    },
    async write(chunk) {
      try {
        if (chunk instanceof Uint8Array) {
          await out.sendBytes(chunk);
        } else {
          await out.whenReady();
          if (!out.over) out.sendItems([chunk]);
          await out.relieved();
        }
      } catch (error) {
        // This stream is broken by that, and nobody can end it any more.
        out.end(true, error);
        throw error;
      }
      await check();
    },
    async close() {
      out.end(false, undefined);
      const { early, reason } = await out.whenStopped();
      if (early) throw reason;
    },
    abort(reason) {
      out.end(true, reason);
    },
  });
}

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>;
/**
 * Sends what an iterator gives: the first item at once, later ones in batches that grow, but never later than the
 * iterator makes the consumer wait. It never rejects: an error is the channel's end.
 */
export async function pumpIterator(iterator: AnyIterator, out: Outflow): Promise<void> {
  let finished = false;
  const stopped = out.stopped.then(async ({ early }) => {
    if (!early || finished) return;
    finished = true;
    try {
      await iterator.return?.();
      out.end(false, undefined);
    } catch (error) {
      out.end(true, error);
    }
  });
  const batch = new Batch(out);
  try {
    for (;;) {
      if (!out.ready) await out.whenReady();
      if (out.over) break;
      let step = iterator.next();
      if (step instanceof Promise) {
        step = await settledSoon(step) ?? (await batch.send(), await step);
      } else if (typeof (step as unknown as PromiseLike<unknown>).then === "function") {
        await batch.send();
        step = await step;
      }
      if (finished) break;
      if (step.done) {
        await batch.send();
        finished = true;
        out.end(false, step.value);
        return;
      }
      if (batch.add(step.value)) await batch.send();
    }
  } catch (error) {
    if (!finished) {
      finished = true;
      let last = error;
      try {
        if (batch.unsendable) await iterator.return?.();
        else await batch.send();
      } catch (worse) {
        // What says why nothing more is sent comes first.
        if (!batch.unsendable) last = worse;
      }
      out.end(true, last);
    }
    return;
  }
  await stopped;
}

/** An iterator over what comes on a channel. */
export class RemoteIterator implements AsyncIterableIterator<unknown> {
  readonly #inflow: Inflow;
  #items: unknown[] = [];
  #at = 0;
  #result: IteratorReturnResult<unknown> | undefined;
  #last: Promise<IteratorResult<unknown>> | undefined;

  /** Reads from `inflow`. */
  constructor(inflow: Inflow) {
    this.#inflow = inflow;
    forgotten.register(this, inflow);
  }

  /** The next item; it is usually here already. */
  next(): Promise<IteratorResult<unknown>> {
    if (this.#last === undefined) {
      if (this.#at < this.#items.length) {
        return Promise.resolve({ done: false, value: this.#items[this.#at++] });
      }
      if (this.#result) return Promise.resolve({ done: true, value: undefined });
    }
    const waiting = this.#last
      ? this.#last.then(() => this.#fetch(), () => this.#fetch())
      : this.#fetch();
    this.#last = waiting;
    const clear = () => {
      if (this.#last === waiting) this.#last = undefined;
    };
    waiting.then(clear, clear);
    return waiting;
  }

  async #fetch(): Promise<IteratorResult<unknown>> {
    for (;;) {
      if (this.#at < this.#items.length) {
        return { done: false, value: this.#items[this.#at++] };
      }
      if (this.#result) return { done: true, value: undefined };
      await this.#inflow.wait();
      const arrival = this.#inflow.take();
      if (arrival === undefined) {
        this.#result ??= { done: true, value: undefined };
      } else if ("items" in arrival) {
        this.#items = arrival.items;
        this.#at = 0;
      } else if ("bytes" in arrival) {
        this.#items = [arrival.bytes];
        this.#at = 0;
      } else {
        this.#inflow.stop(false);
        this.#result = { done: true, value: arrival.value };
        if (arrival.failed) throw arrival.value;
        return this.#result;
      }
    }
  }

  /** Ends the remote iterator: its `finally` has run when this resolves. */
  async return(value?: unknown): Promise<IteratorResult<unknown>> {
    if (!this.#result) {
      this.#result = { done: true, value: undefined };
      this.#items = [];
      this.#at = 0;
      this.#inflow.stop(true, undefined);
      const end = await this.#inflow.whenFinished();
      if (end.failed) throw end.value;
    }
    return { done: true, value };
  }

  /** Ends the remote iterator, and throws `error` here. */
  async throw(error?: unknown): Promise<IteratorResult<unknown>> {
    await this.return();
    throw error;
  }

  /** It is its own iterator. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The same as `return()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
