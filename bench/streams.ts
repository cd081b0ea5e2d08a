/**
 * The streams that the benches send through a connection: zeros, in pieces of 64 KiB, made as they are read.
 *
 * @module
 */

import type { Connection } from "../mod.ts";

const PIECE = 64 << 10;

// deno-lint-ignore no-explicit-any
type AnyConnection = Connection<any>;

/** What the other side needs for {@linkcode streamIn} and {@linkcode streamOut}. */
export const STREAMS = `
  function stream(size) {
    let left = size;
    return new ReadableStream({ type: "bytes", pull(c) {
      if (left <= 0) { c.close(); c.byobRequest?.respond(0); return; }
      const n = Math.min(left, ${PIECE}); left -= n; c.enqueue(new Uint8Array(n));
    } }, { highWaterMark: 0 });
  }
  async function drain(readable) { let n = 0; for await (const b of readable) n += b.length; return n; }
`;

/** Takes `size` bytes in. */
export async function streamIn(con: AnyConnection, size: number): Promise<void> {
  const stream = await con.eval(`stream(${size})`) as ReadableStream<Uint8Array>;
  let got = 0;
  for await (const bytes of stream) got += bytes.length;
  if (got !== size) throw new Error(`${got} bytes came`);
}

/** Sends `size` bytes. */
export async function streamOut(con: AnyConnection, size: number): Promise<void> {
  let left = size;
  const stream = new ReadableStream({
    pull(controller) {
      if (left <= 0) return controller.close();
      const piece = Math.min(left, PIECE);
      left -= piece;
      controller.enqueue(new Uint8Array(piece));
    },
  });
  const drain = await con.eval("drain") as (stream: ReadableStream) => Promise<number>;
  const got = await drain(stream);
  if (got !== size) throw new Error(`${got} bytes went`);
}
