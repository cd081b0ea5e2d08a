/**
 * What a user holds of the other side: a reference, the promise of a call's result, or a path of properties that was
 * not read yet. Each is a function behind a proxy, so that it can be called, constructed and looked into.
 *
 * Nothing is sent until a stub is called, awaited, assigned to or iterated over.
 *
 * @module
 */

import type { Question, Result } from "./questions.ts";
import { How, type Path } from "./messages.ts";
import type { Import } from "./imports.ts";

/** What stands at the start of a stub's path: the peer's root (`null`), an object, or a call's result. */
export type Base = Import | Result | null;

/** What a stub needs of its session. */
export interface Caller {
  /** Sends a call. It never throws: what is wrong with it is its error. */
  call(base: Base, path: Path, how: How, args: unknown[], wanted?: boolean): Result;
  /** Asks for a call's value. */
  pull(question: Question): Promise<unknown>;
  /** Opens an iterator. */
  iterate(base: Base, path: Path): AsyncIterator<unknown>;
  /** Gives a reference, or a result, back. */
  release(base: Base): void;
  /** Makes a stub for an object of the peer's. */
  reference(entry: Import, label: string): object;
  /** Which session this is: two callers of one session are alike. */
  readonly session: object;
}

/** What is known of a stub. */
export interface StubInfo {
  readonly caller: Caller;
  readonly base: Base;
  readonly path: Path;
  /** `"reference"`: it has arrived; `"promise"`: it is still a promise. */
  readonly kind: "reference" | "promise";
  /** What it is, as of when it was made. */
  readonly label: string;
}

/** The key under which a stub tells this module, and nobody else, what it is. */
const INFO = Symbol("pushy.stub");

/** What is known of a stub, or `undefined` if this is none. */
export function stubInfo(value: unknown): StubInfo | undefined {
  if (typeof value !== "function") return undefined;
  const info = (value as unknown as Record<symbol, unknown>)[INFO];
  return info instanceof StubHandler ? info : undefined;
}

const INSPECT = [Symbol.for("Deno.customInspect"), Symbol.for("nodejs.util.inspect.custom")];

/** What `console.log` and `String()` show of a stub. It costs no round trip. */
function makeTarget(label: string): () => void {
  // A bound function can be constructed too, and has no `prototype` of its own, which could not be deleted.
  const target = function () {}.bind(null);
  // The target's own name and prototype would otherwise be shown, and would be wrong.
  for (const symbol of INSPECT) {
    Object.defineProperty(target, symbol, { value: () => label, configurable: true });
  }
  return target;
}

const PROMISE_TARGET = makeTarget("[remote promise]");

/** A path, and the longer one that was last made of it: most programs go the same way again and again. */
export class Way {
  /** The names of the properties. */
  readonly path: Path;
  #key = "";
  #longer: Way | undefined;

  /** A way that nobody has gone on from. */
  constructor(path: Path) {
    this.path = path;
  }

  /** One property further. */
  to(key: string): Way {
    if (this.#longer !== undefined && this.#key === key) return this.#longer;
    const longer = new Way([...this.path, key]);
    // One that goes on and on, along a list say, is nobody's habit, nor is a module's whole text: both would be kept.
    if (this.path.length < HABIT && key.length < HABIT_NAME) {
      this.#key = key;
      this.#longer = longer;
    }
    return longer;
  }
}

/** A longer path is not remembered, nor one with a longer name. */
const HABIT = 8;
const HABIT_NAME = 100;

/** The way to where one stands. */
const HERE = new Way(Object.freeze([]));

class StubHandler implements ProxyHandler<() => void>, StubInfo {
  readonly caller: Caller;
  readonly base: Base;
  readonly path: Path;
  readonly label: string;
  readonly kind: "reference" | "promise";
  readonly #way: Way;
  #read: Result | undefined;

  constructor(caller: Caller, base: Base, way: Way, kind: StubInfo["kind"], label: string) {
    this.caller = caller;
    this.base = base;
    this.#way = way;
    this.path = way.path;
    this.kind = kind;
    this.label = label;
  }

  /** The promise of what the stub stands for; a property is read once. */
  promise(): Promise<unknown> {
    if (this.path.length === 0 && this.base !== null && "question" in this.base) {
      return this.caller.pull(this.base.question);
    }
    this.#read ??= this.caller.call(this.base, this.path, How.get, [], true);
    return this.caller.pull(this.#read.question);
  }

  get(_target: unknown, key: string | symbol): unknown {
    if (typeof key === "string") {
      if (this.kind === "promise") {
        switch (key) {
          case "then":
            return (onFulfilled?: Fulfilled, onRejected?: Rejected) =>
              this.promise().then(onFulfilled, onRejected);
          case "catch":
            return (onRejected?: Rejected) => this.promise().catch(onRejected);
          case "finally":
            return (onFinally?: () => void) => this.promise().finally(onFinally);
        }
      } else if (key === "then") {
        return undefined;
      }
      return makeStub(this.caller, this.base, this.#way.to(key));
    }
    switch (key) {
      case INFO:
        return this;
      case Symbol.asyncIterator:
        return () => this.caller.iterate(this.base, this.path);
      case Symbol.dispose:
        return () => this.#release();
      case Symbol.asyncDispose:
        return async () => {
          if (this.base === null) return;
          try {
            await this.caller.pull(
              this.caller.call(this.base, this.path, How.dispose, [], true).question,
            );
          } finally {
            this.#release();
          }
        };
      case Symbol.toPrimitive:
        return () => this.label;
      case Symbol.toStringTag:
        return "Remote";
    }
    return undefined;
  }

  /** Gives back what the stub itself holds: what its path starts from belongs to another stub. */
  #release(): void {
    if (this.path.length === 0) this.caller.release(this.base);
    else if (this.#read) this.caller.release(this.#read);
  }

  apply(_target: unknown, _this: unknown, args: unknown[]): unknown {
    // JSON.stringify calls it so, and cannot wait for what another side has to say.
    if (this.path.at(-1) === "toJSON" && args.length === 1 && typeof args[0] === "string") {
      throw new TypeError(
        "Cannot make JSON of a reference to a remote object: its fields are not here (await copy(object) brings them)",
      );
    }
    return resultStub(this.caller, this.caller.call(this.base, this.path, How.call, args));
  }

  construct(_target: unknown, args: unknown[]): object {
    return resultStub(this.caller, this.caller.call(this.base, this.path, How.construct, args));
  }

  set(_target: unknown, key: string | symbol, value: unknown): boolean {
    // The assignment itself cannot wait: if it fails, that is an unhandled rejection, never silence.
    this.caller.call(this.base, [...this.path, name(key)], How.set, [value]);
    return true;
  }

  deleteProperty(_target: unknown, key: string | symbol): boolean {
    this.caller.call(this.base, [...this.path, name(key)], How.delete, []);
    return true;
  }

  has(_target: unknown, key: string | symbol): boolean {
    if (typeof key === "symbol") return key === Symbol.asyncIterator;
    throw new TypeError(
      `Cannot use "in" on a remote object: it would have to wait. Use await has(object, "${key}")`,
    );
  }

  ownKeys(target: () => void): (string | symbol)[] {
    return Reflect.ownKeys(target);
  }

  defineProperty(): boolean {
    throw new TypeError("Cannot define a property of a remote object from here: assign to it");
  }

  getPrototypeOf(): object {
    return Function.prototype;
  }

  setPrototypeOf(): boolean {
    return false;
  }

  preventExtensions(): boolean {
    return false;
  }
}

type Fulfilled = (value: unknown) => unknown;
type Rejected = (error: unknown) => unknown;

function name(key: string | symbol): string {
  if (typeof key === "string") return key;
  throw new TypeError(
    `Cannot reach the property ${String(key)} of a remote object: it is a symbol`,
  );
}

/** A stub for what is at the end of a way: nothing is sent by making it. */
export function makeStub(caller: Caller, base: Base, way: Way = HERE): object {
  return wrap(new StubHandler(caller, base, way, "promise", "[remote promise]"), PROMISE_TARGET);
}

/** A stub for the result of a call. */
export function resultStub(caller: Caller, result: Result): object {
  return makeStub(caller, result);
}

/** A stub for an object of the peer's. */
export function referenceStub(caller: Caller, entry: Import, label: string): object {
  return wrap(new StubHandler(caller, entry, HERE, "reference", label), makeTarget(label));
}

function wrap(handler: StubHandler, target: () => void): object {
  return new Proxy(target, handler as ProxyHandler<() => void>);
}
