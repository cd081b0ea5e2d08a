/**
 * What one peer may do with the objects of the other: the trust rule, in one place.
 *
 * An *open* side (the agent) does whatever its caller says: that is what it is for. A *closed* side (the
 * caller) lets its peer do only this with what was passed to it:
 *
 * - call a function;
 * - on a class instance, call the public methods of its class chain below the first built-in
 *   prototype: never `constructor`, accessors, symbols, or names that begin with `_`;
 * - iterate over what has an iterator of its own, or of such a class;
 * - read its own fields only if it was passed with `byRef(value, { fields: true })`, and write them only
 *   with `{ writable: true }`; an accessor is no field.
 *
 * Built in is what the interpreter brings: the language's classes, and those of its globals and modules.
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

/** The peer asked for something that was not passed to it. */
export class AccessError extends Error {
  override readonly name = "AccessError";
}

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

/** Only what was passed, and only as it was passed. */
export const closed: Access = (target, path, how, args, options) => {
  if (path.length === 0) {
    if (how === How.call && typeof target === "function") {
      return Reflect.apply(target, undefined, args);
    }
    if (how === How.get && target instanceof Promise) return target;
    if (how === How.iterate) {
      const iterator = openIterator(target, options);
      if (iterator) return new Iteration(iterator);
    }
    throw refuse(how, kind(target));
  }
  const [key] = path;
  if (path.length > 1 || typeof key !== "string" || !isObject(target)) {
    throw refuse(how, `a property of ${kind(target)}`);
  }
  const what = `"${key}" of ${kind(target)}`;
  if (FORBIDDEN.has(key) || key.startsWith("_")) throw refuse(how, what);
  if (typeof target === "function" && OF_FUNCTIONS.has(key)) throw refuse(how, what);
  switch (how) {
    case How.call: {
      const method = publicMethod(target, key) ??
        (options?.fields ? ownFunction(target, key) : undefined);
      if (!method) throw refuse(how, what);
      return Reflect.apply(method, target, args);
    }
    case How.get: {
      const field = options?.fields && Object.getOwnPropertyDescriptor(target, key);
      if (!field || !("value" in field)) throw refuse(how, what);
      return field.value;
    }
    case How.has:
      if (!options?.fields) throw refuse(how, what);
      return Object.hasOwn(target, key);
    case How.set: {
      if (!options?.writable) throw refuse(how, what);
      const before = Object.getOwnPropertyDescriptor(target, key);
      // Own data fields only: an inherited setter would run code that was not passed.
      if (before && !("value" in before) || !before && key in target) throw refuse(how, what);
      if (!Reflect.set(target, key, args[0])) throw new TypeError(`Cannot set ${what}`);
      return undefined;
    }
    case How.delete:
      if (!options?.writable || !Object.hasOwn(target, key)) throw refuse(how, what);
      if (!Reflect.deleteProperty(target, key)) throw new TypeError(`Cannot delete ${what}`);
      return undefined;
  }
  throw refuse(how, what);
};

const FORBIDDEN = new Set(["constructor", "__proto__", "then"]);
/** What functions have, and nobody means by their fields. */
const OF_FUNCTIONS = new Set(["prototype", "arguments", "caller"]);

type Properties = Record<string, unknown>;

function publicMethod(target: object, key: string | symbol) {
  let prototype = Object.getPrototypeOf(target);
  while (prototype !== null && !isBuiltin(prototype)) {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, key);
    if (descriptor) {
      return typeof descriptor.value === "function" ? descriptor.value : undefined;
    }
    prototype = Object.getPrototypeOf(prototype);
  }
  return undefined;
}

/** Opens an iterator over what has one of its own; over what the language's classes hold only with `fields`. */
function openIterator(target: unknown, options: RefOptions | undefined) {
  if (typeof target !== "object" || target === null) return undefined;
  for (const symbol of [Symbol.asyncIterator, Symbol.iterator]) {
    const open = ownFunction(target, symbol) ?? publicMethod(target, symbol) ??
      (options?.fields ? (target as Record<symbol, unknown>)[symbol] : undefined);
    if (typeof open === "function") {
      return Reflect.apply(open, target, []) as AsyncIterator<unknown> | Iterator<unknown>;
    }
  }
  return undefined;
}

function ownFunction(target: object, key: string | symbol) {
  const value = Object.getOwnPropertyDescriptor(target, key)?.value;
  return typeof value === "function" ? value : undefined;
}

const source = Function.prototype.toString;

/** The names of the interpreter's own globals, as they were before any program could add to them. */
const GLOBALS = new Set(Object.getOwnPropertyNames(globalThis));

/** Where the classes of the interpreter's modules come from that programs extend. */
const MODULES: readonly (readonly [module: string, classes: RegExp])[] = [
  ["node:events", /^EventEmitter(AsyncResource)?$/],
  ["node:stream", /^(Stream|Readable|Writable|Duplex|Transform|PassThrough)$/],
  ["node:net", /^(Socket|Server|BlockList)$/],
  ["node:http", /^(Server|Agent|IncomingMessage|OutgoingMessage|ServerResponse|ClientRequest)$/],
  ["node:child_process", /^ChildProcess$/],
  ["node:worker_threads", /^(Worker|MessagePort|BroadcastChannel)$/],
  ["node:async_hooks", /^(AsyncResource|AsyncLocalStorage)$/],
];

/** Is this the prototype of one of the interpreter's own classes, or of none? */
function isBuiltin(prototype: object): boolean {
  const constructor = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  if (typeof constructor !== "function") return true;
  if (/\{\s*\[native code\]\s*\}\s*$/.test(source.call(constructor))) return true;
  const name = Object.getOwnPropertyDescriptor(constructor, "name")?.value;
  if (typeof name !== "string" || name === "") return false;
  const { Deno: deno, process } = globalThis as unknown as {
    Deno?: Properties;
    process?: { getBuiltinModule?: (name: string) => Properties | undefined };
  };
  // Much of what an interpreter brings is written in JavaScript: its source does not tell.
  if (GLOBALS.has(name) && (globalThis as unknown as Properties)[name] === constructor) return true;
  if (deno && Object.hasOwn(deno, name) && deno[name] === constructor) return true;
  for (const [module, classes] of MODULES) {
    if (classes.test(name) && process?.getBuiltinModule?.(module)?.[name] === constructor) {
      return true;
    }
  }
  return false;
}

const VERBS: Partial<Record<How, string>> = {
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

function refuse(how: How, what: string): AccessError {
  return new AccessError(
    `Cannot ${VERBS[how] ?? "use"} ${what}: it was not passed (see byRef and its options)`,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null || typeof value === "function";
}

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

function kind(value: unknown): string {
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
