/**
 * The errors of the protocol: what broke the rules, what lost the link, and what every error is on its way.
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
