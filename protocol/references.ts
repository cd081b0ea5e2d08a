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
