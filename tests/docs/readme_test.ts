import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Addresses, startDaemons } from "../support/daemons.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires, requiresThat } from "../support/requirement.ts";
import { startHost } from "../support/ssh_host.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const README = await Deno.readTextFile(`${ROOT}README.md`);

async function deno(
  args: string[],
  options: { cwd: string; env: Record<string, string> },
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...args],
    ...options,
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test({
  name: "README: the first example runs as printed, in an empty folder",
  ...requires("sshd", "ssh", "ssh-keygen"),
  fn: async () => {
    await using guard = leakGuard();
    await using host = await startHost("web1");
    const example = /```ts [^\n]*\n([^]*?)```/.exec(README)![1]!;
    assert(example.trim().split("\n").length <= 10, "it has more than ten lines");
    const folder = `${guard.folder}/empty`;
    await Deno.mkdir(folder);
    const map = `${guard.folder}/map.json`;
    const imports = { "jsr:@pushy/core": `file://${ROOT}mod.ts` };
    await Deno.writeTextFile(map, JSON.stringify({ imports }));
    await Deno.writeTextFile(`${guard.folder}/example.ts`, example);
    const args = ["-A", "--check", "--no-lock", `--import-map=${map}`, "../example.ts"];
    const env = { ...guard.env, ...host.env };
    const { code, stdout, stderr } = await deno(args, { cwd: folder, env });
    assertEquals([code, stdout, stderr], [0, `${Deno.hostname()}\n3\n3\n`, ""]);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["hosts.web1"]);
  },
});

// Before any test, so that no test is said to have left them behind.
const servers: Addresses = await startDaemons();

interface Place {
  target: string;
  options?: unknown;
}

/** For each row of the table a real one; it may leave files in a home folder. */
const TARGETS: Record<string, (home: string) => Place | undefined | Promise<Place | undefined>> = {
  "`local:`": () => ({ target: "local:" }),
  "`ssh:host`": () => ({ target: "ssh:web1" }),
  "`ssh:host`, by npm:ssh2": () => {
    const { ssh } = servers;
    return ssh && {
      target: `ssh:127.0.0.1:${ssh.port}`,
      options: {
        identityFile: ssh.key,
        knownHosts: ssh.knownHosts,
        configFile: "none",
      },
    };
  },
  "`daemon:localhost`": async (folder) => {
    const { tcp, token } = servers;
    await Deno.mkdir(`${folder}/state/pushy`, { recursive: true, mode: 0o700 });
    const file = `${folder}/state/pushy/daemon-${tcp}.token`;
    await Deno.writeTextFile(file, token, { mode: 0o600 });
    return { target: `daemon:localhost:${tcp}` };
  },
  "`daemon:host`": async () => {
    const { tls, token } = servers;
    return tls && {
      target: `daemon:127.0.0.1:${tls.port}`,
      options: { token, tls: { caCerts: await Deno.readTextFile(tls.ca) } },
    };
  },
  "`daemon:/path`": () => ({ target: `daemon:${servers.unix}` }),
  "`smb:host`": () => {
    const { smb } = servers;
    if (!smb) return undefined;
    const { port, username, password } = smb;
    return { target: `smb:127.0.0.1:${port}`, options: { username, password } };
  },
};

/** The rows of the table of transports: what is in the first cell, and the flags in the last one. */
const ROWS = new Map(
  [...README.matchAll(/^\| (`(?:local|ssh|daemon|smb):[^|]*?) +\|[^|]*\| (`--[^|]*?) +\|$/gm)]
    .map(([, target, flags]) => [target!, flags!.match(/--[^`\s]+/g)!] as const),
);

Deno.test("README: the table has every transport, and no other", () => {
  assertEquals([...ROWS.keys()], Object.keys(TARGETS));
});

for (const [row, flags] of ROWS) {
  Deno.test({
    name: `README: the permissions of ${row} are enough`,
    ...requires("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using guard = leakGuard();
      await using host = await startHost("web1");
      const found = await TARGETS[row]!(guard.folder);
      // What is not installed is told by the tests of that transport.
      if (!found) return;
      const { target, options } = found;
      const port = /:(\d+)$/.exec(target)?.[1] ?? "";
      const path = target.slice(target.indexOf(":") + 1);
      const given = flags.map((flag) =>
        flag.replace(/(127\.0\.0\.1|host):\d+$/, `127.0.0.1:${port}`).replace("/path", path)
      );
      const source = `
        import { connect } from "file://${ROOT}mod.ts";
        await using con = await connect(${JSON.stringify(target)}, ${JSON.stringify(options)});
        console.log(await con.eval("1 + 2"));`;
      await Deno.writeTextFile(`${guard.folder}/program.ts`, source);
      const cache = new TextDecoder().decode(
        (await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output()).stdout,
      );
      const env = {
        ...guard.env,
        ...host.env,
        HOME: guard.folder,
        XDG_STATE_HOME: `${guard.folder}/state`,
        DENO_DIR: JSON.parse(cache).denoDir,
      };
      const run = await deno([...given, "program.ts"], { cwd: guard.folder, env });
      assertEquals([run.code, run.stdout, run.stderr], [0, "3\n", ""], given.join(" "));
    },
  });
}

Deno.test("every block of code of the README and the pages runs as a test, or says why not", async () => {
  const pages = [...Deno.readDirSync(`${ROOT}docs`)].map(({ name }) => `docs/${name}`);
  for (const page of ["README.md", ...pages.filter((name) => name.endsWith(".md"))]) {
    const text = await Deno.readTextFile(`${ROOT}${page}`);
    const blocks = [...text.matchAll(/^```(.*)\n[^]*?^```$/gm)].map((match) => match[1]!);
    for (const block of blocks) {
      // The test runner runs those of TypeScript; "text" is no code.
      assertMatch(block, /^(ts|text|[a-z]+ ignore \(.+\))$/, page);
    }
  }
});

Deno.test({
  name: "README: the recorded session is there, and tells nothing of the machine",
  ...requiresThat(Deno.build.os !== "windows", "no terminals", "run the tests on a Unix"),
  fn: async () => {
    const path = /!\[[^\]]*\]\((.*?\.svg)\)/.exec(README)![1]!;
    const picture = await Deno.readTextFile(`${ROOT}${path}`);
    assertMatch(picture, /^<svg [^]*pushy eval[^]*<\/svg>\n$/);
    assert(!/\/tmp\/|\/root\b|127\.0\.0\.1/.test(picture));
  },
});
