/**
 * Functions made of their source, in a live JavaScript interpreter.
 *
 * @module
 */

import { IDENTIFIER, type Scope } from "./evaluate.ts";

/**
 * Makes a function of its source: an expression, a method's text, or a function's. It is strict, and sees the
 * global scope and the names that are given to it.
 */
export function compile(
  source: string,
  names: string[],
  values: unknown[],
  scope?: Scope,
): unknown {
  for (const name of names) {
    if (!IDENTIFIER.test(name)) {
      throw new TypeError(
        `Cannot compile with the name "${name}": it is not a name for a variable`,
      );
    }
  }
  const make = (text: string) => {
    const body = `"use strict";return (${text}\n)`;
    if (scope) {
      const factory = scope.expression(`function(${names.join()}){${body}}`) as (
        ...values: unknown[]
      ) => unknown;
      return factory(...values);
    }
    return new Function(...names, body)(...values);
  };
  try {
    return make(source);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const method = methodOf(source);
    if (method === undefined) throw error;
    let object: Record<string, unknown>;
    try {
      object = make(`{${method}}`) as Record<string, unknown>;
    } catch {
      throw error;
    }
    const [key] = Reflect.ownKeys(object);
    const value = key === undefined ? undefined : object[key as string];
    if (typeof value !== "function") throw error;
    return value;
  }
}

/**
 * The text of a method, as it may stand in an object: a computed name is replaced, because what it was computed from
 * is not here. `undefined` if it does not look like one.
 */
function methodOf(source: string): string | undefined {
  const head = /^\s*((?:async\s*(?=[\s*[\w$"'#]))?\s*\*?)\s*/.exec(source);
  if (!head) return undefined;
  const rest = source.slice(head[0].length);
  if (rest.startsWith("#")) return `${head[1]} ${rest.slice(1)}`;
  if (!rest.startsWith("[")) return `${head[1]} ${rest}`;
  const end = closingBracket(rest);
  return end < 0 ? undefined : `${head[1]} computed${rest.slice(end + 1)}`;
}

/** Where the bracket that opens a text is closed; quotes are skipped. */
function closingBracket(text: string): number {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '"' || char === "'" || char === "`") {
      for (i++; i < text.length && text[i] !== char; i++) if (text[i] === "\\") i++;
    } else if (char === "[") {
      depth++;
    } else if (char === "]" && --depth === 0) {
      return i;
    }
  }
  return -1;
}
