/**
 * The objects of the peer that this side holds: how each is counted, `exports.ts` says.
 *
 * @module
 */

import { ProtocolError } from "./errors.ts";

/** An object of the peer that this side holds. */
export interface Import {
  readonly id: number;
  /** What stands for it here. It is weak: when nobody uses it, it is given back. */
  stub: WeakRef<object> | undefined;
  /** How often it was introduced, less how often it was given back. */
  count: number;
}

/** The objects of the peer that this side holds. */
export class Imports {
  readonly #byId = new Map<number, Import>();
  readonly #collected: FinalizationRegistry<Import>;
  readonly #limit: number;

  /** `onCollected` is told of introductions that were dropped without being released. */
  constructor(limit: number, onCollected: (id: number, count: number) => void) {
    this.#limit = limit;
    this.#collected = new FinalizationRegistry((entry) => {
      if (this.#byId.get(entry.id) === entry) this.#byId.delete(entry.id);
      const { count } = entry;
      entry.count = 0;
      if (count > 0) onCollected(entry.id, count);
    });
  }

  /** How many there are. */
  get size(): number {
    return this.#byId.size;
  }

  /** Is this one of them, alive? */
  has(entry: Import): boolean {
    return this.#byId.get(entry.id) === entry && entry.count > 0;
  }

  /** What stands for the peer's object, if it is still held. */
  stub(id: number): object | undefined {
    return this.#byId.get(id)?.stub?.deref();
  }

  /** Counts one more introduction of the peer's object, and gives what stands for it. */
  introduce(id: number, make: (entry: Import) => object): object {
    const known = this.#byId.get(id);
    const stub = known?.stub?.deref();
    if (known && stub) {
      known.count++;
      return stub;
    }
    if (this.#byId.size >= this.#limit) {
      throw new ProtocolError(
        `The peer sent more than ${this.#limit} references (limits.references)`,
      );
    }
    const entry: Import = { id, stub: undefined, count: 1 };
    const made = make(entry);
    entry.stub = new WeakRef(made);
    this.#byId.set(id, entry);
    this.#collected.register(made, entry);
    return made;
  }

  /** Gives back one introduction; says whether the reference is dead here now. */
  release(entry: Import): boolean {
    if (entry.count <= 0) return true;
    entry.count--;
    if (entry.count === 0 && this.#byId.get(entry.id) === entry) this.#byId.delete(entry.id);
    return entry.count === 0;
  }

  /** Forgets everything: the link is gone. */
  clear(): void {
    for (const entry of this.#byId.values()) entry.count = 0;
    this.#byId.clear();
  }
}
