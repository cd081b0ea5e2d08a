import { assertEquals, assertMatch } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { startHost } from "../support/ssh_host.ts";

const FOLDER = new URL("../../examples/", import.meta.url).pathname;

async function run(name: string, args: string[] = [], env: Record<string, string> = {}) {
  await using guard = leakGuard();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${FOLDER}${name}`, ...args],
    cwd: guard.folder,
    env: { ...guard.env, ...env },
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

const PYTHON_OUTPUT =
  /^Python 3\.\d+\.\S+\n2: error: no such user\n4: Error: disk full\ncleared away: log\.gz\n$/;

Deno.test({
  name: "examples: python.ts",
  ...requires("python3"),
  fn: async () => {
    const { code, stdout, stderr } = await run("python.ts");
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, PYTHON_OUTPUT);
  },
});

Deno.test({
  name: "examples: ssh.ts and python.ts look after a host",
  ...requires("sshd", "ssh", "ssh-keygen", "python3"),
  fn: async () => {
    await using host = await startHost("web1");
    const looked = await run("ssh.ts", ["web1"], host.env);
    assertEquals([looked.code, looked.stderr], [0, ""]);
    assertMatch(
      looked.stdout,
      /^\S+: release \S+, \d+ cores, \d+ GiB\n\/ is \d+% full\n\/tmp is \d+% full\nthe note says: all is well\n$/,
    );
    const python = await run("python.ts", ["ssh:web1"], host.env);
    assertEquals([python.code, python.stderr], [0, ""]);
    assertMatch(python.stdout, PYTHON_OUTPUT);
    const unknown = await run("ssh.ts", ["no-such-host.invalid"], host.env);
    assertEquals(unknown.code, 1);
    assertMatch(unknown.stderr, /^Cannot find the host of no-such-host\.invalid\.\n[^]*hint: /);
    assertEquals((await run("ssh.ts")).code, 2);
  },
});

Deno.test("examples: daemon.ts looks into a server that goes on", async () => {
  await using guard = leakGuard();
  const path = `${guard.folder}/socket`;
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${FOLDER}../server/main.ts`, "--unix", path],
    env: { ...guard.env, XDG_STATE_HOME: guard.folder },
    stderr: "piped",
  }).spawn();
  const log = server.stderr.getReader();
  // Its first line: it listens.
  await log.read();
  for (const visits of [1, 2]) {
    const { code, stdout, stderr } = await run("daemon.ts", [`daemon:${path}`]);
    assertEquals([code, stderr], [0, ""]);
    assertEquals(
      stdout,
      `the server is process ${server.pid}\nvisits so far: ${visits}\n` +
        `the other sees: [ ${visits}, "undefined" ]\nheard: hello\n`,
    );
  }
  server.kill("SIGTERM");
  while (!(await log.read()).done);
  assertEquals((await server.status).code, 0);
});
