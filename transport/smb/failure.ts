/**
 * What went wrong, in the user's words: which error of the transport's contract a status, a
 * refusal or a broken connection becomes, and what to do about it.
 *
 * @module
 */

import { AuthenticationError, ConnectionError } from "../errors.ts";
import { MalformedError } from "./cursor.ts";
import { STATUS, StatusError } from "./ntstatus.ts";
import { RefusedError } from "./session.ts";

/** Where a start is. */
export type Stage = "connect" | "negotiate" | "authenticate" | "open";

/** What is known of the start when it fails. */
export interface Attempt {
  readonly stage: Stage;
  readonly host: string;
  readonly port: number;
  readonly pipe: string;
  /** Who logs in, with the domain. */
  readonly user: string;
}

/** Statuses of a login, and what to tell its user. */
const LOGIN: ReadonlyMap<number, string> = new Map([
  [STATUS.LOGON_FAILURE, "the user name or the password is wrong"],
  [STATUS.WRONG_PASSWORD, "the password is wrong"],
  [STATUS.NO_SUCH_USER, "the server knows no such user"],
  [STATUS.ACCOUNT_RESTRICTION, "the account may not be used so (is its password empty?)"],
  [STATUS.INVALID_LOGON_HOURS, "the account may not log in at this hour"],
  [STATUS.INVALID_WORKSTATION, "the account may not log in from this machine"],
  [STATUS.PASSWORD_EXPIRED, "the password has expired"],
  [STATUS.PASSWORD_MUST_CHANGE, "the password must be changed first"],
  [STATUS.ACCOUNT_DISABLED, "the account is disabled"],
  [STATUS.ACCOUNT_EXPIRED, "the account has expired"],
  [STATUS.ACCOUNT_LOCKED_OUT, "the account is locked, after too many wrong passwords"],
  [STATUS.LOGON_TYPE_NOT_GRANTED, "the account may not log in over the network"],
  [STATUS.LOGON_NOT_GRANTED, "the account may not log in"],
  [STATUS.NO_LOGON_SERVERS, "the server reaches no domain controller"],
  [STATUS.TRUSTED_DOMAIN_FAILURE, "the server does not trust the domain"],
  [STATUS.TRUSTED_RELATIONSHIP_FAILURE, "the server's trust in its domain is broken"],
  [STATUS.NTLM_BLOCKED, "the server refuses NTLM, and Kerberos is not spoken here"],
  [STATUS.NOT_SUPPORTED, "the server refuses NTLM, and Kerberos is not spoken here"],
  [STATUS.ACCESS_DENIED, "the server denies access"],
]);

const NO_PIPE: ReadonlySet<number> = new Set([
  STATUS.OBJECT_NAME_NOT_FOUND,
  STATUS.OBJECT_PATH_NOT_FOUND,
  STATUS.OBJECT_NAME_INVALID,
  STATUS.NOT_SUPPORTED,
]);

/** Samba's ways of saying that the server behind the pipe has hung up while it was opened. */
const TURNED_AWAY: ReadonlySet<number> = new Set([
  STATUS.PIPE_DISCONNECTED,
  STATUS.PIPE_BROKEN,
  STATUS.CONNECTION_DISCONNECTED,
  STATUS.CONNECTION_RESET,
]);

/** Names of system errors in Deno's messages; what to tell; what to try. */
const SYSTEM: readonly (readonly [RegExp, string, string, string])[] = [
  [
    /lookup address|getaddrinfo|name or service|no such host|resolve/i,
    "ENOTFOUND",
    "the name is not known",
    "Check the host's name.",
  ],
  [
    /refused/i,
    "ECONNREFUSED",
    "nothing listens there",
    "Is the host's SMB server running, and is the port right?",
  ],
  [
    /unreachable|no route/i,
    "EHOSTUNREACH",
    "there is no route to it",
    "Check the network, and the firewall of the host.",
  ],
  [
    /timed? ?out/i,
    "ETIMEDOUT",
    "it did not answer",
    "Check the network; port 445 is often closed by a firewall.",
  ],
  [/reset|broken pipe/i, "ECONNRESET", "it closed the connection", "Is it an SMB server?"],
];

/** Makes the error that a user sees out of the one that was met. */
export function describeFailure(attempt: Attempt, cause: unknown): ConnectionError {
  const { stage, host, port, pipe, user } = attempt;
  const where = `${host}${port === 445 ? "" : `:${port}`}`;
  const text = cause instanceof Error ? cause.message : String(cause);
  if (cause instanceof StatusError) {
    const { status, code } = cause;
    const login = LOGIN.get(status);
    if (stage === "authenticate" && login !== undefined) {
      return new AuthenticationError(
        `Cannot log in at ${where} as ${user}: ${login} (${code})`,
        { stage, code, cause, hint: "Check username, password and domain." },
      );
    }
    if (stage === "open" && NO_PIPE.has(status)) {
      return new ConnectionError(
        `Cannot open the pipe ${pipe} at ${where}: there is none of that name (${code})`,
        { stage, code, cause, hint: `Is the Pushy server running there, with the pipe ${pipe}?` },
      );
    }
    if (stage === "open" && status === STATUS.ACCESS_DENIED) {
      return new AuthenticationError(
        `Cannot open the pipe ${pipe} at ${where} as ${user}: access is denied (${code})`,
        { stage, code, cause, hint: "May this user use the pipe? See allowUsers of the server." },
      );
    }
    if (stage === "open" && TURNED_AWAY.has(status)) {
      return new AuthenticationError(
        `Cannot open the pipe ${pipe} at ${where} as ${user}: it was hung up at once (${code})`,
        {
          stage,
          code,
          cause,
          hint: `Is the Pushy server running there, with the pipe ${pipe}? ` +
            "If it is, may this user use it? See allowUsers of the server.",
        },
      );
    }
    return new ConnectionError(`Cannot ${verb(stage, pipe)} at ${where}: ${text}`, {
      stage,
      code,
      cause,
      ...(stage === "negotiate"
        ? { hint: "The server may speak none of the SMB dialects 2.0.2 to 3.1.1." }
        : {}),
    });
  }
  if (cause instanceof RefusedError || cause instanceof MalformedError) {
    const Kind = cause instanceof RefusedError && stage === "authenticate"
      ? AuthenticationError
      : ConnectionError;
    return new Kind(`Cannot ${verb(stage, pipe)} at ${where}: ${text}`, {
      stage,
      code: cause instanceof RefusedError ? "EREFUSED" : "EPROTO",
      cause,
      ...(stage === "connect" || stage === "negotiate"
        ? { hint: "Is it an SMB server of version 2 or later, on the right port?" }
        : {}),
    });
  }
  if (cause instanceof Deno.errors.NotCapable) {
    // What a name stands for may be another address than the name.
    const asked = /Requires net access to "([^"]+)"/.exec(text)?.[1] ?? `${host}:${port}`;
    return new ConnectionError(`Cannot reach ${where} over SMB: ${text}`, {
      stage,
      code: "NotCapable",
      hint: `run with --allow-net=${asked}`,
      cause,
    });
  }
  for (const [pattern, code, what, hint] of stage === "connect" ? SYSTEM : []) {
    if (pattern.test(text)) {
      return new ConnectionError(`Cannot reach ${where} over SMB: ${what}`, {
        stage,
        code,
        hint,
        cause,
      });
    }
  }
  return new ConnectionError(`Cannot ${verb(stage, pipe)} at ${where}: ${text}`, {
    stage,
    cause,
    code: "ECONNRESET",
    ...(stage === "negotiate" ? { hint: "Is it an SMB server, on the right port?" } : {}),
  });
}

function verb(stage: Stage, pipe: string): string {
  if (stage === "connect") return "connect over SMB";
  if (stage === "negotiate") return "agree on a way to speak SMB";
  return stage === "authenticate" ? "log in" : `open the pipe ${pipe}`;
}
