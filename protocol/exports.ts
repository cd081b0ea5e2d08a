/**
 * Who holds what. Every introduction of a reference is counted by both sides.
 *
 * The side that owns an object exports it: each time a message introduces it, the export's count
 * grows by one. The side that receives it imports it, and counts the same. An export is dead when all
 * its introductions are given back; its id is never used again. So a reference that is introduced anew while
 * a release is on its way stays alive, and one holder's release does not take it from another.
 *
 * @module
 */

import { ByRef, type RefOptions } from "./access.ts";
import { ProtocolError } from "./errors.ts";

/** An object of this side that the peer holds. */
export interface Export {
  readonly id: number;
  readonly value: unknown;
  /** How often it was introduced, less how often it was given back. */
  count: number;
  /** What the peer may do with its fields. */
  options: RefOptions | undefined;
  /** Called when the peer has given it back. */
  onRelease: (() => void) | undefined;
}

/** The objects of this side that the peer holds. */
export class Exports {
  readonly #byId = new Map<number, Export>();
  readonly #byValue = new Map<unknown, Export>();
  #lastId = 0;

  /** How many there are. */
  get size(): number {
    return this.#byId.size;
  }

  /** Counts one more introduction of a value, and gives its export. */
  introduce(value: unknown): Export {
    let options: RefOptions | undefined;
    if (value instanceof ByRef) ({ value, options } = value);
    let entry = this.#byValue.get(value);
    if (entry === undefined) {
      entry = { id: ++this.#lastId, value, count: 0, options: undefined, onRelease: undefined };
      this.#byId.set(entry.id, entry);
      this.#byValue.set(value, entry);
    }
    entry.count++;
    if (options) entry.options = { ...entry.options, ...options };
    return entry;
  }

  /** The export that the peer names, or a `ProtocolError`. */
  get(id: number): Export {
    const entry = this.#byId.get(id);
    if (entry === undefined) {
      throw new ProtocolError(`The peer used reference ${id}, which it does not hold`);
    }
    return entry;
  }

  /** The peer gives back some introductions. */
  release(id: number, count: number): void {
    const entry = this.get(id);
    if (!(count > 0) || count > entry.count) {
      throw new ProtocolError(
        `The peer gave back ${count} introductions of reference ${id}, and held ${entry.count}`,
      );
    }
    entry.count -= count;
    if (entry.count > 0) return;
    this.#byId.delete(id);
    this.#byValue.delete(entry.value);
    entry.onRelease?.();
  }

  /** Takes back an introduction that was never sent. */
  withdraw(entry: Export): void {
    this.release(entry.id, 1);
  }

  /** Forgets everything: the link is gone. */
  clear(): void {
    const entries = [...this.#byId.values()];
    this.#byId.clear();
    this.#byValue.clear();
    for (const entry of entries) entry.onRelease?.();
  }
}
