/**
 * The one command line that the remote login shell gets: which words, in which quotes.
 *
 * SSH sends a command as one string (RFC 4254 section 6.5), and whatever shell the account has
 * reads it. `quoteCommand` covers what every shell reads alike; this file adds the working folder,
 * the environment, and words that no common quoting covers.
 *
 * @module
 */

import { quoteCommand } from "../popen.ts";

/** What is run on the other side: a command line for its shell, or a subsystem by name. */
export type RemoteRequest =
  | {
    readonly line: string;
    readonly program: string;
    /** The command for messages: the line may have values of `env`, which may be secrets. */
    readonly shown: string;
  }
  | { readonly subsystem: string };

// csh expands `!` and ends a line at a line break even inside single quotes, and fish reads
// backslashes there.
const UNQUOTABLE = /[!\n\r\\]/;

function single(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function base64(text: string): string {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/**
 * Makes the command line for `command`, run in `cwd` with `env` added.
 *
 * With either, the line needs a POSIX `sh` on the host. A word with an exclamation mark, a line
 * break or a backslash makes it also need `base64`.
 */
export function remoteCommandLine(
  command: readonly string[],
  { cwd, env = {} }: { cwd?: string | undefined; env?: Record<string, string> | undefined } = {},
): string {
  const variables = Object.entries(env);
  if (cwd === undefined && variables.length === 0) {
    const line = quoteCommand(command);
    return command.some((word) => UNQUOTABLE.test(word))
      ? encoded(`exec ${command.map(single).join(" ")}`)
      : line;
  }
  const steps: string[] = [];
  if (cwd !== undefined) {
    // A folder named -x is not an option of cd, nor is - the previous folder.
    steps.push(`cd ${single(cwd.startsWith("-") ? `./${cwd}` : cwd)}`);
  }
  for (const [name, value] of variables) steps.push(`export ${name}=${single(value)}`);
  steps.push(`exec ${command.map((word) => quoteCommand([word])).join(" ")}`);
  const script = steps.join(" && ");
  // Looked for in the script, not in the values: quoting a quotation mark makes a backslash.
  return UNQUOTABLE.test(script) ? encoded(script) : quoteCommand(["sh", "-c", script]);
}

// By the same shell and not by one below it, so that `exec` leaves no shell between the daemon and
// the command, which would hide the daemon's end from it.
function encoded(script: string): string {
  return quoteCommand(["sh", "-c", `eval "$(echo ${base64(script)} | base64 -d)"`]);
}
