import { assertEquals, assertMatch } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";

const FOLDER = new URL("../../examples/", import.meta.url).pathname;

async function run(name: string, args: string[] = []) {
  await using guard = leakGuard();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${FOLDER}${name}`, ...args],
    cwd: guard.folder,
    env: guard.env,
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

const OUTPUTS: Record<string, RegExp> = {
  "files.ts": /^2000015 bytes are there\n<h1>Hello<\/h1>\nENOENT on the remote side\n$/,
  "streams.ts": /^request 1\nrequest 2\nrequest 3\n/,
  "callbacks.ts": /^primes: 11 13 17 19 23 29\nmeter: 42\nverbose: true\n$/,
  "sandbox.ts": new RegExp(
    "^to calculate: 6\n" +
      "to read a password file: refused, NotCapable\n" +
      "to reach the network: refused, NotCapable\n" +
      "to run a program: refused, NotCapable\n" +
      "to look at the environment: refused, NotCapable\n" +
      "to wait for ever: refused, TimeoutError\n$",
  ),
  "ci.ts": /^deployed, port 8080\n$/,
};

for (const [name, output] of Object.entries(OUTPUTS)) {
  Deno.test(`examples: ${name}`, async () => {
    const { code, stdout, stderr } = await run(name);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, output);
  });
}

Deno.test("examples: ci.ts fails with the error from the other side", async () => {
  const { code, stderr } = await run("ci.ts", ["local:", '{ "port": 0 }']);
  assertEquals(code, 1);
  assertMatch(
    stderr,
    /the check failed on local:: RangeError: The port is 0[^]*on the remote side:/,
  );
});
