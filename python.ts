/**
 * Short forms for a Python peer: what Python's syntax has and TypeScript's has not.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { item, len, slice } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * const queue = await py.modules.collections.deque([1, 2, 3]);
 * console.log(await len(queue)); // 3
 * console.log(await item(queue, -1)); // 3
 * console.log(await item("abcdef", slice(1, 3), py)); // bc
 * ```
 *
 * @module
 */

import type { Connection } from "./client/connection.ts";
import { How } from "./protocol/messages.ts";
import { type Caller, makeStub, resultStub, stubInfo, Way } from "./protocol/proxy.ts";

/** What Python gives has no types here. */
// deno-lint-ignore no-explicit-any
export type Anything = any;
/** A connection to Python. It is only needed where no argument is a remote object. */
export type Python = Connection<"python">;

/**
 * The length of a Python object: `len(value)`.
 *
 * Resolves to a number. Rejects with a `RemoteError` of type `TypeError` for what has no length, and throws a
 * `TypeError` if `value` is nothing remote and no connection is given.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { len } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * console.log(await len(py.eval("range(10)"))); // 10
 * ```
 */
export function len(value: unknown, connection?: Python): Promise<number> {
  return call(["builtins", "len"], [value], connection) as Promise<number>;
}

/**
 * What Python shows of an object to a user: `str(value)`. Resolves to a string.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { str } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * console.log(await str(py.modules.fractions.Fraction(1, 3))); // 1/3
 * ```
 */
export function str(value: unknown, connection?: Python): Promise<string> {
  return call(["builtins", "str"], [value], connection) as Promise<string>;
}

/**
 * What Python shows of an object to a programmer: `repr(value)`. Resolves to a string.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { repr } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * console.log(await repr(py.modules.fractions.Fraction(1, 3))); // Fraction(1, 3)
 * ```
 */
export function repr(value: unknown, connection?: Python): Promise<string> {
  return call(["builtins", "repr"], [value], connection) as Promise<string>;
}

/**
 * What stands in a container under a key: `value[key]`. The key may be a {@linkcode slice}, or anything else.
 *
 * What it gives is a promise that can be used before it resolves. It rejects with a `RemoteError` of type
 * `IndexError` or `KeyError` where nothing is there.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { item, slice } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * const numbers = await py.eval("range(10)");
 * console.log(await item(numbers, -1)); // 9
 * console.log(await py.builtins.list(item(numbers, slice(1, 8, 3)))); // [1, 4, 7]
 * ```
 */
export function item(value: unknown, key: unknown, connection?: Python): Anything {
  return call(["modules", "operator", "getitem"], [value, key], connection);
}

/**
 * Puts something into a container: `container[key] = value`. Resolves when it is there.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { item, setItem } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * const queue = await py.modules.collections.deque([1, 2, 3]);
 * await setItem(queue, 0, "first");
 * console.log(await item(queue, 0)); // first
 * ```
 */
export async function setItem(container: unknown, key: unknown, value: unknown): Promise<void> {
  await call(["modules", "operator", "setitem"], [container, key, value], undefined);
}

/**
 * Removes something from a container: `del container[key]`. Resolves when it is gone.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { deleteItem, len } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * const queue = await py.modules.collections.deque([1, 2, 3]);
 * await deleteItem(queue, 0);
 * console.log(await len(queue)); // 2
 * ```
 */
export async function deleteItem(container: unknown, key: unknown): Promise<void> {
  await call(["modules", "operator", "delitem"], [container, key], undefined);
}

/** A part of a sequence, for {@linkcode item}: made by {@linkcode slice}. */
export class Slice {
  /** `start`, `stop` and `step`; `null` is what Python takes for it by default. */
  readonly parts: readonly [number | null, number | null, number | null];

  /** See {@linkcode slice}. */
  constructor(start: number | null, stop: number | null, step: number | null) {
    this.parts = [start, stop, step];
  }
}

/**
 * A part of a sequence: `slice(1, 3)` is Python's `1:3`, and `slice(null, null, -1)` is `::-1`.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 * import { item, slice } from "@pushy/core/python";
 *
 * await using py = await connect("local:", { runtime: "python" });
 * const text = py.builtins.str("backwards");
 * console.log(await item(text, slice(null, null, -1))); // sdrawkcab
 * ```
 */
export function slice(
  start: number | null,
  stop: number | null = null,
  step: number | null = null,
): Slice {
  return new Slice(start, stop, step);
}

function call(path: string[], args: unknown[], connection: Python | undefined): Anything {
  const caller = callerOf(args, connection);
  const sent = args.map((arg) =>
    arg instanceof Slice
      ? resultStub(caller, caller.call(null, ["builtins", "slice"], How.call, [...arg.parts]))
      : arg
  );
  return (makeStub(caller, null, new Way(path)) as Anything)(...sent);
}

function callerOf(args: readonly unknown[], connection: Python | undefined): Caller {
  for (const value of [...args, connection?.builtins]) {
    const info = stubInfo(value);
    if (info) return info.caller;
  }
  throw new TypeError(
    "Cannot tell which Python is meant: none of the arguments is remote. Give the connection as well",
  );
}
