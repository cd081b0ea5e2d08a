/**
 * A server's own standard input and output, for a client that has started it.
 *
 * @module
 */

import type { SocketChannel } from "../transport/daemon/channel.ts";

/** Standard input and output as one connection. `finished` resolves when it is closed. */
export function standardStreams(): { channel: SocketChannel; finished: Promise<void> } {
  const write = Deno.stdout.write.bind(Deno.stdout);
  const read = Deno.stdin.read.bind(Deno.stdin);
  let first: Uint8Array | undefined;
  let settle!: () => void;
  let end: (() => void) | undefined;
  const finished = new Promise<void>((resolve) => settle = resolve);
  const ended = new Promise<null>((resolve) => end = () => resolve(null));
  const channel: SocketChannel = {
    unread: (bytes) => first = bytes,
    async read(buffer) {
      if (first?.length) {
        const length = Math.min(first.length, buffer.length);
        buffer.set(first.subarray(0, length));
        first = first.subarray(length);
        return length;
      }
      return await Promise.race([read(buffer), ended]);
    },
    async write(chunk) {
      for (let at = 0; at < chunk.length;) at += await write(chunk.subarray(at));
    },
    finish: () => Promise.resolve(),
    close() {
      end?.();
      settle();
    },
    hold() {},
  };
  return { channel, finished };
}
