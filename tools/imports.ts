/**
 * Which registry the tests' own imports come from: JSR where it answers, else npm.
 *
 * @module
 */

import { root, rootUrl } from "./command.ts";

const PROBE_LIMIT_MS = 3_000;

interface ImportMap {
  imports: Record<string, string>;
}

/** Flags for `deno test` and `deno check`, and the temporary file that they name. */
export class ImportFlags implements AsyncDisposable {
  /** `[]`, or `["--import-map", path]`. */
  readonly flags: readonly string[];

  /** Takes over the import map at `path`, if there is one. */
  constructor(path?: string) {
    this.flags = path === undefined ? [] : ["--import-map", path];
  }

  /** Removes the temporary import map. */
  async [Symbol.asyncDispose](): Promise<void> {
    const path = this.flags[1];
    if (path !== undefined) await Deno.remove(path);
  }
}

/**
 * Finds out where the tests' imports come from. `PUSHY_TEST_IMPORTS=jsr` or `=npm` decides without
 * asking; otherwise Deno itself is asked to load them, and has 3 seconds.
 */
export async function importFlags(): Promise<ImportFlags> {
  const config: ImportMap = JSON.parse(await Deno.readTextFile(`${root}/deno.json`));
  const forced = Deno.env.get("PUSHY_TEST_IMPORTS");
  if (forced === "jsr") return new ImportFlags();
  if (forced !== "npm") {
    if (forced) throw new Error(`PUSHY_TEST_IMPORTS is "${forced}": it can be "jsr" or "npm"`);
    if (await loads(Object.values(config.imports).filter((name) => name.startsWith("jsr:")))) {
      return new ImportFlags();
    }
  }
  const fallback: ImportMap = JSON.parse(
    await Deno.readTextFile(`${root}/tests/npm_imports.json`),
  );
  const imports = {
    ...absolute(config.imports, rootUrl),
    ...absolute(fallback.imports, `${rootUrl}tests/`),
  };
  const path = await Deno.makeTempFile({ prefix: "pushy_imports_", suffix: ".json" });
  await Deno.writeTextFile(path, JSON.stringify({ imports }));
  return new ImportFlags(path);
}

function absolute(imports: Record<string, string>, base: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(imports).map(([name, target]) => [
      name,
      target.startsWith(".") ? new URL(target, base).href : target,
    ]),
  );
}

async function loads(specifiers: string[]): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "--no-config", "--no-lock", ...specifiers],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), PROBE_LIMIT_MS);
  const { success } = await child.status;
  clearTimeout(timer);
  return success;
}
