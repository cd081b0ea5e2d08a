/**
 * What users may say about an SSH connection: the address, the options, and which of them are
 * refused before a byte is sent.
 *
 * @module
 */

import type { PopenOptions } from "../popen.ts";

/** The key of a host that no `known_hosts` file has. */
export interface UnknownHostKey {
  /** The host as it was looked up: its name, or `[name]:port`. */
  readonly host: string;
  /** The key's algorithm: `"ssh-ed25519"`, … */
  readonly type: string;
  /** The key's fingerprint as OpenSSH prints it: `"SHA256:…"`. */
  readonly fingerprint: string;
  /** The public key itself, in the wire form of RFC 4253 section 6.6. */
  readonly key: Uint8Array;
}

/**
 * What to do with a host whose key is unknown. A key that differs from the known one is refused
 * under every policy.
 *
 * - `"reject"`: refuse.
 * - `"autoadd"`: accept, and append it to the first `known_hosts` file.
 * - `"warning"`: accept, say so on the local stderr, and write nothing.
 * - a function: accept where it gives `true`, and write nothing. Only the in-process client can ask
 *   it.
 */
export type MissingHostKeyPolicy =
  | "reject"
  | "autoadd"
  | "warning"
  | ((key: UnknownHostKey) => boolean | Promise<boolean>);

/** A question that is put to the user of the program while a connection is made. */
export interface SshPrompt {
  /** The question as the client or the server words it, terminal escapes removed. */
  readonly message: string;
  /** May the answer be shown while it is typed? */
  readonly echo: boolean;
  /**
   * What is asked for: a `"passphrase"` of a key, a `"password"`, whether a `"hostkey"` is to be
   * trusted (answer `"yes"`), or `"other"`.
   */
  readonly kind: "passphrase" | "password" | "hostkey" | "other";
}

/** Gives the answer to a question, or `undefined` to decline it. */
export type PromptCallback = (
  prompt: SshPrompt,
) => string | undefined | Promise<string | undefined>;

/** Options of the ssh transport. */
export interface SshOptions extends PopenOptions {
  /** Whom to log in as. Default: the address's `user@`, the ssh configuration's, the local user. */
  username?: string;
  /**
   * The password of that user on that host; it is given to no jump host. Default: none, and keys
   * are used.
   */
  password?: string;
  /**
   * Use the system's own SSH client (`true`), or the one in this process (`false`). Default: the
   * system's where there is one and neither a password, nor a `privateKey`, nor a policy function
   * is given; on Windows, only if that client is OpenSSH's.
   */
  useNative?: boolean;
  /** The port of the SSH daemon. Default: the address's, the ssh configuration's, 22. */
  port?: number;
  /**
   * What to do with an unknown host key. Default: `"reject"` in this process; the system's client
   * goes by its own configuration, and never asks.
   */
  missingHostKeyPolicy?: MissingHostKeyPolicy;
  /** Private key files to try. Default: the ssh configuration's, and OpenSSH's usual names. */
  identityFile?: string | string[];
  /** A private key itself, in OpenSSH, PEM or PPK format. The system's client cannot use it. */
  privateKey?: string | Uint8Array;
  /** The passphrase of the key. */
  passphrase?: string;
  /** The socket of an ssh-agent, or `false` for none. Default: the ssh configuration's, the environment's. */
  agent?: string | false;
  /** The `known_hosts` files of the user. Default: the ssh configuration's. */
  knownHosts?: string | string[];
  /** The ssh configuration file, `"none"` for none. Default: the user's and the system's. */
  configFile?: string;
  /** More words for the command line of the system's client, before the host. */
  sshArgs?: string[];
  /**
   * Asks the server for a sign of life after that many milliseconds of silence, and takes the link
   * for lost when three questions in a row have no answer. Default: the ssh configuration's.
   */
  keepAlive?: number | { interval?: number; count?: number };
  /**
   * Shares one connection of the system's client among all transports of this program that have
   * the same address and options. Default: `false`.
   */
  controlMaster?: boolean;
  /** Answers what the client or the server asks. Default: nothing is asked. */
  prompt?: PromptCallback;
}

/** An address taken apart. */
export interface SshAddress {
  readonly username: string | undefined;
  readonly host: string;
  readonly port: number | undefined;
}

/**
 * Parses `[user@]host[:port]`, where an IPv6 host stands in brackets.
 *
 * @throws {TypeError} if the address is not of that form, or begins with `-`.
 */
export function parseAddress(address: string): SshAddress {
  const refuse = (why: string): never => {
    throw new TypeError(
      `Cannot use ssh address ${JSON.stringify(address)}: ${why}. ` +
        "An address is [user@]host[:port], with an IPv6 host in brackets.",
    );
  };
  const at = address.lastIndexOf("@");
  const username = at < 0 ? undefined : address.slice(0, at);
  const rest = address.slice(at + 1);
  const match = rest.startsWith("[")
    ? /^\[([^\[\]]+)\](?::(.*))?$/.exec(rest)
    : /^([^:]*)(?::([^:]*))?$/.exec(rest);
  if (!match) return refuse("it has more than one colon");
  const host = match[1] ?? "";
  checkHost(host, refuse);
  if (username !== undefined) checkUser(username, refuse);
  return { username, host, port: match[2] === undefined ? undefined : parsePort(match[2], refuse) };
}

// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\x00-\x20\x7f]/;

function checkHost(host: string, refuse: (why: string) => never): void {
  if (host === "") refuse("its host is empty");
  if (host.startsWith("-")) refuse("its host begins with a hyphen");
  // What a shell would act on, should the configuration put %h into a ProxyCommand.
  if (UNPRINTABLE.test(host) || /[/\\'"`$;&<>|(){}!*?]/.test(host)) {
    refuse("its host has a character that no host name has");
  }
}

function checkUser(user: string, refuse: (why: string) => never): void {
  if (user === "") refuse("its user is empty");
  if (user.startsWith("-")) refuse("its user begins with a hyphen");
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f'"`$;&<>|(){}]/.test(user)) {
    refuse("its user has a character that no user name has");
  }
}

function parsePort(text: string, refuse: (why: string) => never): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (!(port >= 1 && port <= 65535)) refuse(`its port ${JSON.stringify(text)} is not 1 to 65535`);
  return port;
}

/** An address and options that were found fit for use. */
export interface CheckedTarget {
  readonly host: string;
  readonly username: string | undefined;
  readonly port: number | undefined;
  readonly identityFiles: readonly string[];
  readonly knownHosts: readonly string[] | undefined;
  readonly keepAlive: { interval: number; count: number } | undefined;
  readonly connectTimeout: number;
}

/**
 * Checks everything that can be checked before anything is started.
 *
 * @throws {TypeError} for an option that cannot be used.
 */
export function checkOptions(command: readonly string[], options: SshOptions): CheckedTarget {
  const refuse = (name: string, why: string): never => {
    throw new TypeError(`Cannot use ssh option ${name}: ${why}.`);
  };
  const address = parseAddress(options.address);
  if (command.length === 0) throw new TypeError("Cannot start over ssh: the command is empty.");
  for (const word of command) {
    if (word.includes("\0")) throw new TypeError("Cannot start over ssh: a word has a NUL.");
  }
  if (options.username !== undefined) {
    checkUser(options.username, (why) => refuse("username", why));
  }
  if (options.port !== undefined) {
    parsePort(String(options.port), (why) => refuse("port", why));
  }
  for (const name of Object.keys(options.env ?? {})) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      refuse("env", `${JSON.stringify(name)} is no name that a shell can export`);
    }
    if (options.env![name]!.includes("\0")) refuse("env", `the value of ${name} has a NUL`);
  }
  if (options.cwd !== undefined && (options.cwd === "" || options.cwd.includes("\0"))) {
    refuse("cwd", "it is empty or has a NUL");
  }
  for (const name of ["password", "passphrase"] as const) {
    // A line break would end the answer early, in ssh's own prompt as in this one.
    if (options[name] !== undefined && /[\r\n\0]/.test(options[name])) {
      refuse(name, "it has a line break or a NUL");
    }
  }
  const policy = options.missingHostKeyPolicy;
  if (
    policy !== undefined && typeof policy !== "function" &&
    !["reject", "autoadd", "warning"].includes(policy)
  ) {
    refuse("missingHostKeyPolicy", `${JSON.stringify(policy)} is not reject, autoadd or warning`);
  }
  const files = (name: "identityFile" | "knownHosts"): string[] | undefined => {
    const value = options[name];
    if (value === undefined) return undefined;
    const list = typeof value === "string" ? [value] : [...value];
    // deno-lint-ignore no-control-regex
    if (list.some((file) => file === "" || /[\x00-\x1f"]/.test(file))) {
      refuse(name, "a path is empty, or has a quotation mark or a control character");
    }
    return list;
  };
  const timeout = options.connectTimeout ?? 30_000;
  if (!(timeout >= 0)) refuse("connectTimeout", "it is not a number of milliseconds");
  const alive = typeof options.keepAlive === "number"
    ? { interval: options.keepAlive }
    : options.keepAlive;
  if (alive?.interval !== undefined && !(alive.interval >= 0)) {
    refuse("keepAlive", "it is not a number of milliseconds");
  }
  return {
    host: address.host,
    username: options.username ?? address.username,
    port: options.port ?? address.port,
    identityFiles: files("identityFile") ?? [],
    knownHosts: files("knownHosts"),
    keepAlive: alive?.interval === undefined
      ? undefined
      : { interval: alive.interval, count: alive.count ?? 3 },
    connectTimeout: timeout,
  };
}

/** The words for `user@host:port` in messages. */
export function describeTarget(target: CheckedTarget): string {
  const host = target.host.includes(":") ? `[${target.host}]` : target.host;
  const user = target.username === undefined ? "" : `${target.username}@`;
  return `${user}${host}${target.port === undefined ? "" : `:${target.port}`}`;
}
