import { assert, assertEquals } from "@std/assert";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** The error of a program with these flags that connects over ssh to a port where nobody listens. */
async function failure(flags: string[], options: object): Promise<Record<string, string>> {
  const source = `import { connect } from ${JSON.stringify(MOD)};
    const error = await connect("ssh:127.0.0.1:1", ${JSON.stringify(options)}).catch((e) => e);
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

Deno.test("a program that may run no ssh client is told which permission either client needs", async () => {
  const own = "--allow-net --allow-env --allow-read --allow-sys";
  for (const options of [{}, { useNative: true }]) {
    const error = await failure(["--allow-net"], options);
    assertEquals([error.name, error.code], ["ConnectionError", "NotCapable"]);
    assert(error.message!.startsWith('Cannot start ssh: Requires run access to "ssh"'));
    assert(error.hint!.startsWith("run with --allow-run=ssh;"), error.hint);
    assert(error.hint!.includes(own) && error.hint!.includes("useNative: false"), error.hint);
  }
});

Deno.test("a program that may not use npm:ssh2 is told which permissions it needs", async () => {
  for (const options of [{ useNative: false }, { password: "secret" }]) {
    const error = await failure([], options);
    assertEquals([error.name, error.code], ["ConnectionError", "NotCapable"]);
    assert(error.message!.startsWith("Cannot connect to 127.0.0.1:1 in this process: "));
    assert(error.hint!.startsWith("run with --allow-net --allow-env --allow-read --allow-sys"));
  }
});
