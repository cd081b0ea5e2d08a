/**
 * The options that all commands share, and what `connect()` gets of them.
 *
 * @module
 */

import { type Command, InvalidArgumentError, Option } from "./libraries.ts";
import type { ConnectOptions, RuntimeName, TraceEvent } from "../mod.ts";
import type { DaemonTls } from "../transport/daemon.ts";
import { ask, canAsk, note } from "./terminal.ts";

/** What the shared options were set to. */
export interface SharedOptions {
  runtime?: RuntimeName;
  interpreter?: string;
  port?: number;
  user?: string;
  identity?: string;
  timeout: number;
  askPassword?: boolean;
  sshConfig?: string;
  sshOption?: string[];
  tls: boolean;
  tlsCa?: string;
  tlsName?: string;
  tlsCert?: string;
  tlsKey?: string;
  verbose?: boolean;
}

/** Adds the shared options to a command. */
export function withSharedOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--runtime <name>",
        "the remote interpreter (default: deno, or what a server runs)",
      )
        .choices(["deno", "node", "bun", "python"]),
    )
    .option("--interpreter <command>", 'its path or command, like "sudo python3"')
    .option("--port <number>", "the port of the server", portNumber)
    .option("--user <name>", "whom to log in as")
    .option("--identity <file>", "the private key file to log in with")
    .option("--ask-password", "ask for a password (or set PUSHY_PASSWORD)")
    .option("--ssh-config <file>", "the ssh configuration file")
    .addOption(
      new Option("--ssh-option <key=value>", "an option for ssh, as for its -o; may be repeated")
        .argParser((text, before: string[] | undefined) => [...before ?? [], sshOption(text)]),
    )
    .option("--tls-ca <file>", "the authority of a daemon's certificate (or set PUSHY_TLS_CA)")
    .option("--tls-name <name>", "the name in that certificate (or set PUSHY_TLS_NAME)")
    .option("--tls-cert <file>", "the certificate to log in to a daemon with")
    .option("--tls-key <file>", "the key of that certificate")
    .option("--no-tls", "reach a daemon without TLS, where nobody listens in between")
    .option("--timeout <seconds>", "how long connecting may take", seconds, 30)
    .option("--verbose", "show stages and frames on standard error");
}

function portNumber(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65536) return port;
  throw new InvalidArgumentError("A port is a number from 1 to 65535.");
}

function sshOption(text: string): string {
  if (/^[A-Za-z][A-Za-z0-9]*[= ]./.test(text)) return text;
  throw new InvalidArgumentError("It is KEY=VALUE, like ProxyJump=gate.");
}

/** Seconds as a number, or an error that the parser shows. */
export function seconds(text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && number >= 0 && Number.isFinite(number)) return number;
  throw new InvalidArgumentError("It is a number of seconds.");
}

/** A whole number from 1, or an error that the parser shows. */
export function wholeNumber(text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new InvalidArgumentError("It is a whole number from 1.");
}

/**
 * Puts the questions of an ssh client to the user. What has let somebody in once is not asked for again: a command may log
 * in more than once, to copy files beside its connection.
 */
export class Questions {
  readonly #answers = new Map<string, string>();
  #trusted = false;

  /** The answers so far were right. */
  trust(): void {
    this.#trusted = true;
  }

  /** The answer to a question, or `undefined` where the user breaks it off. */
  async answer(message: string, echo: boolean): Promise<string | undefined> {
    const known = this.#trusted ? this.#answers.get(message) : undefined;
    if (known !== undefined) return known;
    const answer = await ask(`${message.trimEnd()} `, echo);
    if (answer !== undefined) this.#answers.set(message, answer);
    return answer;
  }
}

/** What `connect()` gets. It may ask for a password. */
export async function connectOptions(
  target: string,
  shared: SharedOptions,
  questions: Questions = new Questions(),
): Promise<ConnectOptions> {
  const transport = target.slice(0, target.indexOf(":"));
  const options: ConnectOptions = {
    connectTimeout: shared.timeout * 1000,
  };
  if (shared.runtime !== undefined) options.runtime = shared.runtime;
  if (shared.interpreter !== undefined) {
    options.interpreter = shared.interpreter.split(" ").filter(Boolean);
  }
  if (shared.port !== undefined) options.port = shared.port;
  if (shared.user !== undefined) options.username = shared.user;
  if (shared.identity !== undefined) options.identityFile = shared.identity;
  if (shared.sshConfig !== undefined) options.configFile = shared.sshConfig;
  if (shared.sshOption) {
    options.sshArgs = shared.sshOption.flatMap((option) => ["-o", option]);
    // The client of this process knows no such options, and it is the one that takes a password by default.
    options.useNative = true;
  }
  const tls = tlsOf(target, shared);
  if (tls !== undefined) options.tls = tls;
  const password = await passwordOf(target, shared);
  // PUSHY_PASSWORD may be set for other targets; this one has nobody to log in.
  if (password !== undefined && !target.startsWith("local:")) options.password = password;
  if (transport === "ssh" && canAsk()) {
    options.prompt = ({ message, echo, kind }: { message: string; echo: boolean; kind: string }) =>
      questions.answer(message, echo || kind === "hostkey");
  }
  if (shared.verbose) options.trace = showEvent;
  return options;
}

/** How a daemon is reached. The variables may be set for other targets; flags are meant for this one. */
function tlsOf(target: string, shared: SharedOptions): DaemonTls | false | undefined {
  if (!shared.tls) return false;
  const named = /^daemon:[^/]/.test(target);
  const tls: DaemonTls = {};
  const caCerts = shared.tlsCa ?? (named && Deno.env.get("PUSHY_TLS_CA") || undefined);
  const serverName = shared.tlsName ?? (named && Deno.env.get("PUSHY_TLS_NAME") || undefined);
  if (caCerts !== undefined) tls.caCerts = caCerts;
  if (serverName !== undefined) tls.serverName = serverName;
  if (shared.tlsCert !== undefined) tls.cert = shared.tlsCert;
  if (shared.tlsKey !== undefined) tls.key = shared.tlsKey;
  return Object.keys(tls).length > 0 ? tls : undefined;
}

async function passwordOf(target: string, shared: SharedOptions): Promise<string | undefined> {
  const given = Deno.env.get("PUSHY_PASSWORD");
  // For the others it means nothing, and would be refused.
  if (given !== undefined && /^(ssh|smb):/.test(target)) return given;
  if (!shared.askPassword) return undefined;
  const password = await ask(`Password for ${target}: `, false);
  if (password === undefined) {
    throw new TypeError(
      "Cannot ask for a password: there is no terminal, or the question was broken off. Set PUSHY_PASSWORD instead",
    );
  }
  return password;
}

function showEvent({ kind, at, what, bytes }: TraceEvent): void {
  const time = `${at.toFixed(1).padStart(9)} ms`;
  const arrow = kind === "sent" ? "→" : kind === "received" ? "←" : "·";
  note(`${time} ${arrow} ${what}${kind === "stage" ? "" : ` (${bytes} bytes)`}\n`);
}
