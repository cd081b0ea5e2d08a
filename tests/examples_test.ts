import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { leakGuard } from "./support/leaks.ts";
import { serveFolder } from "./support/serve.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** The flags that an example names in its first comment, and the README for its transport. */
async function permissionsOf(example: string): Promise<string[]> {
  const source = await Deno.readTextFile(`${root}examples/${example}`);
  const command = /deno run (.*?) examples\//.exec(source)?.[1];
  assert(command, `${example} does not say how it is run`);
  return command.split(" ");
}

interface RunOptions {
  folder: string;
  env: Record<string, string>;
  flags: string[];
}

async function run(entry: string, { folder, env, flags }: RunOptions): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...flags, entry],
    cwd: folder,
    env,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  assertEquals([code, decoder.decode(stderr)], [0, ""]);
  return decoder.decode(stdout).trimEnd().split("\n");
}

function checkLocal(lines: string[]): void {
  const [here, there, parent, ...rest] = lines;
  const [, host, pid] = /^here: {2}(\S+) process (\d+)$/.exec(here!)!;
  const [, otherHost, otherPid] = /^there: (\S+) process (\d+)$/.exec(there!)!;
  assertEquals([host, otherHost], [Deno.hostname(), Deno.hostname()]);
  assert(pid !== otherPid);
  assertEquals(parent, "its parent is this process: true");
  assertEquals(rest, [
    "eval: [ 1, 4, 9 ]",
    "execute: 42",
    "compile: 1229 primes below 10000",
    "callback: ADA",
    "callback: GRACE",
    "files: copied twice",
  ]);
}

Deno.test("examples/local.ts runs with the permissions that it names", async () => {
  await using guard = leakGuard();
  const flags = await permissionsOf("local.ts");
  const readme = await Deno.readTextFile(`${root}README.md`);
  assertStringIncludes(readme, "`--allow-run=sh`");
  assert(flags.includes("--allow-run=sh"));
  checkLocal(
    await run(`${root}examples/local.ts`, { folder: guard.folder, env: guard.env, flags }),
  );
  assertEquals([...Deno.readDirSync(guard.folder)], []);
});

Deno.test("it runs from a registry, without configuration, and downloads nothing else", async () => {
  await using guard = leakGuard();
  await using served = serveFolder(root);
  const work = `${guard.folder}/work`;
  const cache = `${guard.folder}/cache`;
  await Deno.mkdir(work);
  await Deno.mkdir(cache);
  const env = {
    ...guard.env,
    HOME: guard.folder,
    DENO_DIR: cache,
    // Whatever goes elsewhere fails.
    JSR_URL: "http://127.0.0.1:1/",
    NPM_CONFIG_REGISTRY: "http://127.0.0.1:1/",
    HTTPS_PROXY: "http://127.0.0.1:1/",
  };
  const flags = await permissionsOf("local.ts");
  const entry = `${served.url}examples/local.ts`;
  checkLocal(await run(entry, { folder: work, env, flags: ["--no-config", ...flags] }));
  assertEquals([...Deno.readDirSync(work)], []);
  for (const [path, times] of served.requests) {
    assert(/^\/(mod|(client|protocol|runtime|transport|examples)\/.+)\.ts$/.test(path), path);
    assertEquals(times, 1, path);
  }
  const names = async (path: string) => {
    const entries = await Array.fromAsync(Deno.readDir(`${cache}/${path}`)).catch(() => []);
    return entries.map(({ name }) => name);
  };
  assertEquals((await names("remote/http")).length, 1);
  assertEquals([await names("remote/https"), await names("npm")], [[], []]);
});
