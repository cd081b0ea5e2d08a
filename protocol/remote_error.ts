/**
 * What the remote threw, as it is thrown here.
 *
 * @module
 */

import { type ErrorParts, NOT_PROPERTIES } from "./errors.ts";
import { printable } from "./text.ts";

/**
 * What a call rejects with when the code that it ran threw an error.
 *
 * The remote error's own plain properties (`code`, `errno`, …) are properties of this one.
 *
 * @example
 * ```ts
 * import { connect, RemoteError } from "@pushy/core";
 *
 * await using con = await connect("local:");
 * try {
 *   await con.eval("null.x");
 * } catch (error) {
 *   if (!(error instanceof RemoteError)) throw error;
 *   console.log(error.type); // TypeError
 * }
 * ```
 */
export class RemoteError extends Error {
  /** The name of the remote error's class: `"TypeError"`, `"FileNotFoundError"`. */
  readonly type: string;
  /** The stack, or traceback, of the remote side. */
  readonly remoteStack: string;
  /** The errors of a remote `AggregateError` or `ExceptionGroup`. */
  declare readonly errors?: unknown[];
  /** The remote error's own plain properties. */
  [property: string]: unknown;

  /** Makes the error of what arrived. */
  constructor(parts: ErrorParts) {
    super(printable(parts.message), "cause" in parts ? { cause: parts.cause } : undefined);
    this.type = printable(parts.type);
    define(this, "name", this.type);
    // The agent's own frames tell a user nothing.
    this.remoteStack = printable(parts.stack).split("\n")
      .map((line) => line.replace(EVALUATED, "($1)"))
      .filter((line) => !AGENT_FRAME.test(line)).join("\n");
    for (const key of Object.keys(parts.properties)) {
      const name = printable(key);
      if (!NOT_PROPERTIES.has(name)) {
        Object.defineProperty(this, name, {
          value: parts.properties[key],
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
    }
    if (parts.errors) define(this, "errors", parts.errors);
    addLocalStack(this, undefined);
  }
}

/** What was thrown, of its parts. */
export const thrown = (parts: ErrorParts): Error => new RemoteError(parts);

/** Puts the stack of the call that an error answers before the remote one. */
export function addLocalStack(error: RemoteError, stack: string | undefined): void {
  const here = (stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  const local = here.length > 0 ? here.join("\n") + "\n" : "";
  define(
    error,
    "stack",
    `${error.type}: ${error.message}\n${local}  on the remote side:\n${indent(error.remoteStack)}`,
  );
}

/**
 * A line of a stack that is the agent's own code: it is named so, was loaded from a Blob without a name, or is a server's,
 * whose files have names.
 */
const AGENT_FRAME =
  /pushy:agent|\/(?:protocol\/(?:access|answering|answers|session)|runtime\/js\/(?:compile|evaluate|modules|root))\.ts:\d|^\s*(?:at )?[^ ]*(?: \[as \w+\])? ?@?\(?blob:(?:null\/)?[0-9a-f-]{36}:\d/;

/** A place in source that the agent evaluated: V8 names what evaluated it, too. */
const EVALUATED = /\(eval at .*(?:pushy:agent|blob:).*, (<anonymous>:\d+:\d+)\)/;

function define(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, configurable: true, writable: true });
}

function indent(text: string): string {
  return text.split("\n").map((line) => `    ${line.trim()}`).join("\n");
}
