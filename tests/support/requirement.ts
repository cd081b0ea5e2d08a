/**
 * What a test needs of the machine, and why it is skipped where that is missing:
 *
 * ```ts ignore
 * Deno.test({ name: "logs in", ...requires("sshd", "ssh"), fn: … });
 * ```
 *
 * Reasons are written to the file that `PUSHY_TEST_SKIPS` names, one JSON object a line, where the
 * test runner collects them.
 *
 * @module
 */

import { findProgram, howToGet, type ProgramName, PROGRAMS } from "./programs.ts";

/** Whether a test is skipped, to be spread into the argument of `Deno.test` or `t.step`. */
export interface Requirement {
  /** True where something is missing. */
  readonly ignore: boolean;
  /** What is missing, and why it is needed. */
  readonly reason?: string;
}

/** One line of the file of skips. */
export interface SkipRecord {
  /** The URL of the test file. */
  readonly file: string;
  /** What is missing, and why it is needed. */
  readonly reason: string;
  /** How to get it. */
  readonly how: string;
  /** Whether the test runner could have installed it on this machine. */
  readonly installable: boolean;
}

const MET: Requirement = { ignore: false };

/** Skips the test unless all of these programs are installed. */
export function requires(...names: ProgramName[]): Requirement {
  const missing = names.filter((name) => findProgram(name) === undefined);
  if (missing.length === 0) return MET;
  const reasons = missing.map((name) => {
    const reason = `${name} is not installed (${PROGRAMS[name].why})`;
    record(reason, howToGet(name), true);
    return reason;
  });
  return { ignore: true, reason: reasons.join("; ") };
}

/**
 * Skips the test unless `condition` holds.
 *
 * @param reason What does not hold, and why the test needs it: `"not root: it starts sshd for two users"`.
 * @param how What a person does about it: `"run the tests as root"`.
 */
export function requiresThat(condition: boolean, reason: string, how: string): Requirement {
  if (condition) return MET;
  record(reason, how, false);
  return { ignore: true, reason };
}

/** Joins requirements: the test is skipped when one of them is not met. */
export function requiresAll(...requirements: Requirement[]): Requirement {
  const missing = requirements.filter((requirement) => requirement.ignore);
  if (missing.length === 0) return MET;
  return { ignore: true, reason: missing.map((requirement) => requirement.reason).join("; ") };
}

/**
 * The absolute path of a program, for a test that {@linkcode requires} it.
 *
 * @throws {Error} Where it is not installed.
 */
export function program(name: ProgramName): string {
  const path = findProgram(name);
  if (path === undefined) {
    throw new Error(`${name} is not installed. To get it: ${howToGet(name)}`);
  }
  return path;
}

function record(reason: string, how: string, installable: boolean): void {
  const path = Deno.env.get("PUSHY_TEST_SKIPS");
  if (!path) return;
  const skip: SkipRecord = { file: Deno.mainModule, reason, how, installable };
  Deno.writeTextFileSync(path, JSON.stringify(skip) + "\n", { append: true });
}
