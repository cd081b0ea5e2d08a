/**
 * Calls that are not over, by their number.
 *
 * Most are over before many others have begun: those are found in a few places that are used again. A map in which each
 * entry is soon deleted again is made anew after every few, and what it was keeps alive what it becomes.
 *
 * @module
 */

const PLACES = 32;

/** What has numbers that are given in turn. */
export class ById<T extends { readonly id: number }> {
  readonly #recent: (T | undefined)[] = Array.from({ length: PLACES });
  /** Those that others have taken the places of. */
  readonly #older = new Map<number, T>();
  #size = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** Adds one whose number is new. */
  add(item: T): void {
    const place = item.id % PLACES;
    const before = this.#recent[place];
    if (before !== undefined) this.#older.set(before.id, before);
    this.#recent[place] = item;
    this.#size++;
  }

  /** The one with this number, if there is one. */
  get(id: number): T | undefined {
    const item = this.#recent[id % PLACES];
    return item !== undefined && item.id === id ? item : this.#older.get(id);
  }

  /** Takes the one with this number out, if there is one. */
  take(id: number): T | undefined {
    const item = this.get(id);
    if (item === undefined) return undefined;
    const place = id % PLACES;
    if (this.#recent[place] === item) this.#recent[place] = undefined;
    else this.#older.delete(id);
    this.#size--;
    return item;
  }

  /** All of them. */
  values(): T[] {
    return [...this.#older.values(), ...this.#recent.filter((item) => item !== undefined)];
  }

  /** Takes all out. */
  clear(): void {
    this.#recent.fill(undefined);
    this.#older.clear();
    this.#size = 0;
  }
}
