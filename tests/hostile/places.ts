/**
 * How the hostile agent takes the place of the real one, in each row of the matrix.
 *
 * @module
 */

import type { ConnectOptions } from "../../mod.ts";
import { type Anything, type Row, ROWS, SERVERS } from "../matrix.ts";
import type { LeakGuard } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";

/** Does the row start an interpreter, or is one running there? */
export function startsInterpreter({ transport }: Row): boolean {
  return transport === "local" || transport === "ssh";
}

/** The rows whose clients differ: what is said to be at the other end, the hostile agent decides. */
export const PLACES: readonly Row[] = ROWS.filter(({ name }) =>
  !/node \d|^ssh × python/.test(name)
);

/** Makes a program of a shell script. */
export async function makeScript(guard: LeakGuard, script: string): Promise<string> {
  const path = `${guard.folder}/script_${crypto.randomUUID().slice(0, 8)}`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return path;
}

const PROGRAM = new URL("program.mjs", import.meta.url).pathname;

/** An interpreter that is the hostile agent, run by the row's own, or by Deno where that runs no JavaScript. */
export async function hostileInterpreter(row: Row, guard: LeakGuard): Promise<string> {
  const own = row.runtime === "node" || row.runtime === "bun"
    ? findProgram(row.runtime)
    : undefined;
  const command = own ?? `${Deno.execPath()} run -A --no-config --no-lock`;
  return await makeScript(
    guard,
    `exec <&3 >&4 3<&- 4>&-\nexec ${command} ${PROGRAM} ${row.runtime}`,
  );
}

/** Connects to hostile agents in the row's place: what is started is made once. */
export async function hostilePlace(
  row: Row,
  guard: LeakGuard,
): Promise<(options?: ConnectOptions) => Promise<Anything>> {
  if (!startsInterpreter(row)) {
    return (options) => row.connect(guard, options, SERVERS.hostile);
  }
  const interpreter = await hostileInterpreter(row, guard);
  // One that does not listen is not waited for.
  const own = row.transport === "local" ? { closeTimeout: 100 } : {};
  return (options) => row.connect(guard, { interpreter, ...own, ...options });
}
