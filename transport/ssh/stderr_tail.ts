/**
 * Standard error for two readers: the user, who may never read it, and the error that needs its
 * end.
 *
 * @module
 */

import { endsWithin } from "./waiting.ts";

const KEPT = 8192;
const BUFFERED = 262_144;

/** Reads a process's stderr, keeps its end, and hands all of it on. */
export class StderrTail {
  /** All that is written. When nobody reads it, 256 KiB are held, and then the writer waits. */
  readonly stream: ReadableStream<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #done: Promise<void>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #wake: (() => void) | undefined;
  #open = true;
  #ending = false;
  #text = "";

  constructor(source: ReadableStream<Uint8Array>) {
    this.#reader = source.getReader();
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => this.#wake?.(),
      cancel: () => {
        this.#open = false;
        this.#wake?.();
      },
    }, new ByteLengthQueuingStrategy({ highWaterMark: BUFFERED }));
    this.#done = this.#pump();
  }

  async #pump(): Promise<void> {
    const decoder = new TextDecoder();
    try {
      while (true) {
        const { value, done } = await this.#reader.read();
        if (done) break;
        this.#text = (this.#text + decoder.decode(value, { stream: true })).slice(-KEPT);
        if (this.#open) this.#controller.enqueue(value);
        while (this.#open && !this.#ending && (this.#controller.desiredSize ?? 1) <= 0) {
          const { promise, resolve } = Promise.withResolvers<void>();
          this.#wake = resolve;
          await promise;
        }
      }
      if (this.#open) this.#controller.close();
    } catch (error) {
      if (this.#open) this.#controller.error(error);
    }
    this.#open = false;
  }

  /** Reads to the end, for at most `wait` milliseconds, and gives the last 8 KiB as text. */
  async finish(wait: number): Promise<string> {
    this.#ending = true;
    this.#wake?.();
    if (!await endsWithin(this.#done, wait)) {
      await this.#reader.cancel();
      await this.#done;
    }
    return this.#text;
  }
}
