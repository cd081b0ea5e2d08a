/**
 * A link between a client and a real server, or a real process, that breaks where a test wants it to.
 *
 * @module
 */

import { makeScript } from "./places.ts";
import type { LeakGuard } from "../support/leaks.ts";

/** Whose bytes are counted: the client's, or those for it. */
export type Direction = "from client" | "to client";

/** How a link breaks. */
export type Fault =
  /** Both ways end at once. */
  | "cut"
  /** Nothing passes any more, and nobody is told. */
  | "stalled"
  /** A process has its output closed, and stays. */
  | "closed";

/** Where and how a link breaks. */
export interface Break {
  readonly direction: Direction;
  readonly after: number;
  readonly fault: Fault;
}

/** Where a server is. */
export type Address = { readonly port: number } | { readonly path: string };

/** Passes the bytes of one connection on, until it breaks. */
export class FaultyLink implements AsyncDisposable {
  /** Where the client reaches it. */
  readonly address: Address;
  /** How many bytes have passed. */
  readonly passed: Record<Direction, number> = { "from client": 0, "to client": 0 };
  readonly #server: Address;
  readonly #break: Break | undefined;
  readonly #listener: Deno.Listener;
  readonly #conns = new Set<Deno.Conn>();
  readonly #passing: Promise<unknown>[] = [];
  #stalled = false;

  /** Listens, on the same kind of address as the server's. */
  constructor(server: Address, guard: LeakGuard, how?: Break) {
    this.#server = server;
    this.#break = how;
    const path = `${guard.folder}/link_${crypto.randomUUID().slice(0, 8)}`;
    this.#listener = "port" in server
      ? Deno.listen({ hostname: "127.0.0.1", port: 0 })
      : Deno.listen({ transport: "unix", path });
    this.address = "port" in server
      ? { port: (this.#listener.addr as Deno.NetAddr).port }
      : { path };
    this.#passing.push(this.#accept());
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      const server = await connectTo(this.#server);
      for (const conn of [client, server]) this.#conns.add(conn);
      this.#passing.push(this.#pass("from client", client, server));
      this.#passing.push(this.#pass("to client", server, client));
    }
  }

  async #pass(direction: Direction, from: Deno.Conn, to: Deno.Conn): Promise<void> {
    const rest = this.#break?.direction === direction ? this.#break.after : Infinity;
    const buffer = new Uint8Array(16 << 10);
    try {
      for (;;) {
        if (this.passed[direction] >= rest) return this.#fail();
        const length = await from.read(buffer);
        if (this.#stalled) return;
        if (length === null) break;
        const piece = buffer.subarray(0, Math.min(length, rest - this.passed[direction]));
        for (let at = 0; at < piece.length;) at += await to.write(piece.subarray(at));
        this.passed[direction] += piece.length;
      }
      await to.closeWrite();
    } catch {
      // One of the two is gone: so is the other.
      this.#end();
    }
  }

  #fail(): void {
    if (this.#break!.fault === "stalled") this.#stalled = true;
    else this.#end();
  }

  #end(): void {
    for (const conn of this.#conns) close(conn);
    this.#conns.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.#end();
    await Promise.all(this.#passing);
  }
}

async function connectTo(server: Address): Promise<Deno.Conn> {
  return "port" in server
    ? await Deno.connect({ hostname: "127.0.0.1", port: server.port })
    : await Deno.connect({ transport: "unix", path: server.path });
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It was closed by a read that failed.
  }
}

/**
 * The same for a process: an interpreter behind a shell that passes so many bytes. Then it ends its input, kills it,
 * closes its output, or sleeps.
 */
export function faultyInterpreter(
  guard: LeakGuard,
  interpreter: string,
  { direction, after, fault }: Break,
): Promise<string> {
  const pass = `stdbuf -o0 head -c ${after}`;
  if (direction === "from client") {
    const then = fault === "stalled" ? "; exec sleep 1000" : "";
    return makeScript(guard, `{ ${pass} <&3${then}; } | exec ${interpreter} "$@" 3<&0 0</dev/null`);
  }
  if (fault !== "closed") {
    const then = fault === "stalled" ? "exec sleep 1000" : "kill -9 0";
    return makeScript(
      guard,
      `{ exec ${interpreter} "$@" 4>&1 1>&2; } | { ${pass} >&4; ${then}; }`,
    );
  }
  // Nobody but the one who passes the bytes has the output, so that it can close it.
  const pipe = `${guard.folder}/pipe_${crypto.randomUUID().slice(0, 8)}`;
  return makeScript(
    guard,
    `mkfifo ${pipe}; ${interpreter} "$@" 4>${pipe} &\n` +
      `{ ${pass} <${pipe} >&4; exec 3<&- 4>&-; exec sleep 1000; } &\nexec 3<&- 4>&-; wait`,
  );
}
