/**
 * Two sessions joined in memory, by a link that can fragment, delay, hold up, stall and cut what it carries.
 *
 * @module
 */

import { open } from "../../protocol/access.ts";
import { closed } from "../../protocol/trust.ts";
import { ConnectionLostError } from "../../protocol/errors.ts";
import { makeStub } from "../../protocol/proxy.ts";
import { Session, type SessionOptions } from "../../protocol/session.ts";

/** One of the two ends: the caller, or the one that does as it is told. */
export type End = "client" | "agent";

/** How the link behaves. */
export interface LinkOptions {
  /** Hands the bytes over in pieces of at most so many; a function is asked for the length of each. */
  fragment?: number | (() => number);
  /** How many turns of the event loop the bytes are under way. Default: 1. */
  turns?: number;
  /** Takes the next bytes only when the last ones have arrived, as a slow pipe does. Default: no. */
  pressure?: boolean;
  /** Cuts the link when so many bytes of this end have been handed over. */
  cutAfter?: { from: End; bytes: number };
  /** Options of the caller's session. */
  client?: Partial<SessionOptions>;
  /** Options of the other one. */
  agent?: Partial<SessionOptions>;
  /** Sees what is sent before it is handed over. */
  tap?: (from: End, bytes: Uint8Array) => void;
}

/** A caller and an agent, joined. */
export class Pair implements AsyncDisposable {
  readonly client: Session;
  readonly agent: Session;
  readonly #options: LinkOptions;
  readonly #carried = { client: 0, agent: 0 };
  readonly #stalled = new Set<End>();
  readonly #held: (() => void)[] = [];
  #cut = false;
  #underWay = 0;

  /** Joins a caller to an agent that offers `root`. */
  constructor(root: unknown, options: LinkOptions = {}) {
    this.#options = options;
    this.agent = new Session({
      access: open,
      root,
      send: (bytes) => this.#carry("agent", bytes),
      ...options.agent,
    });
    this.client = new Session({
      access: closed,
      send: (bytes) => this.#carry("client", bytes),
      ...options.client,
    });
  }

  #carry(from: End, bytes: Uint8Array): void | Promise<void> {
    const copy = bytes.slice();
    this.#options.tap?.(from, copy);
    this.#underWay++;
    const { turns = 1, pressure } = this.#options;
    let arrived: (() => void) | undefined;
    const written = pressure ? new Promise<void>((resolve) => arrived = resolve) : undefined;
    const handOver = () => {
      if (this.#stalled.has(from)) {
        this.#held.push(handOver);
        return;
      }
      this.#handOver(from, copy);
      this.#underWay--;
      arrived?.();
    };
    // Tasks of their own, as if the bytes had crossed a wire.
    const wait = (left: number) => {
      if (left <= 0) handOver();
      else setImmediate(() => wait(left - 1));
    };
    setImmediate(() => wait(turns - 1));
    return written;
  }

  #handOver(from: End, bytes: Uint8Array): void {
    const to = from === "client" ? this.agent : this.client;
    const { fragment, cutAfter } = this.#options;
    for (let at = 0; at < bytes.length && !this.#cut;) {
      let size = (typeof fragment === "function" ? fragment() : fragment) ?? bytes.length;
      if (cutAfter?.from === from) size = Math.min(size, cutAfter.bytes - this.#carried[from]);
      const piece = bytes.slice(at, at + size);
      at += piece.length;
      this.#carried[from] += piece.length;
      if (piece.length > 0) to.receive(piece);
      if (cutAfter?.from === from && this.#carried[from] >= cutAfter.bytes) this.cut();
    }
  }

  /** The agent's root, as the client uses it. */
  // deno-lint-ignore no-explicit-any
  get root(): any {
    return makeStub(this.client.caller, null);
  }

  /** Resolves when everything that was sent has been handled, on both sides. */
  async fence(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await turn();
      const held = this.#held.length;
      const writing = held === 0 && (this.client.writing || this.agent.writing);
      if (this.#underWay > held || writing) quiet = 0;
      else quiet++;
    }
  }

  /** From now on nothing that `from` sends arrives, until {@linkcode Pair.resume}. */
  stall(from: End): void {
    this.#stalled.add(from);
  }

  /** What was held up arrives, in its order. */
  resume(): void {
    this.#stalled.clear();
    for (const handOver of this.#held.splice(0)) handOver();
  }

  /** The link breaks; both ends notice. */
  cut(): void {
    this.#cut = true;
    const reason = new ConnectionLostError("The link was cut");
    this.client.end(reason);
    this.agent.end(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    this.client.close();
    await this.fence();
    this.agent.close();
    await this.fence();
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Collects the unhandled rejections of `work` and of the turns that follow it. */
export async function unhandledDuring(work: () => unknown): Promise<unknown[]> {
  const seen: unknown[] = [];
  const listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    seen.push(event.reason);
  };
  globalThis.addEventListener("unhandledrejection", listener);
  try {
    await work();
    for (let i = 0; i < 20; i++) await turn();
  } finally {
    globalThis.removeEventListener("unhandledrejection", listener);
  }
  return seen;
}

/** What the caller's tables hold; all zero means that nothing is left. */
export function tables({ client, agent }: Pair): Record<string, number> {
  const { pending, localRefs, remoteRefs } = client.stats;
  const of = agent.stats;
  return {
    pending: pending + of.pending,
    working: client.working + agent.working,
    localRefs,
    remoteRefs,
    agentLocalRefs: of.localRefs,
    agentRemoteRefs: of.remoteRefs,
  };
}

/** What {@linkcode tables} gives where nothing is left. */
export const EMPTY_TABLES: Record<string, number> = {
  pending: 0,
  working: 0,
  localRefs: 0,
  remoteRefs: 0,
  agentLocalRefs: 0,
  agentRemoteRefs: 0,
};
