/**
 * Installs the programs that tests need and that this machine lacks.
 *
 * @module
 */

import {
  findOnPath,
  findProgram,
  npmFolder,
  type Program,
  type ProgramName,
  PROGRAMS,
} from "../tests/support/programs.ts";
import { run } from "./command.ts";

const POLICY = "/usr/sbin/policy-rc.d";

/**
 * Installs what is missing: Debian packages where this is Debian and the user is root, npm
 * packages where npm is. What cannot be had is reported later, by the tests that it skips.
 */
export async function installMissing(): Promise<void> {
  const names = (Object.keys(PROGRAMS) as ProgramName[]).filter((name) => !findProgram(name));
  const rows: Program[] = names.map((name) => PROGRAMS[name]);
  const packages = [...new Set(rows.flatMap((row) => row.apt ?? []))];
  if (packages.length > 0) await installDebian(packages);
  for (const name of names) await installNpm(name);
}

async function installDebian(packages: string[]): Promise<void> {
  if (findOnPath("apt-get") === undefined || Deno.uid() !== 0) {
    console.error(`Cannot install ${packages.join(", ")}: this needs root on Debian`);
    return;
  }
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const install = ["install", "-y", "-q", "--no-install-recommends", ...packages];
  await using _ = await withoutServices();
  if (!await run("apt-get", ["update", "-q"], { env })) console.error("apt-get update failed");
  if (await run("apt-get", install, { env })) return;
  // One package that this release does not have must not cost the others.
  for (const name of packages) {
    await run("apt-get", ["install", "-y", "-q", "--no-install-recommends", name], { env });
  }
}

// Debian starts a server when it is installed; the tests start their own, on loopback.
async function withoutServices(): Promise<AsyncDisposable> {
  try {
    await Deno.writeTextFile(POLICY, "#!/bin/sh\nexit 101\n", { createNew: true, mode: 0o755 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    return { [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  return { [Symbol.asyncDispose]: () => Deno.remove(POLICY) };
}

async function installNpm(name: ProgramName): Promise<void> {
  const row: Program = PROGRAMS[name];
  if (row.npm === undefined) return;
  const npm = findOnPath("npm");
  if (npm === undefined) {
    console.error(`Cannot install ${row.npm}: npm is not on the PATH`);
    return;
  }
  const folder = npmFolder(name);
  await Deno.mkdir(folder, { recursive: true });
  const flags = ["--silent", "--no-audit", "--no-fund", "--prefix", folder];
  if (!await run(npm, ["install", ...flags, row.npm], { cwd: folder })) {
    console.error(`npm could not install ${row.npm}`);
  }
}
