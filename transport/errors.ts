/**
 * The errors of reaching another machine: what was tried, what was seen, and what to do.
 *
 * @module
 */

/** What a failed start knows of itself. The message has all of it too. */
export interface ConnectionErrorDetails {
  /** The stage that failed: `"resolve"`, `"connect"`, `"authenticate"`, `"start"`, … */
  stage?: string;
  /** The command that was run, without secrets, shortened. */
  command?: string;
  /** The exit status of that command, where it has ended: `1`, `"SIGTERM"`. */
  status?: number | string | null;
  /** The end of what was written to standard error, without terminal escapes. */
  stderr?: string;
  /** What to try. */
  hint?: string;
  /** A short name for programs: `"ECONNREFUSED"`, `"ENOTFOUND"`, `"ETIMEDOUT"`, … */
  code?: string;
  /** The error underneath. */
  cause?: unknown;
}

// Everything that a terminal would act on: escape sequences, and control characters but tab and newline.
const ESCAPES =
  // deno-lint-ignore no-control-regex
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

function printable(text: string): string {
  return text.replace(/\r\n/g, "\n").replace(ESCAPES, "");
}

/** The link to the other machine could not be made. Its `message` says what was tried and what to do. */
export class ConnectionError extends Error {
  /** `"ConnectionError"` */
  override readonly name: string = "ConnectionError";
  /** The stage that failed. */
  readonly stage: string | undefined;
  /** The command that was run, without secrets, shortened. */
  readonly command: string | undefined;
  /** The exit status of that command, where it has ended. */
  readonly status: number | string | null | undefined;
  /** The end of what was written to standard error, without terminal escapes. */
  readonly stderr: string | undefined;
  /** What to try. */
  readonly hint: string | undefined;
  /** A short name for programs: `"ECONNREFUSED"`, `"ENOTFOUND"`, `"ETIMEDOUT"`, … */
  readonly code: string | undefined;

  /** Makes the error; `summary` is its first sentence, and the details follow line by line. */
  constructor(summary: string, details: ConnectionErrorDetails = {}) {
    const { stage, hint, status, code, cause } = details;
    const command = details.command === undefined ? undefined : shorten(printable(details.command));
    const stderr = details.stderr === undefined ? undefined : tail(printable(details.stderr));
    const lines = [printable(summary)];
    if (command) lines.push(`  command: ${command}`);
    if (status !== undefined && status !== null) lines.push(`  exit status: ${status}`);
    if (stderr) lines.push(`  stderr: ${stderr.split("\n").join("\n          ")}`);
    if (hint) lines.push(`  hint: ${hint}`);
    super(lines.join("\n"), cause === undefined ? undefined : { cause });
    this.stage = stage;
    this.command = command;
    this.status = status;
    this.stderr = stderr;
    this.hint = hint;
    this.code = code;
  }
}

/** The other machine was reached, and did not let this user in. */
export class AuthenticationError extends ConnectionError {
  /** `"AuthenticationError"` */
  override readonly name: string = "AuthenticationError";
}

/** The other machine's key is unknown, or not the one that it should be. */
export class HostKeyError extends ConnectionError {
  /** `"HostKeyError"` */
  override readonly name: string = "HostKeyError";
}

function shorten(text: string, most = 300): string {
  return text.length <= most ? text : `${text.slice(0, most - 60)} … ${text.slice(-57)}`;
}

function tail(text: string, most = 2000): string {
  const trimmed = text.trimEnd();
  return trimmed.length <= most ? trimmed : `… ${trimmed.slice(-most)}`;
}
