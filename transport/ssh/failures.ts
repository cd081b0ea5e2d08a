/**
 * What a native client's words on stderr mean: which error, and what to do.
 *
 * OpenSSH and PuTTY report every failure of their own as one exit status and some English lines.
 * This is the one place that reads them.
 *
 * @module
 */

import { AuthenticationError, ConnectionError, HostKeyError } from "../errors.ts";
import { fingerprintOf } from "./fingerprint.ts";

/** What is known of a client that has ended. */
export interface ClientEnd {
  /** `user@host:port` as it was asked for. */
  readonly target: string;
  /** The command as it may be shown. */
  readonly command: string;
  /** The program on the other side: the first word of the command. */
  readonly program: string;
  readonly code: number | null;
  readonly signal: string | null;
  /** The end of what the client wrote to stderr. */
  readonly stderr: string;
  /** Did the remote side write to its stdout? Then the start had succeeded. */
  readonly started: boolean;
  /** The beginning of what it wrote. */
  readonly head: string;
  /** Did this side end the client by force? */
  readonly forced: boolean;
}

type Maker = new (
  summary: string,
  details?: ConstructorParameters<typeof ConnectionError>[1],
) => ConnectionError;

interface Row {
  readonly pattern: RegExp;
  readonly make: Maker;
  readonly code: string;
  readonly stage: string;
  readonly summary: (target: string, match: RegExpExecArray) => string;
  readonly hint: string | ((match: RegExpExecArray) => string);
}

// The first row that matches decides, so what explains more stands above what it leads to.
const BEFORE_START: readonly Row[] = [
  {
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED|POTENTIAL SECURITY BREACH/,
    make: HostKeyError,
    code: "EHOSTKEYCHANGED",
    stage: "hostkey",
    summary: (target) => `The host key of ${target} is not the one that is known`,
    hint:
      "Either the host was set up anew, or somebody is between you and it. Ask whoever runs it " +
      "for its fingerprint; only if that agrees, remove the old key (ssh-keygen -R host).",
  },
  {
    pattern: /REVOKED HOST KEY DETECTED/,
    make: HostKeyError,
    code: "EHOSTKEYREVOKED",
    stage: "hostkey",
    summary: (target) => `The host key of ${target} is marked as revoked`,
    hint: "Do not connect. Ask whoever runs the host for its new key.",
  },
  {
    pattern:
      /Host key verification failed|host key is not cached|Cannot confirm a host key|Host key (?:did not appear|not) in manually configured list|No .* host key is known for/,
    make: HostKeyError,
    code: "EHOSTKEYUNKNOWN",
    stage: "hostkey",
    summary: (target) => `The host key of ${target} is not known`,
    hint: "Connect once by hand and compare the fingerprint, or put the key into known_hosts " +
      '(ssh-keyscan), or use missingHostKeyPolicy: "autoadd".',
  },
  {
    pattern:
      /Could not resolve hostname|Host does not exist|Name or service not known|Temporary failure in name resolution|nodename nor servname/,
    make: ConnectionError,
    code: "ENOTFOUND",
    stage: "resolve",
    summary: (target) => `Cannot find the host of ${target}`,
    hint: "Check the name's spelling, the ssh configuration's aliases and the name service.",
  },
  {
    pattern: /Connection refused/,
    make: ConnectionError,
    code: "ECONNREFUSED",
    stage: "connect",
    summary: (target) => `The connection to ${target} was refused`,
    hint: "Is the SSH daemon running there, and on this port?",
  },
  {
    pattern: /No route to host|Network is unreachable/,
    make: ConnectionError,
    code: "EHOSTUNREACH",
    stage: "connect",
    summary: (target) => `There is no route to ${target}`,
    hint: "Check the network, a VPN, or whether a jump host (ProxyJump) is needed.",
  },
  {
    pattern: /Connection timed out|Operation timed out|Timeout, server .* not responding/,
    make: ConnectionError,
    code: "ETIMEDOUT",
    stage: "connect",
    summary: (target) => `The connection to ${target} timed out`,
    hint: "Does a firewall drop the packets? A longer time is given with connectTimeout.",
  },
  {
    pattern:
      /Permission denied \(([^)]*)\)|No supported authentication methods available \(server sent: ([^)]*)\)/,
    make: AuthenticationError,
    code: "EAUTH",
    stage: "authenticate",
    summary: (target, match) =>
      `${target} did not accept any way to log in; it offers: ${match[1] ?? match[2]}`,
    hint: "Is the user right? Is the public key in the account's authorized_keys, is the private " +
      "key in the agent or named by identityFile? A password is given with password.",
  },
  {
    pattern:
      /Too many authentication failures|Access denied|password was not accepted|Permission denied, please try again|Authentication failed/,
    make: AuthenticationError,
    code: "EAUTH",
    stage: "authenticate",
    summary: (target) => `${target} did not accept any way to log in`,
    hint: "Check the user and the password. Where an agent holds many keys, name one with " +
      "identityFile, and set IdentitiesOnly in the ssh configuration.",
  },
  {
    pattern: /no matching (host key type|key exchange method|cipher|MAC) found/i,
    make: ConnectionError,
    code: "ENEGOTIATE",
    stage: "handshake",
    summary: (target, match) => `${target} and this client have no ${match[1]} in common`,
    hint: "An old host needs its algorithm allowed in the ssh configuration.",
  },
  {
    pattern: /Bad configuration option|Bad owner or permissions on|terminating, \d+ bad/,
    make: ConnectionError,
    code: "EINVAL",
    stage: "configure",
    summary: () => "The ssh client refuses its configuration",
    hint: "The client's own words name the file and the line.",
  },
];

const ANY_TIME: readonly Row[] = [
  {
    pattern: /^Killed by signal (\d+)/m,
    make: ConnectionError,
    code: "ECLIENT",
    stage: "session",
    summary: (target, match) => `The ssh client to ${target} was ended by signal ${match[1]}`,
    hint: "Something on this machine ended it; the remote side cannot be reached any more.",
  },
  {
    pattern: /Timeout, server .* not responding|Connection timed out/,
    make: ConnectionError,
    code: "ETIMEDOUT",
    stage: "session",
    summary: (target) => `The connection to ${target} was lost: no sign of life`,
    hint: "The network or the host went away.",
  },
  {
    pattern:
      /Connection (?:to .* )?closed by|Connection (?:to .* )?closed\.?$|Connection reset by|Broken pipe|unexpectedly closed network connection|Software caused connection abort|Connection reset|Read from remote host/m,
    make: ConnectionError,
    code: "ECONNRESET",
    stage: "session",
    summary: (target) => `The connection to ${target} was closed by the other side`,
    hint: "The SSH daemon or the network ended it; the daemon's log says why.",
  },
];

/** What is said of a command that had not ended when this side stopped waiting for it. */
export const UNKNOWN_END = {
  stage: "session",
  code: "ECHANNEL",
  hint:
    "It may still be there. An interpreter goes a few seconds after the connection to the host, " +
    "which others may share; any other command that ignores the end of its input runs on, and one " +
    "that is stopped goes once it is continued. Nothing on this side can end it.",
};

/** The words for that. */
export function notToldBy(target: string): string {
  return `The connection to ${target} was ended before the command there, and how that ends is not known.`;
}

/** What OpenSSH's client cannot tell apart by its exit code. */
export function noteOn(code: number | null): string | undefined {
  return code === 255
    ? "OpenSSH's client ends with 255 both where its connection broke and where the command there " +
      "was killed by a signal"
    : undefined;
}

/** Says why a client ended, or gives `undefined` where that was simply the command's own end. */
export async function explainEnd(end: ClientEnd): Promise<ConnectionError | undefined> {
  const details = {
    command: end.command,
    status: end.signal ?? end.code,
    stderr: end.stderr,
  };
  if (end.signal !== null) {
    if (end.forced) {
      return new ConnectionError(notToldBy(end.target), { ...details, ...UNKNOWN_END });
    }
    return new ConnectionError(`The ssh client to ${end.target} was ended by ${end.signal}`, {
      ...details,
      stage: "session",
      code: "ECLIENT",
      hint: "Something on this machine ended it; the remote side cannot be reached any more.",
    });
  }
  // OpenSSH reports its own failures as 255, PuTTY as 1.
  if (end.code === 255 || (end.code === 1 && /^FATAL ERROR/m.test(end.stderr))) {
    const rows = end.started ? ANY_TIME : [...BEFORE_START, ...ANY_TIME];
    for (const row of rows) {
      const match = row.pattern.exec(end.stderr);
      if (!match) continue;
      let summary = row.summary(end.target, match);
      if (row.code === "EHOSTKEYCHANGED") summary += await bothFingerprints(end.stderr);
      return new row.make(`${summary}.`, {
        ...details,
        stage: row.stage,
        code: row.code,
        hint: typeof row.hint === "string" ? row.hint : row.hint(match),
      });
    }
    // A command may end with 255 itself, and then writes what it likes, or nothing.
    return end.started || end.stderr.trim() === "" ? undefined : new ConnectionError(
      `The connection to ${end.target} failed.`,
      { ...details, stage: "connect", code: "ESSH" },
    );
  }
  return explainStart(end);
}

/**
 * Says why a remote command could not be started, from its exit status and stderr; `undefined`
 * where it was started.
 */
export function explainStart(
  end: Omit<ClientEnd, "forced">,
): ConnectionError | undefined {
  const details = { command: end.command, status: end.signal ?? end.code, stderr: end.stderr };
  // nologin speaks on stdout.
  if (/^[^\n]*account is (?:currently )?not available[^\n]*\s*$/i.test(end.head || end.stderr)) {
    return new ConnectionError(`The account at ${end.target} may not run commands.`, {
      ...details,
      stage: "start",
      code: "ENOLOGIN",
      hint: "Its login shell is nologin. Log in as another user.",
    });
  }
  if (end.started) return undefined;
  if (
    end.code === 127 || (end.code === 1 && /command not found|not recognized as/i.test(end.stderr))
  ) {
    return new ConnectionError(`${end.target} has no ${programOf(end)}.`, {
      ...details,
      stage: "start",
      code: "ENOENT",
      hint: "It is not on the PATH of a shell that is not interactive. Install it there, or give " +
        "its full path.",
    });
  }
  if (end.code === 126) {
    return new ConnectionError(`${end.target} does not let ${programOf(end)} run.`, {
      ...details,
      stage: "start",
      code: "EACCES",
      hint: "The file is there, but may not be executed.",
    });
  }
  return undefined;
}

// What the shell itself names, since the program may stand inside a `sh -c`.
function programOf(end: Pick<ClientEnd, "stderr" | "program">): string {
  const match = /(?:exec: |: )?([^\s:'"]+)['"]?: (?:command )?not found/.exec(end.stderr) ??
    /command not found: (\S+)/.exec(end.stderr) ??
    /Unknown command: '?([^\s']+)/i.exec(end.stderr);
  return match?.[1] ?? end.program;
}

async function bothFingerprints(stderr: string): Promise<string> {
  const sent = /(SHA256:[A-Za-z0-9+/=]+)/.exec(stderr)?.[1];
  let known: string | undefined;
  const where = /Offending \S+ key in (.+):(\d+)/.exec(stderr);
  if (where) {
    try {
      const lines = (await Deno.readTextFile(where[1]!)).split("\n");
      const blob = / (AAAA[A-Za-z0-9+/=]+)/.exec(lines[Number(where[2]) - 1] ?? "")?.[1];
      if (blob) known = await fingerprintOf(Uint8Array.from(atob(blob), (c) => c.charCodeAt(0)));
    } catch {
      // The error stands without the old fingerprint; the client's own words name the file.
    }
  }
  if (sent === undefined) return "";
  return `: it sent ${sent}, known is ${known ?? "another"}`;
}
