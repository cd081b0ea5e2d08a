/**
 * How remote values are printed: by the remote interpreter itself, so that they look as they do there.
 *
 * @module
 */

import type { Connection } from "../mod.ts";

/** Gives the text of a value that may still be on its way: one round trip for both. `signal` ends the wait. */
export type Show = (value: unknown, signal: AbortSignal) => Promise<string>;

/** Waits for a promise, but not beyond the signal. */
function before<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/**
 * Makes what shows values of a connection.
 *
 * @param colours whether terminal escapes for colours are used
 * @param quote whether a string is shown as in source, or as it is
 */
export function showWith(con: Connection, colours: boolean, quote: boolean): Show {
  if (con.interpreter.runtime === "python") {
    const source = quote ? "lambda v: repr(v)" : "lambda v: v if isinstance(v, str) else repr(v)";
    const show = con.compile(source) as unknown as (value: unknown) => Promise<string>;
    return (value, signal) => before(signal, show(value));
  }
  const show = con.compile(
    `(value, inspect, colors, quote) =>
      typeof value === "string" && !quote ? value : inspect(value, { colors, depth: 4 })`,
  ) as unknown as (...args: unknown[]) => Promise<string>;
  // deno-lint-ignore no-explicit-any
  const { globals, modules } = con as Connection<any>;
  const inspect = con.interpreter.runtime === "deno"
    ? globals.Deno.inspect
    : con.interpreter.runtime === "bun"
    ? globals.Bun.inspect
    : modules.util.inspect;
  return (value, signal) => before(signal, show(value, inspect, colours, quote));
}

/** The JSON of a value, or an error that says what has none. */
export function jsonOf(value: unknown): string {
  const text = JSON.stringify(value, (_key, part) => {
    if (typeof part === "bigint") {
      return Number.isSafeInteger(Number(part)) ? Number(part) : `${part}`;
    }
    if (part instanceof Map) return Object.fromEntries(part);
    if (part instanceof Set) return [...part];
    if (part instanceof Uint8Array) return [...part];
    return part;
  });
  return text ?? "null";
}
