/**
 * What a program is told that lacks a permission: which one, in the words of the command line.
 */

import { assert, assertEquals } from "@std/assert";
import { daemon, Home } from "../daemon/servers.ts";
import { leakGuard } from "../support/leaks.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** The error of a program with these flags that connects. */
async function failure(
  target: string,
  flags: string[],
  options: object = {},
): Promise<Record<string, string>> {
  const source = `import { connect } from ${JSON.stringify(MOD)};
    const error = await connect(${JSON.stringify(target)}, ${
    JSON.stringify(options)
  }).catch((e) => e);
    console.log(JSON.stringify({ ...error, message: error.message, name: error.name }));`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--quiet", ...flags, "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(source));
  await writer.close();
  const { stdout } = await child.output();
  return JSON.parse(new TextDecoder().decode(stdout));
}

const NOBODY = "ssh:127.0.0.1:1";

Deno.test("a program that may run no ssh client is told which permission either client needs", async () => {
  const own = "--allow-net --allow-env --allow-read --allow-sys";
  for (const options of [{}, { useNative: true }]) {
    const error = await failure(NOBODY, ["--allow-net"], options);
    assertEquals([error.name, error.code], ["ConnectionError", "NotCapable"]);
    assert(error.message!.startsWith('Cannot start ssh: Requires run access to "ssh"'));
    assert(error.hint!.startsWith("run with --allow-run=ssh;"), error.hint);
    assert(error.hint!.includes(own) && error.hint!.includes("useNative: false"), error.hint);
  }
});

Deno.test("a program that may not use npm:ssh2 is told which permissions it needs", async () => {
  for (const options of [{ useNative: false }, { password: "secret" }]) {
    const error = await failure(NOBODY, [], options);
    assertEquals([error.name, error.code], ["ConnectionError", "NotCapable"]);
    assert(error.message!.startsWith("Cannot connect to 127.0.0.1:1 in this process: "));
    assert(error.hint!.startsWith("run with --allow-net --allow-env --allow-read --allow-sys"));
  }
});

Deno.test("a program that cannot look for its user's token is told what it lacks", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  await using server = await daemon();
  const target = `daemon:localhost:${server.port}`;
  const net = `--allow-net=127.0.0.1:${server.port}`;
  const file = home.path(`pushy/daemon-${server.port}.token`);
  const found = "a server of this user on this machine has left, run with";
  for (
    const [flags, hint] of [
      [["--allow-read", "--allow-env=HOME"], `${found} --allow-env=HOME,XDG_STATE_HOME`],
      [["--allow-env"], `${found} --allow-read=${file}`],
      [["--allow-read"], "PUSHY_TOKEN with --allow-env=PUSHY_TOKEN"],
    ] as const
  ) {
    const error = await failure(target, [net, ...flags]);
    assertEquals(error.name, "AuthenticationError");
    assert(error.hint!.includes(hint), error.hint);
  }
});

Deno.test("a program that may not reach an SMB server is told which permission it needs", async () => {
  const error = await failure("smb:127.0.0.1:1", [], { username: "me", password: "secret" });
  assertEquals([error.name, error.code], ["ConnectionError", "NotCapable"]);
  assertEquals(error.hint, "run with --allow-net=127.0.0.1:1");
  const nobody = await failure("smb:127.0.0.1:1", []);
  assertEquals([nobody.name, nobody.code], ["AuthenticationError", "NotCapable"]);
  assert(nobody.hint!.includes("--allow-sys"), nobody.hint);
});
