/**
 * All that must hold before a commit: `deno task ok`. With `--ci`, also what only a clean machine
 * checks. The tests come last, so that their count is the last line.
 *
 * @module
 */

import { root, runDeno } from "./command.ts";
import { importFlags } from "./imports.ts";
import { countLine, runTests } from "./test.ts";

// The whole run takes 20 minutes where starting a process takes 50 ms; a test that hangs must not cost its report.
const CI_LIMIT_MS = 50 * 60_000;

if (import.meta.main) Deno.exit(await main(Deno.args.includes("--ci")) ? 0 : 1);

async function main(ci: boolean): Promise<boolean> {
  const failed: string[] = [];
  await using imports = await importFlags();
  for (const [name, args] of await steps(ci, imports.flags)) {
    console.log(`\n==> ${name}: deno ${args.join(" ")}`);
    if (!await runDeno(args)) failed.push(name);
  }
  console.log("\n==> test");
  const counts = await runTests({
    install: ci || Deno.env.get("PUSHY_TEST_INSTALL") === "1",
    strict: ci,
    limit: ci ? CI_LIMIT_MS : undefined,
  });
  if (counts.failed > 0) failed.push("test");
  if (failed.length > 0) console.log(`Failed: ${failed.join(", ")}`);
  console.log(countLine(counts));
  return failed.length === 0;
}

type Step = [name: string, args: string[]];

async function steps(ci: boolean, importFlags: readonly string[]): Promise<Step[]> {
  const config = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const entries: string[] = Object.values(config.exports);
  const list: Step[] = [
    ["fmt", ["fmt", "--check"]],
    ["lint", ["lint"]],
    ["check", ["check", ...importFlags]],
    ["doc", ["doc", "--lint", ...entries]],
  ];
  // The package's own modules import from no registry, so this step needs none.
  if (ci) list.push(["publish", ["publish", "--dry-run", "--allow-dirty"]]);
  if (await hasGenerator()) list.push(["generate", ["run", "-A", "tools/generate.ts", "--check"]]);
  return list;
}

async function hasGenerator(): Promise<boolean> {
  try {
    await Deno.stat(`${root}/tools/generate.ts`);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
