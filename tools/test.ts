/**
 * Runs the tests: `deno task test [-- file or filter]`.
 *
 * `PUSHY_TEST_INSTALL=1` first installs what tests need and this machine lacks.
 * `PUSHY_TEST_IMPORTS=jsr` or `=npm` says where the tests' own imports come from.
 *
 * The last line is `N passed, N failed, N skipped`, tests and their steps alike.
 *
 * @module
 */

import { dirname } from "node:path";
import type { SkipRecord } from "../tests/support/requirement.ts";
import { root, rootUrl, runDeno } from "./command.ts";
import { importFlags } from "./imports.ts";
import { installMissing } from "./install.ts";
import { readJunit, type TestCase } from "./junit.ts";
import { describeSkips } from "./skips.ts";
import { sideBySide, testGroups } from "./test_groups.ts";

const PRELOAD = `--preload=${root}/tests/support/suppressed.ts`;

/** What only Windows has, and a task of its own runs. */
const WINDOWS = "tests/windows";

/** How many tests and steps there were of each result. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** How {@linkcode runTests} runs them. */
export interface TestOptions {
  /** Files, a filter, and flags of `deno test`. Default: everything, the documentation's examples too. */
  args?: readonly string[];
  /** Installs what is missing first. */
  install?: boolean;
  /** Counts a skip as a failure where an installation would have prevented it. */
  strict?: boolean;
  /** How long the tests may take, in milliseconds. Default: no limit. */
  limit?: number;
}

if (import.meta.main) {
  const install = Deno.env.get("PUSHY_TEST_INSTALL") === "1";
  const counts = await runTests({ args: Deno.args, install });
  console.log(countLine(counts));
  Deno.exit(counts.failed === 0 ? 0 : 1);
}

/** The last line of a run. */
export function countLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** Runs tests, prints what was skipped and why, and resolves to the counts. */
export async function runTests(options: TestOptions = {}): Promise<Counts> {
  const { args = [], install = false, strict = false, limit } = options;
  if (install) await installMissing();
  await using imports = await importFlags();
  const folder = await Deno.makeTempDir({ prefix: "pushy_tests_" });
  try {
    const { flags, paths } = readArguments(args);
    const elsewhere = paths.length === 0 && Deno.build.os !== "windows";
    const documents = args.length === 0 ? await documentedFiles() : [];
    const groups = paths.length > 0 ? [paths] : testGroups(elsewhere ? WINDOWS : undefined);
    // Once for all of them: each would check most of the same files again.
    const checked = groups.length > 1;
    if (checked && !await runDeno(["check", ...imports.flags])) {
      return { passed: 0, failed: 1, skipped: 0 };
    }
    const runs = groups.map((group) => [...flags, ...(checked ? ["--no-check"] : []), ...group]);
    if (documents.length > 0) runs.push(["--doc", ...documents]);

    const skipFile = `${folder}/skips`;
    await Deno.writeTextFile(skipFile, "");
    if (runs.length > 1) {
      console.log(`${runs.length} test processes; what each says is shown when it has ended`);
    }
    const end = limit === undefined ? undefined : performance.now() + limit;
    const results = await sideBySide(runs.map((rest, index) => async () => {
      const report = `${folder}/${index}.xml`;
      // Tests look for what is left in there, and accounts of theirs have their homes there. Its name is short, as those of
      // sockets in it may not be long.
      const temporary = `${dirname(folder)}/pushy_${Deno.pid}_${index}`;
      await Deno.mkdir(temporary, { mode: 0o711 });
      const success = await runDeno(
        ["test", "-A", PRELOAD, `--junit-path=${report}`, ...imports.flags, ...rest],
        {
          env: { PUSHY_TEST_SKIPS: skipFile, TMPDIR: temporary },
          limit: end && Math.max(0, end - performance.now()),
          gathered: runs.length > 1,
        },
      );
      await Deno.remove(temporary, { recursive: true }).catch((error) =>
        console.log(`Something still uses ${temporary}: ${error.message}`)
      );
      const found = await readReport(report);
      const failures = found?.filter((test) => test.result === "failed").length ?? 0;
      return {
        cases: (found ?? []).filter((test) => isChosen(test, flags)),
        // A file that does not load, or a run that broke off, is in no report.
        failed: failures === 0 && (!success || found === undefined) ? 1 : failures,
      };
    }));
    const cases: TestCase[] = results.flatMap((result) => result.cases);
    let failed = results.reduce((sum, result) => sum + result.failed, 0);

    const skips = describeSkips(cases, await readSkips(skipFile), rootUrl);
    for (const line of skips.lines) console.log(line);
    if (elsewhere) {
      console.log(`Not of this system: ${WINDOWS}. \`deno task test:windows\` runs it under Wine.`);
    }
    if (strict && skips.installable > 0) {
      console.log(`Failed: ${skips.installable} of these reasons an installation would remove`);
      failed += skips.installable;
    }
    const count = (result: string) => cases.filter((test) => test.result === result).length;
    return { passed: count("passed"), failed, skipped: count("skipped") };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Splits the command line: paths that exist say what to run, a bare word is a filter. */
export function readArguments(args: readonly string[]): { flags: string[]; paths: string[] } {
  const flags: string[] = [];
  const paths: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") continue;
    if (arg === "--filter") flags.push(`--filter=${args[++i] ?? ""}`);
    else if (arg.startsWith("-")) flags.push(arg);
    else if (isPath(arg)) paths.push(arg);
    else flags.push(`--filter=${arg}`);
  }
  return { flags, paths };
}

/** Whether a filter left a test in: the report calls the others skipped. */
export function isChosen({ name, result }: TestCase, flags: readonly string[]): boolean {
  const filter = flags.find((flag) => flag.startsWith("--filter="))?.slice("--filter=".length);
  if (filter === undefined || result !== "skipped") return true;
  const pattern = /^\/(.*)\/$/s.exec(filter)?.[1];
  return pattern === undefined ? name.includes(filter) : new RegExp(pattern).test(name);
}

function isPath(arg: string): boolean {
  try {
    Deno.statSync(`${root}/${arg}`);
    return true;
  } catch {
    return arg.includes("/");
  }
}

/** The public modules and the pages whose examples are run. */
async function documentedFiles(): Promise<string[]> {
  const config = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const files: string[] = Object.values(config.exports);
  // What the public modules export again is documented where it is.
  for (const folder of ["client", "protocol", "runtime", "server", "transport"]) {
    if (!isPath(folder)) continue;
    for await (const { name } of Deno.readDir(`${root}/${folder}`)) {
      const path = `./${folder}/${name}`;
      if (!name.endsWith(".ts") || files.includes(path)) continue;
      if ((await Deno.readTextFile(`${root}/${path}`)).includes("@example")) files.push(path);
    }
  }
  if (isPath("docs")) {
    for await (const entry of Deno.readDir(`${root}/docs`)) {
      if (entry.name.endsWith(".md")) files.push(`docs/${entry.name}`);
    }
  }
  return [...files, "README.md"].filter((path) => {
    try {
      return Deno.statSync(`${root}/${path}`).isFile;
    } catch {
      return false;
    }
  });
}

async function readReport(path: string): Promise<TestCase[] | undefined> {
  try {
    return readJunit(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function readSkips(path: string): Promise<SkipRecord[]> {
  const text = await Deno.readTextFile(path);
  return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
}
