/**
 * The errors of the protocol: what the remote threw, what broke the rules, and what lost the link.
 *
 * @module
 */

import { printable } from "./text.ts";

/** What an error looks like on its way. */
export interface ErrorParts {
  /** The name of its class: `"TypeError"`, `"FileNotFoundError"`. */
  type: string;
  /** Its message. */
  message: string;
  /** Its stack, as the side where it was made shows it. */
  stack: string;
  /** Its own plain properties: `code`, `errno`. */
  properties: Record<string, unknown>;
  /** Its cause, present where it has one. */
  cause?: unknown;
  /** The errors that an `AggregateError` is made of. */
  errors?: unknown[];
}

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
  /pushy:agent|\/(?:protocol\/(?:access|answering|calls|session)|runtime\/js\/(?:evaluate|modules|root))\.ts:\d|^\s*(?:at )?[^ ]*(?: \[as \w+\])? ?@?\(?blob:(?:null\/)?[0-9a-f-]{36}:\d/;

/** A place in source that the agent evaluated: V8 names what evaluated it, too. */
const EVALUATED = /\(eval at .*(?:pushy:agent|blob:).*, (<anonymous>:\d+:\d+)\)/;

/** Names under which no property of an error crosses: they mean something of their own, at one end or the other. */
export const NOT_PROPERTIES: ReadonlySet<string> = new Set([
  "name",
  "message",
  "stack",
  "cause",
  "errors",
  "type",
  "remoteStack",
  "__proto__",
  "constructor",
  // An error that cannot be shown would hide what went wrong.
  "toString",
  "toJSON",
  "valueOf",
  "then",
]);

function define(target: object, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, configurable: true, writable: true });
}

function indent(text: string): string {
  return text.split("\n").map((line) => `    ${line.trim()}`).join("\n");
}

/** The peer broke the rules of the protocol, or went beyond a limit. The connection is closed. */
export class ProtocolError extends Error {
  /** `"ProtocolError"` */
  override readonly name = "ProtocolError";
}

/**
 * What every pending and every later call gets once the link is gone. The message says why, and
 * has the end of what the remote wrote to its standard error.
 */
export class ConnectionLostError extends Error {
  /** `"ConnectionLostError"` */
  override readonly name = "ConnectionLostError";
  /** The exit status of the process at the other end, where it is known. */
  readonly status: number | string | undefined;
  /** The end of what the remote wrote to standard error, without terminal escapes. */
  readonly stderr: string;

  /** Makes the error; `reason` is what was seen. */
  constructor(
    reason: string,
    details: { status?: number | string; stderr?: string; cause?: unknown } = {},
  ) {
    const stderr = printable(details.stderr ?? "").trimEnd().slice(-2000);
    super(
      printable(reason) + (stderr ? `\n  stderr: ${stderr.split("\n").join("\n          ")}` : ""),
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.status = details.status;
    this.stderr = stderr;
  }
}

/** The connection was closed by this side. */
export class ConnectionClosedError extends ConnectionLostError {
  /** Makes the error; `reason` is what closed it. */
  constructor(reason = "The connection was closed") {
    super(reason);
    Object.defineProperty(this, "name", { value: "ConnectionClosedError", configurable: true });
  }
}

/** A value that cannot cross: refused before any byte of it is sent. */
export class UncrossableError extends TypeError {
  /** `"UncrossableError"` */
  override readonly name = "UncrossableError";
  /** Where in the call the value stands: `args[0].config.socket`. */
  readonly path: string;

  /** Makes the error. */
  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`Cannot send ${path}: ${reason}`, options);
    this.path = path;
  }
}
