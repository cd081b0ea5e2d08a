/**
 * Which options an attempt to connect may have: what nobody knows, and what a transport cannot honour, is refused before
 * a byte is sent.
 *
 * @module
 */

import type { TransportModule } from "../transport/popen.ts";

/** The options that every transport has, by name. */
const OPTIONS: readonly string[] = [
  "runtime",
  "interpreter",
  "platform",
  "permissions",
  "cache",
  "cwd",
  "env",
  "stdout",
  "stderr",
  "signal",
  "connectTimeout",
  "keepAlive",
  "gcEnabled",
  "gcInterval",
  "limits",
  "trace",
];

/** What only a start can honour, and what to do where an interpreter runs already. */
const OF_A_START: Readonly<Record<string, string>> = {
  permissions: ownOf("permissions"),
  interpreter: ownOf("interpreter"),
  cwd: ownOf("cwd"),
  env: ownOf("env"),
  platform: "It says how a command is started: leave it out",
};

function ownOf(option: string): string {
  return `The server's own decide: run({ ${option}, isolate: "process" })`;
}

/** Refuses the options that would be ignored: a misspelt one, and a fence or a folder that nobody would make. */
export function checkOptions(
  target: string,
  name: string,
  { options: own, reaches }: TransportModule,
  given: Readonly<Record<string, unknown>>,
): void {
  for (const option of Object.keys(given)) {
    if (own !== undefined && !OPTIONS.includes(option) && !own.includes(option)) {
      throw new TypeError(
        `Cannot use option "${option}": connect() and the transport "${name}:" have ` +
          [...OPTIONS, ...own].join(", "),
      );
    }
    if (reaches !== "interpreter" || given[option] === undefined || own?.includes(option)) continue;
    if (Object.hasOwn(OF_A_START, option)) {
      throw new TypeError(
        `Cannot use option "${option}" with "${target}": what answers there runs already. ` +
          OF_A_START[option],
      );
    }
  }
}
