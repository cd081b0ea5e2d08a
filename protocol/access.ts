/**
 * What one peer does with the objects of the other.
 *
 * An *open* side (the agent) does whatever its caller says: that is what it is for. What a *closed* side (the caller) lets
 * its peer do, `trust.ts` says.
 *
 * @module
 */

import { How, type Path } from "./messages.ts";

/** What `byRef` opens of an object. */
export interface RefOptions {
  /** May the peer read the object's own fields? Default: no. */
  fields?: boolean;
  /** May the peer write the object's own fields? Default: no. */
  writable?: boolean;
}

/** A value marked to go by reference. */
export class ByRef {
  /** The value itself. */
  readonly value: object;
  /** What is opened of it. */
  readonly options: RefOptions;

  /** Marks `value`. */
  constructor(value: object, options: RefOptions) {
    this.value = value;
    this.options = options;
  }
}

/** An object that reads its properties in a way of its own: `modules`, a scope. */
export const STEP: unique symbol = Symbol("pushy.step");

/** What has a {@linkcode STEP}. */
export interface Stepping {
  [STEP](how: How, key: string, args: unknown[]): unknown;
}

type Properties = Record<string, unknown>;

/** How a side treats what its peer asks of its objects. */
export type Access = (
  target: unknown,
  path: Path,
  how: How,
  args: unknown[],
  options: RefOptions | undefined,
) => unknown;

/** The caller may do anything. A step that gives a promise is waited for. */
export const open: Access = (target, path, how, args) => {
  const last = path.length - 1;
  let current = target;
  for (let i = 0; i < last; i++) {
    current = step(current, path[i]!);
    if (isThenable(current)) {
      return Promise.resolve(current).then((value) =>
        open(value, path.slice(i + 1), how, args, undefined)
      );
    }
  }
  return last < 0 ? finishOnSelf(current, how, args) : finish(current, path[last]!, how, args);
};

function step(object: unknown, key: string): unknown {
  if (object === undefined || object === null) {
    throw new TypeError(`Cannot read property "${key}" of ${object}`);
  }
  const stepping = (object as Partial<Stepping>)[STEP];
  return stepping ? stepping.call(object, How.get, key, []) : (object as Properties)[key];
}

function finishOnSelf(target: unknown, how: How, args: unknown[]): unknown {
  switch (how) {
    case How.get:
      return target;
    case How.call:
      if (typeof target !== "function") throw new TypeError(`${kind(target)} is not a function`);
      return Reflect.apply(target, undefined, args);
    case How.construct:
      if (typeof target !== "function") throw new TypeError(`${kind(target)} is not a constructor`);
      return Reflect.construct(target, args);
    case How.keys:
      return keysOf(target);
    case How.iterate:
      return iterate(target);
    case How.dispose:
      return dispose(target);
    case How.copy:
      return copyOf(target);
    default:
      throw new TypeError("A property is missing");
  }
}

function finish(object: unknown, key: string, how: How, args: unknown[]): unknown {
  if (how === How.get) return step(object, key);
  if (object === undefined || object === null) {
    throw new TypeError(`Cannot ${VERBS[how] ?? "use"} property "${key}" of ${object}`);
  }
  const stepping = (object as Partial<Stepping>)[STEP];
  if (stepping) {
    if (how === How.set || how === How.delete || how === How.has) {
      return stepping.call(object, how, key, args);
    }
    const value = stepping.call(object, How.get, key, []);
    return isThenable(value)
      ? Promise.resolve(value).then((settled) => finishOnSelf(settled, how, args))
      : finishOnSelf(value, how, args);
  }
  const properties = object as Properties;
  switch (how) {
    case How.call: {
      const method = properties[key];
      if (typeof method === "function") return Reflect.apply(method, object, args);
      if (isThenable(method)) {
        return Promise.resolve(method).then((value) => finishOnSelf(value, how, args));
      }
      throw new TypeError(`${kind(object)} has no method "${key}"`);
    }
    case How.set:
      // Reflect.set tells of a failure, in sloppy code too.
      if (!Reflect.set(Object(object), key, args[0])) {
        throw new TypeError(`Cannot set property "${key}" of ${kind(object)}`);
      }
      return undefined;
    case How.delete:
      if (!Reflect.deleteProperty(Object(object), key)) {
        throw new TypeError(`Cannot delete property "${key}" of ${kind(object)}`);
      }
      return undefined;
    case How.has:
      return key in Object(object);
    default: {
      const value = properties[key];
      return isThenable(value)
        ? Promise.resolve(value).then((settled) => finishOnSelf(settled, how, args))
        : finishOnSelf(value, how, args);
    }
  }
}

/** What is done, in words. */
export const VERBS: Partial<Record<How, string>> = {
  [How.get]: "read",
  [How.call]: "call",
  [How.construct]: "construct",
  [How.set]: "set",
  [How.delete]: "delete",
  [How.has]: "look for",
  [How.keys]: "list",
  [How.iterate]: "iterate over",
  [How.dispose]: "dispose of",
  [How.copy]: "copy",
};

/** Is this a promise, or something that `await` would take for one? */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (typeof value === "object" && value !== null || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function";
}

/** A value that is to cross as a live iterator, whatever else it is. */
export class Iteration {
  /** The iterator that the peer asked for. */
  readonly iterator: AsyncIterator<unknown> | Iterator<unknown>;

  /** Wraps an iterator. */
  constructor(iterator: AsyncIterator<unknown> | Iterator<unknown>) {
    this.iterator = iterator;
  }
}

function iterate(target: unknown): unknown {
  if (isThenable(target)) return Promise.resolve(target).then(iterate);
  const iterable = target as Partial<AsyncIterable<unknown> & Iterable<unknown>> | null | undefined;
  const open = iterable?.[Symbol.asyncIterator] ?? iterable?.[Symbol.iterator];
  if (typeof open !== "function") throw new TypeError(`${kind(target)} is not iterable`);
  return new Iteration(Reflect.apply(open, target, []));
}

function dispose(target: unknown): unknown {
  const object = target as Partial<AsyncDisposable & Disposable> | null | undefined;
  // Interpreters without these symbols have no objects that know them.
  const symbols = [Symbol.asyncDispose, Symbol.dispose] as (symbol | undefined)[];
  for (const symbol of symbols) {
    const method = symbol && (object as Record<symbol, unknown> | null | undefined)?.[symbol];
    if (typeof method === "function") {
      return Promise.resolve(Reflect.apply(method, object, [])).then(() => undefined);
    }
  }
  return undefined;
}

function copyOf(target: unknown): unknown {
  if (typeof target !== "object" && typeof target !== "function" || target === null) return target;
  return Object.fromEntries(Object.entries(target));
}

function keysOf(target: unknown): string[] {
  const stepping = (target as Partial<Stepping> | null | undefined)?.[STEP];
  if (stepping) return stepping.call(target as Stepping, How.keys, "", []) as string[];
  return Object.getOwnPropertyNames(Object(target));
}

/** A few words on what somebody wants to use. */
export function kind(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "function") return value.name ? `function ${value.name}` : "a function";
  if (typeof value !== "object") return `a ${typeof value}`;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  let name = tag;
  try {
    const constructor = Object.getPrototypeOf(value)?.constructor;
    if (tag === "Object" && typeof constructor === "function" && constructor.name) {
      name = constructor.name;
    }
  } catch {
    // A hostile prototype: the tag has to do.
  }
  return `${name} object`;
}
