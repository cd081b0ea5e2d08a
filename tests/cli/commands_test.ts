import { assert, assertEquals, assertMatch } from "@std/assert";
import { main } from "../../cli.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { CLI, PUSHY, pushy, Terminal } from "./terminal.ts";

Deno.test("eval: prints a value, as text or as JSON", async () => {
  assertEquals((await pushy(["eval", "local:", "1 + 2"])).stdout, "3\n");
  assertEquals((await pushy(["eval", "local:", "'text'"])).stdout, "text\n");
  assertEquals(
    (await pushy(["eval", "local:", "-"], { stdin: "[1, await 2]" })).stdout,
    "[ 1, 2 ]\n",
  );
  assertEquals(
    (await pushy(["eval", "local:", "--json", "({ a: new Map([['b', 1n]]), c: undefined })"]))
      .stdout,
    '{"a":{"b":1}}\n',
  );
  assertEquals((await pushy(["eval", "local:", "console.log('x'), 1"])).stdout, "x\n1\n");
});

Deno.test({
  name: "eval: code that never ends goes with the command, however that ends",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, "eval", "local:", "console.log('ready'); for (;;);"],
      env: guard.env,
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    assertEquals(new TextDecoder().decode((await reader.read()).value), "ready\n");
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
  },
});

Deno.test("eval: an error has the remote stack and status 1", async () => {
  const { code, stdout, stderr } = await pushy([
    "eval",
    "local:",
    "(() => { throw new RangeError('no') })()",
  ]);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /^RangeError: no\n\s+at /);
  const json = await pushy(["eval", "local:", "--json", "null.x"]);
  assertEquals(json.code, 1);
  assertEquals(JSON.parse(json.stderr).error.type, "TypeError");
  const typed = await pushy(["eval", "local:", "const x: number = 1"]);
  assertEquals(typed.code, 1);
  assertMatch(
    typed.stderr,
    /^pushy: Cannot run the code: it is TypeScript, .* Leave its types out\n$/,
  );
  const reference = await pushy(["eval", "local:", "--json", "new (class Car {})"]);
  assertEquals(reference.code, 1);
  assertMatch(reference.stderr, /^pushy: Cannot make JSON of a reference/);
});

Deno.test({
  name: "eval: a reader that has seen enough ends it, without a word",
  ...requires("bash"),
  fn: async () => {
    const line =
      `${PUSHY} eval local: "'x\\\\n'.repeat(1e6)" | head -n 1; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await new Deno.Command("bash", { args: ["-c", line] }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assertEquals([text(stdout), text(stderr)], ["x\n141\n", ""]);
  },
});

Deno.test("eval: what cannot be connected to says so, and has status 1", async () => {
  const { code, stderr } = await pushy(["eval", "local:", "--interpreter", "/no/such/deno", "1"]);
  assertEquals(code, 1);
  assertMatch(stderr, /the interpreter \/no\/such\/deno was not found there/);
  assertMatch((await pushy(["eval", "nowhere:", "1"])).stderr, /the transports are/);
});

Deno.test({
  name: "eval: Node as the runtime",
  ...requires("node"),
  fn: async () => {
    const { stdout } = await pushy(["eval", "local:", "--runtime", "node", "process.release.name"]);
    assertEquals(stdout, "node\n");
  },
});

Deno.test("a command line that means nothing has status 2, and says how it is used", async () => {
  for (const args of [["eval"], ["evil"], ["eval", "local:", "1", "--port", "x"], ["--nope"]]) {
    const { code, stderr } = await pushy(args);
    assertEquals(code, 2, args.join(" "));
    assertMatch(stderr, /error: /);
  }
});

Deno.test("help has examples for every command, and the version is the package's", async () => {
  const { stdout } = await pushy(["--help"]);
  for (const name of ["eval", "repl", "cp", "ping", "doctor", "server", "completions"]) {
    assert(stdout.includes(name));
    assertMatch((await pushy([name, "--help"])).stdout, /Examples:\n {2}(source|pushy)/, name);
  }
  const config = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  assertEquals((await pushy(["--version"])).stdout, `${config.version}\n`);
});

Deno.test("main gives the exit status", async () => {
  assertEquals(await main(["completions", "nushell"]), 2);
});

Deno.test("verbose shows stages and frames, and no values", async () => {
  const { stderr } = await pushy(["eval", "local:", "--verbose", "'se' + 'cret'"], {
    env: { PUSHY_PASSWORD: "hunter2" },
  });
  assertMatch(stderr, /· banner\n[^]*→ .*eval\(\)[^]*← return \d+/);
  assert(!/secret|se' \+|hunter2/.test(stderr), stderr);
});

Deno.test("ping shows each stage, and the latency of calls", async () => {
  const { code, stdout } = await pushy(["ping", "local:", "--count", "5"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^local: is deno .*\n/);
  assertMatch(stdout, /start +[\d.]+ ms\n +agent answers +[\d.]+ ms\n +first result +[\d.]+ ms/);
  assertMatch(stdout, /5 calls: minimum [\d.]+ ms, median [\d.]+ ms, maximum [\d.]+ ms/);
});

Deno.test("doctor finds a host in good health", async () => {
  const { code, stdout } = await pushy(["doctor", "local:"]);
  assertEquals(code, 0);
  assertMatch(
    stdout,
    /✓ interpreters: .*\n✓ agent: deno .*\n✓ clock: the same as here\nlocal: is in good health/,
  );
});

Deno.test("doctor says what to do at the first step that fails", async () => {
  const missing = await pushy(["doctor", "local:", "--runtime", "bun"], {
    env: { PATH: "/usr/bin:/bin" },
  });
  assertEquals(missing.code, 1);
  assertMatch(missing.stdout, /✗ interpreters: there is no bun .*\n +what to do: /);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const refused = await pushy(["doctor", `smb:127.0.0.1:${port}`]);
  assertEquals(refused.code, 1);
  assertMatch(refused.stdout, /✓ name: .*\n✗ port: .*\n +what to do: is the server running/);
  const nameless = await pushy(["doctor", "smb:no-such-host.invalid"]);
  assertMatch(nameless.stdout, /✗ name: .*\n +what to do: look at the spelling/);
});

for (const shell of ["bash", "zsh", "fish"] as const) {
  Deno.test({
    name: `completions: ${shell} takes the script`,
    ...requires(shell),
    fn: async () => {
      const { stdout } = await pushy(["completions", shell]);
      const path = await Deno.makeTempFile();
      try {
        await Deno.writeTextFile(path, stdout);
        const { code, stderr } = await new Deno.Command(shell, { args: ["-n", path] }).output();
        assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      } finally {
        await Deno.remove(path);
      }
    },
  });
}

Deno.test({
  name: "completions: bash completes commands, options and runtimes",
  ...requires("bash"),
  fn: async () => {
    const { stdout } = await pushy(["completions", "bash"]);
    const complete = async (...words: string[]) => {
      const script = `${stdout}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
_pushy; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const { stdout: out } = await new Deno.Command("bash", { args: ["-c", script] }).output();
      return new TextDecoder().decode(out).split("\n").filter(Boolean);
    };
    assertEquals(await complete("pushy", "d"), ["doctor"]);
    assertEquals(await complete("pushy", "eval", "--j"), ["--json"]);
    assertEquals(await complete("pushy", "eval", "--runtime", "p"), ["python"]);
    assertEquals(await complete("pushy", "server", "--sa"), ["--samba-folder"]);
  },
});

Deno.test({
  name: "completions: fish completes commands, options, runtimes and targets",
  ...requires("fish"),
  fn: async () => {
    const { stdout } = await pushy(["completions", "fish"]);
    const complete = async (line: string) => {
      const args = ["--no-config", "-c", `${stdout}\ncomplete -C '${line}'`];
      const { stdout: out } = await new Deno.Command("fish", { args }).output();
      return new TextDecoder().decode(out).split("\n").filter(Boolean).map((found) =>
        found.split("\t")[0]
      );
    };
    assertEquals(await complete("pushy d"), ["doctor"]);
    assertEquals(await complete("pushy eval --j"), ["--json"]);
    assertEquals(await complete("pushy eval --runtime p"), ["python"]);
    assertEquals(await complete("pushy ping l"), ["local:"]);
  },
});

for (const [shell, start] of [["bash", "bash --norc --noprofile"], ["zsh", "zsh -f"]] as const) {
  Deno.test({
    name: `completions: ${shell} completes at its prompt`,
    ...requires("tmux", shell),
    fn: async () => {
      await using guard = leakGuard();
      const { folder, env } = guard;
      const { stdout } = await pushy(["completions", shell]);
      const initial = shell === "zsh" ? "autoload -Uz compinit; compinit -u -D\n" : "";
      await Deno.writeTextFile(`${folder}/script`, `${initial}${stdout}PS1='$ '\nclear\n`);
      await using terminal = await Terminal.start(start, folder, { ...env, HOME: folder });
      await terminal.line(`. '${folder}/script'`);
      await terminal.until(/^\$$/);
      await terminal.type("pushy do");
      await terminal.press("Tab");
      await terminal.until(/^\$ pushy doctor$/m);
      await terminal.type(shell === "bash" ? " lo" : "lo");
      await terminal.press("Tab");
      await terminal.until(/^\$ pushy doctor local:$/m);
      await terminal.type(" --runtime py");
      await terminal.press("Tab");
      await terminal.until(/^\$ pushy doctor local: --runtime python$/m);
      await terminal.press("C-u");
      await terminal.line("exit");
      await terminal.until("[ended 0]");
    },
  });
}

Deno.test("server: serves until it is ended, and the other commands reach it", async () => {
  await using guard = leakGuard();
  const env = { ...guard.env, XDG_STATE_HOME: `${guard.folder}/state` };
  const path = `${guard.folder}/socket`;
  const server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", CLI, "server", "--unix", path],
    env,
    stderr: "piped",
  }).spawn();
  const log = server.stderr.getReader();
  await log.read();
  const { stdout, stderr } = await pushy(["eval", `daemon:${path}`, "6 * 7"], { env });
  assertEquals([stdout, stderr], ["42\n", ""]);
  await Deno.writeTextFile(`${guard.folder}/a`, "over the daemon");
  const copied = await pushy(["cp", `${guard.folder}/a`, `daemon:${path}:${guard.folder}/b`], {
    env,
  });
  assertEquals(copied.code, 0, copied.stderr);
  assertEquals(await Deno.readTextFile(`${guard.folder}/b`), "over the daemon");
  assertEquals((await pushy(["doctor", `daemon:${path}`], { env })).code, 0);
  const other = await pushy(["eval", `daemon:${path}`, "--runtime", "python", "1"], { env });
  assert(other.stderr.includes("deno answers there, not python"), other.stderr);
  server.kill("SIGTERM");
  while (!(await log.read()).done);
  assertEquals((await server.status).code, 0);
  assertMatch((await pushy(["server", "--help"])).stdout, /--tls-cert/);
});

Deno.test("server: what it cannot do is said in the words of its flags", async () => {
  const mistyped = await pushy(["server", "--prot", "1"]);
  assertEquals(mistyped.code, 2);
  assertMatch(
    mistyped.stderr,
    /^Cannot use --prot: there is no such option. Did you mean --port\?\n/,
  );
  assertMatch((await pushy(["server", "--nope"])).stderr, /^Cannot use --nope: [^?]*\nSee --help/);
  const open = await pushy(["server", "--hostname", "0.0.0.0"]);
  assertMatch(open.stderr, /give --tls-cert and --tls-key[^]* --allow-insecure is the only way/);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const env = { XDG_STATE_HOME: await Deno.makeTempDir() };
  const taken = await pushy(["server", "--port", String(port)], { env });
  listener.close();
  await Deno.remove(env.XDG_STATE_HOME, { recursive: true });
  assertEquals(taken.code, 1);
  assertMatch(
    taken.stderr,
    new RegExp(`^Cannot listen on 127.0.0.1:${port}: .* already. .*--port`),
  );
});

Deno.test({
  name: "eval: Ctrl-C ends it with status 130, and nothing is left",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    const command = `${PUSHY} eval local: 'console.log("run" + "ning"), new Promise(() => {})'`;
    await using terminal = await Terminal.start(command, guard.folder, guard.env);
    await terminal.until(/^running$/m);
    await terminal.press("C-c");
    await terminal.until("[ended 130]");
  },
});

Deno.test({
  name: "a password is asked for without showing it",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    const command = `${PUSHY} eval smb:127.0.0.1:1 --user me --ask-password 1`;
    await using terminal = await Terminal.start(command, guard.folder, guard.env);
    await terminal.until("Password for smb:127.0.0.1:1:");
    await terminal.line("hunter2");
    const screen = await terminal.until("[ended 1]");
    assertMatch(screen, /Cannot reach/);
    assert(!screen.includes("hunter2"));
  },
});
