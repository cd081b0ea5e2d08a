/**
 * Two sessions joined in memory, with a link that can fragment, delay and cut.
 *
 * @module
 */

import { closed, open } from "../../protocol/access.ts";
import { ConnectionLostError } from "../../protocol/errors.ts";
import { Session, type SessionOptions } from "../../protocol/session.ts";

/** How the link behaves. */
export interface LinkOptions {
  /** Hands over the bytes in pieces of at most so many. */
  fragment?: number;
  /** Options of the caller's session. */
  client?: Partial<SessionOptions>;
  /** Options of the other one. */
  agent?: Partial<SessionOptions>;
  /** Sees every frame before it is handed over. */
  tap?: (from: "client" | "agent", bytes: Uint8Array) => void;
}

/** A caller and an agent, joined. */
export class Pair implements AsyncDisposable {
  readonly client: Session;
  readonly agent: Session;
  #cut = false;
  #queue = 0;
  #idle: (() => void)[] = [];

  constructor(root: unknown, options: LinkOptions = {}) {
    const deliver = (from: "client" | "agent", bytes: Uint8Array) => {
      const copy = bytes.slice();
      options.tap?.(from, copy);
      this.#queue++;
      // A task of its own, as if it had crossed a wire.
      setImmediate(() => {
        const to = from === "client" ? this.agent : this.client;
        const size = options.fragment ?? copy.length;
        for (let at = 0; at < copy.length && !this.#cut; at += size) {
          to.receive(copy.slice(at, at + size));
        }
        this.#queue--;
        if (this.#queue === 0) setImmediate(() => this.#settle());
      });
    };
    this.agent = new Session({
      access: open,
      root,
      send: (bytes) => deliver("agent", bytes),
      ...options.agent,
    });
    this.client = new Session({
      access: closed,
      send: (bytes) => deliver("client", bytes),
      ...options.client,
    });
  }

  #settle(): void {
    if (this.#queue > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** Resolves when everything that was sent has been handled, on both sides. */
  async fence(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#queue > 0 || this.client.writing || this.agent.writing) quiet = 0;
      else quiet++;
    }
  }

  /** The link breaks. */
  cut(): void {
    this.#cut = true;
    const reason = new ConnectionLostError("The link was cut");
    this.client.end(reason);
    this.agent.end(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.fence();
    this.agent.close();
    await this.fence();
  }
}

/** The agent's root, as the client uses it. */
// deno-lint-ignore no-explicit-any
export function rootOf(pair: Pair): any {
  return makeStub(pair.client.caller, null, []);
}

import { makeStub } from "../../protocol/proxy.ts";
