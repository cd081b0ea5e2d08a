/**
 * The options that all commands share, and what `connect()` gets of them.
 *
 * @module
 */

import { type Command, InvalidArgumentError, Option } from "./libraries.ts";
import type { ConnectOptions, RuntimeName, TraceEvent } from "../mod.ts";
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
    .option("--timeout <seconds>", "how long connecting may take", seconds, 30)
    .option("--verbose", "show stages and frames on standard error");
}

function portNumber(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65536) return port;
  throw new InvalidArgumentError("A port is a number from 1 to 65535.");
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
