/**
 * A link with a delay and a bandwidth, between the client and a local agent: a transport of the bench's own.
 *
 * @module
 */

import { type BaseTransport, registerTransport } from "../mod.ts";
import { Popen } from "../transport/local.ts";

/** One direction of a link. */
export interface LinkShape {
  /** One way, in milliseconds. */
  delay: number;
  /** Bytes a millisecond. */
  bandwidth: number;
}

/** Passes bytes on as the link would; holds no more than what is in flight, and a buffer like a kernel's. */
function shaped({ delay, bandwidth }: LinkShape): TransformStream<Uint8Array, Uint8Array> {
  const queue: { bytes: Uint8Array; due: number }[] = [];
  const room = 2 * delay * bandwidth + (256 << 10);
  let held = 0;
  let free = 0;
  let draining: Promise<void> | undefined;
  let wake: (() => void) | undefined;
  let flushed: (() => void) | undefined;
  const drain = async (controller: TransformStreamDefaultController<Uint8Array>) => {
    while (queue.length > 0) {
      const { bytes, due } = queue[0]!;
      const wait = due - performance.now();
      if (wait > 0.5) await new Promise((resolve) => setTimeout(resolve, wait));
      queue.shift();
      held -= bytes.length;
      wake?.();
      controller.enqueue(bytes);
    }
    draining = undefined;
    flushed?.();
  };
  return new TransformStream(
    {
      async transform(chunk, controller) {
        // The sender's buffer is its own again once this returns.
        const bytes = chunk.slice();
        while (held > room) await new Promise<void>((resolve) => wake = resolve);
        const now = performance.now();
        free = Math.max(free, now) + bytes.length / bandwidth;
        held += bytes.length;
        queue.push({ bytes, due: free + delay });
        draining ??= drain(controller);
      },
      flush: () => draining && new Promise<void>((resolve) => flushed = resolve),
    },
    { highWaterMark: 1 },
    { highWaterMark: 64 },
  );
}

/** Registers the transport `slow:`, a local agent behind such a link. */
export function registerSlowLink(shape: LinkShape): void {
  registerTransport("slow", {
    async Popen(command, options): Promise<BaseTransport> {
      const inner = await Popen(command, { ...options, address: "" });
      const out = shaped(shape);
      const back = shaped(shape);
      out.readable.pipeTo(inner.stdin).catch(() => {});
      inner.stdout.pipeTo(back.writable).catch(() => {});
      return {
        address: options.address,
        stdin: out.writable,
        stdout: back.readable,
        stderr: inner.stderr,
        status: inner.status,
        close: () => inner.close(),
        [Symbol.asyncDispose]: async () => void await inner.close(),
      };
    },
  });
}
