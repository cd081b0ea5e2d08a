/**
 * The flags of the server as a program: their names, the values that they take, and what is said of one that is not known.
 *
 * @module
 */

/** Each flag, and what it takes. */
export const FLAGS = {
  hostname: { type: "string" },
  port: { type: "string" },
  unix: { type: "string" },
  pipe: { type: "string" },
  "samba-folder": { type: "string" },
  "token-file": { type: "string" },
  "tls-cert": { type: "string" },
  "tls-key": { type: "string" },
  "tls-client-ca": { type: "string" },
  "allow-user": { type: "string", multiple: true },
  "allow-insecure": { type: "boolean" },
  isolate: { type: "boolean" },
  permissions: { type: "string" },
  runtime: { type: "string" },
  "max-connections": { type: "string" },
  "handshake-timeout": { type: "string" },
  "idle-timeout": { type: "string" },
  grace: { type: "string" },
  quiet: { type: "boolean" },
  probe: { type: "string" },
  help: { type: "boolean", short: "h" },
} as const;

/** The name of a flag. */
export type FlagName = keyof typeof FLAGS;

/** What is said of arguments that mean nothing, for the error of their parser. */
export function sayWhatIsWrong(error: Error & { code?: string }): string {
  const name = /'(--?[\w-]+)/.exec(error.message)?.[1];
  if (error.code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION" || name === undefined) return error.message;
  const similar = Object.keys(FLAGS)
    .map((flag) => ({ flag, steps: stepsBetween(name.replace(/^-+/, ""), flag) }))
    .sort((one, other) => one.steps - other.steps)[0]!;
  const close = similar.steps <= Math.max(1, similar.flag.length * 0.4);
  return `Cannot use ${name}: there is no such option${
    close ? `. Did you mean --${similar.flag}?` : ""
  }`;
}

/** How many letters must be changed, added, left out or swapped with their neighbour to make one word of another. */
function stepsBetween(from: string, to: string): number {
  const rows = [Array.from({ length: to.length + 1 }, (_, at) => at)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1;
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
      }
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
}
