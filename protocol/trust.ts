/**
 * What a peer that is not trusted may do with the objects of this side: the trust rule, in one place.
 *
 * A *closed* side (the caller) lets its peer do only this with what was passed to it:
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

import { type Access, Iteration, kind, type RefOptions, VERBS } from "./access.ts";
import { How } from "./messages.ts";

/** The peer asked for something that was not passed to it. */
export class AccessError extends Error {
  override readonly name = "AccessError";
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

function refuse(how: How, what: string): AccessError {
  return new AccessError(
    `Cannot ${VERBS[how] ?? "use"} ${what}: it was not passed (see byRef and its options)`,
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null || typeof value === "function";
}
