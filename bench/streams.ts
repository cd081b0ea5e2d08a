/**
 * The streams that the benches send through a connection: from memory that is used again, as the floors do, or in new
 * pieces, as most programs make them.
 *
 * @module
 */

import type { Connection } from "../mod.ts";

const PIECE = 256 << 10;
const NEW_PIECE = 64 << 10;
const piece = new Uint8Array(PIECE).fill(7);

// deno-lint-ignore no-explicit-any
type AnyConnection = Connection<any>;

/** What the other side needs for {@linkcode streamIn} and {@linkcode streamOut}. */
export const STREAMS = `
  const piece = new Uint8Array(${PIECE}).fill(7);
  function stream(size, fresh) {
    let left = size;
    return new ReadableStream({ pull(c) {
      if (left <= 0) return c.close();
      const n = Math.min(left, fresh ? ${NEW_PIECE} : ${PIECE}); left -= n;
      c.enqueue(fresh ? new Uint8Array(n) : piece.subarray(0, n));
    } }, { highWaterMark: 0 });
  }
  async function drain(readable) { let n = 0; for await (const b of readable) n += b.length; return n; }
`;

/** Takes `size` bytes in. */
export async function streamIn(con: AnyConnection, size: number, fresh = false): Promise<void> {
  const stream = await con.eval(`stream(${size}, ${fresh})`) as ReadableStream<Uint8Array>;
  let got = 0;
  for await (const bytes of stream) got += bytes.length;
  if (got !== size) throw new Error(`${got} bytes came`);
}

/** Sends `size` bytes. */
export async function streamOut(con: AnyConnection, size: number, fresh = false): Promise<void> {
  let left = size;
  const stream = new ReadableStream({
    pull(controller) {
      if (left <= 0) return controller.close();
      const length = Math.min(left, fresh ? NEW_PIECE : PIECE);
      left -= length;
      controller.enqueue(fresh ? new Uint8Array(length) : piece.subarray(0, length));
    },
  }, { highWaterMark: 0 });
  const drain = await con.eval("drain") as (stream: ReadableStream) => Promise<number>;
  const got = await drain(stream);
  if (got !== size) throw new Error(`${got} bytes went`);
}
