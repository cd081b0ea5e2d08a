import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { lastPath } from "../../cli/repl_languages.ts";
import { prepare } from "../../cli/repl_source.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { CLI, PUSHY, pushy, Terminal } from "./terminal.ts";

/** A prompt of `pushy repl` in a terminal, its state in the test's folder. */
async function prompt(
  guard: { folder: string; env: Record<string, string> },
  command = `${PUSHY} repl local:`,
): Promise<Terminal> {
  const state = { XDG_STATE_HOME: `${guard.folder}/state` };
  const terminal = await Terminal.start(command, guard.folder, { ...guard.env, ...state });
  await terminal.until(/^(>|>>>)$/m);
  return terminal;
}

const PYTHON = `${PUSHY} repl local: --runtime python`;

async function leave(terminal: Terminal): Promise<void> {
  await terminal.press("C-d");
  await terminal.until("[ended 0]");
}

Deno.test({
  name: "repl: values, several lines, declarations, await",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line("1 + 1");
    await terminal.until(/^2$/m);
    await terminal.line("function f() {");
    await terminal.until(/^\.\.\.$/m);
    await terminal.line("return 42 }");
    await terminal.line("f()");
    await terminal.until(/^42$/m);
    await terminal.line("const { a, b } = await Promise.resolve({ a: 7, b: 8 })");
    await terminal.line("a * b");
    await terminal.until(/^56$/m);
    await terminal.line("_ + 1");
    await terminal.until(/^57$/m);
    await terminal.line("({ list: [1, 'x'], map: new Map([[1, 2]]) })");
    await terminal.until('{ list: [ 1, "x" ], map: Map(1) { 1 => 2 } }');
    await terminal.line("null.x");
    await terminal.until("TypeError: Cannot read properties of null (reading 'x')");
    await terminal.line("console.log('print' + 'ed')");
    await terminal.until(/^printed$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: what is printed later appears above the line that is typed",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line(
      "globalThis.later = () => setTimeout(() => console.log('la' + 'ter'), 300), 0",
    );
    await terminal.until(/^0$/m);
    await terminal.line("later(), 1");
    await terminal.until(/^1$/m);
    await terminal.type("'half a li");
    await terminal.until(/^later$\n^> 'half a li$/m);
    await terminal.line("ne'");
    await terminal.until(/^"half a line"$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Tab completes the names that the remote side has",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line("const wonderful = { firstName: 1, firstAid: 2 }");
    await terminal.until(/^undefined$/m);
    await terminal.type("wonderf");
    await terminal.press("Tab");
    await terminal.until(/^> wonderful$/m);
    await terminal.type(".fi");
    await terminal.press("Tab");
    await terminal.until(/^> wonderful\.first$/m);
    await terminal.press("Tab");
    await terminal.until(/firstAid\s+firstName/);
    await terminal.type("A");
    await terminal.press("Tab");
    await terminal.until(/^> wonderful\.firstAid$/m);
    await terminal.press("Enter");
    await terminal.until(/^2$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Ctrl-C stops what is running, and keeps the session",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line("const kept = 'still here'");
    await terminal.until(/^undefined$/m);
    await terminal.line("await new Promise(() => {})");
    await terminal.press("C-c");
    await terminal.until("Interrupted");
    await terminal.type("this is not run");
    await terminal.press("C-c");
    await terminal.until(/^>$/m);
    await terminal.line("kept");
    await terminal.until(/^"still here"$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: a loop that never waits can be ended with its interpreter",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line("console.log('lo' + 'op'); while (true) {}");
    await terminal.until(/^loop$/m);
    await terminal.press("C-c");
    await terminal.until("still busy");
    await terminal.line("n");
    await terminal.line("'later'");
    await terminal.until("The line before is still running there");
    await terminal.press("C-c");
    await terminal.until(/still busy[^]*still busy/);
    await terminal.line("y");
    await terminal.until(/Ctrl-D leaves[^]*Ctrl-D leaves[^]*>$/);
    await terminal.line("'alive'");
    await terminal.until(/^"alive"$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: a lost connection is told at once, and can be made again",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.line("setTimeout(() => Deno.kill(Deno.pid, 'SIGKILL'), 200), 0");
    await terminal.until(/SIGKILL\nConnect again\? \[Y\/n\]$/);
    await terminal.press("Enter");
    await terminal.until(/Ctrl-D leaves[^]*Ctrl-D leaves[^]*>$/);
    await terminal.line("Deno.kill(Deno.pid, 'SIGKILL')");
    await terminal.until(/Connect again\? \[Y\/n\]$/);
    // Which means no.
    await terminal.press("C-c");
    await terminal.until("[ended 1]");
  },
});

Deno.test({
  name: "repl: looks into a running daemon, and tells at once when that ends",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    const path = `${guard.folder}/socket`;
    const server = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, "server", "--unix", path],
      env: { ...guard.env, XDG_STATE_HOME: guard.folder },
      stderr: "piped",
    }).spawn();
    const log = server.stderr.getReader();
    await log.read();
    await using terminal = await prompt(guard, `${PUSHY} repl daemon:${path}`);
    await terminal.line("globalThis.seen = Deno.pid");
    await terminal.until(new RegExp(`^${server.pid}\\n>$`, "m"));
    const other = await pushy(["repl", `daemon:${path}`], { stdin: "seen\n", env: guard.env });
    assertEquals(other, { code: 0, stdout: `${server.pid}\n`, stderr: "" });
    await terminal.type("half a li");
    server.kill("SIGTERM");
    await terminal.until(/shutting down[^]*\nConnect again\? \[Y\/n\]$/);
    await terminal.press("C-d");
    await terminal.until("[ended 1]");
    while (!(await log.read()).done);
    assertEquals((await server.status).code, 0);
  },
});

Deno.test({
  name: "repl: a shared interpreter is not offered to be ended; a signal ends its busy server",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    const path = `${guard.folder}/socket`;
    const server = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, "server", "--unix", path, "--grace", "100"],
      env: { ...guard.env, XDG_STATE_HOME: guard.folder },
      stderr: "piped",
    }).spawn();
    const log = server.stderr.pipeThrough(new TextDecoderStream()).getReader();
    await log.read();
    await using terminal = await prompt(guard, `${PUSHY} repl daemon:${path}`);
    // What is printed there has no time to arrive: the server's own standard error tells that the loop has begun.
    await terminal.line("Deno.writeTextFileSync('/dev/stderr', 'begun'); while (true) {}");
    let text = "";
    while (!text.includes("begun")) {
      const { done, value } = await log.read();
      assert(!done);
      text += value;
    }
    await terminal.press("C-c");
    await terminal.until(/only a restart of the server[^]*>$/);
    server.kill("SIGTERM");
    for (let part = await log.read(); !part.done; part = await log.read()) text += part.value;
    assertStringIncludes(text, '"event":"killed"');
    assertEquals((await server.status).signal, "SIGKILL");
    await terminal.until(/Connect again\? \[Y\/n\]$/);
    await terminal.press("C-d");
    await terminal.until("[ended 1]");
  },
});

Deno.test({
  name: "repl: lines are kept from session to session, for this user alone",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    {
      await using terminal = await prompt(guard);
      await terminal.line("6 * 7");
      await terminal.until(/^42$/m);
      await leave(terminal);
    }
    const path = `${guard.folder}/state/pushy/history_javascript`;
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    await using terminal = await prompt(guard);
    await terminal.press("Up", "Enter");
    await terminal.until(/^42$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: a narrow terminal, and one that changes its size",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard);
    await terminal.resize(30, 10);
    await terminal.line("'ab'.repeat(30).length + 1000");
    await terminal.until(/^1060$/m);
    await leave(terminal);
  },
});

Deno.test("repl: with piped input, values are printed one after the other", async () => {
  const { code, stdout, stderr } = await pushy(["repl", "local:"], {
    stdin: "const a = await Promise.resolve(20)\nfunction f() {\n  return a + 1\n}\nf() * 2\n" +
      "_ + 1\nconst _ = 7\n8\n_\n",
  });
  assertEquals(
    [code, stdout, stderr],
    [0, "undefined\nundefined\n42\n43\nundefined\n8\n7\n", ""],
  );
});

Deno.test({
  name: "repl: Python in several lines, as at its own prompt",
  ...requires("tmux", "python3"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard, PYTHON);
    await terminal.line("def twice(x):");
    await terminal.until(/^\.\.\.$/m);
    // Tab indents where nothing stands yet.
    await terminal.press("Tab");
    await terminal.line("return x * 2");
    await terminal.until(/^\.\.\. {5}return x \* 2\n\.\.\.$/m);
    await terminal.press("Enter");
    await terminal.line("twice('ab')");
    await terminal.until(/^'abab'$/m);
    await terminal.line("_ + 'c'");
    await terminal.until(/^'ababc'$/m);
    await terminal.line("print('pri' + 'nted')");
    await terminal.until(/^printed\n>>>$/m);
    await terminal.line("import asyncio");
    await terminal.line("await asyncio.sleep(0.01, 'wait' + 'ed')");
    await terminal.until(/^'waited'\n>>>$/m);
    await terminal.line("y = await asyncio.sleep(0.01, 40)");
    await terminal.line("y + 2");
    await terminal.until(/^42\n>>>$/m);
    await terminal.line("exit(3)");
    await terminal.until("[ended 3]");
  },
});

Deno.test({
  name: "repl: Python's errors are told as at its own prompt",
  ...requires("tmux", "python3"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard, PYTHON);
    const trace = "Traceback \\(most recent call last\\):\\n";
    const frame = '  File "<pushy>", line 1, in <module>\\n';
    await terminal.line("1 / 0");
    await terminal.until(
      new RegExp(`^>>> 1 / 0\\n${trace}${frame}ZeroDivisionError: .*\\n>>>$`, "m"),
    );
    await terminal.line("for");
    await terminal.until(
      /^>>> for\n {2}File "<pushy>", line 1\n {4}for\n[ ^]*\n*SyntaxError: invalid syntax\n>>>$/m,
    );
    await terminal.line("input()");
    await terminal.until(new RegExp(`${frame}EOFError: .*\\n>>>$`, "m"));
    await terminal.line("import asyncio; await asyncio.sleep(0, 1 / 0)");
    await terminal.until(new RegExp(`${trace}${frame}ZeroDivisionError: .*\\n>>>$`, "m"));
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Tab completes Python's names",
  ...requires("tmux", "python3"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard, PYTHON);
    await terminal.line("import os; wonderful = 1");
    await terminal.until(/= 1\n>>>$/);
    await terminal.type("wonderf");
    await terminal.press("Tab");
    await terminal.until(/^>>> wonderful$/m);
    await terminal.type(" + len(os.path.basena");
    await terminal.press("Tab");
    await terminal.until(/^>>> wonderful \+ len\(os\.path\.basename$/m);
    await terminal.line("('a/bcd'))");
    await terminal.until(/^4\n>>>$/m);
    await terminal.type("os.path.i");
    await terminal.press("Tab");
    await terminal.until(/^>>> os\.path\.is$/m);
    await terminal.press("Tab");
    await terminal.until(/isdir +isfile/);
    await terminal.press("C-c");
    await terminal.until(/^>>>$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Ctrl-C stops Python, also in a loop that never waits, and keeps the session",
  ...requires("tmux", "python3"),
  fn: async () => {
    await using guard = leakGuard();
    await using terminal = await prompt(guard, PYTHON);
    await terminal.line("kept = 'still ' + 'here'");
    await terminal.line("print('lo' + 'op'); exec('while True: pass')");
    await terminal.until(/^loop$/m);
    await terminal.press("C-c");
    await terminal.until(/^Interrupted\n>>>$/m);
    await terminal.line("import asyncio; print('wai' + 'ts'); await asyncio.sleep(1000)");
    await terminal.until(/^waits$/m);
    await terminal.press("C-c");
    await terminal.until(/^Interrupted\n[^]*^Interrupted\n>>>$/m);
    await terminal.type("this is not run");
    await terminal.press("C-c");
    await terminal.until(/^>>>$/m);
    await terminal.line("kept");
    await terminal.until(/^'still here'$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Python's end is told at once, can be made again, and the lines are kept",
  ...requires("tmux", "python3"),
  fn: async () => {
    await using guard = leakGuard();
    {
      await using terminal = await prompt(guard, PYTHON);
      await terminal.resize(60, 20);
      await terminal.line("import os, threading");
      await terminal.line("threading.Timer(0.2, os.kill, [os.getpid(), 9]).start()");
      await terminal.until(/SIGKILL\nConnect again\? \[Y\/n\]$/);
      await terminal.press("Enter");
      await terminal.until(/Ctrl-D leaves[^]*Ctrl-D leaves[^]*>>>$/);
      await terminal.line("6 * 7");
      await terminal.until(/^42$/m);
      await leave(terminal);
    }
    const path = `${guard.folder}/state/pushy/history_python`;
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    await using terminal = await prompt(guard, PYTHON);
    await terminal.press("Up", "Enter");
    await terminal.until(/^42$/m);
    await leave(terminal);
  },
});

Deno.test({
  name: "repl: Python with piped input",
  ...requires("python3"),
  fn: async () => {
    const { code, stdout, stderr } = await pushy(["repl", "local:", "--runtime", "python"], {
      stdin: "x = 20\ndef f():\n    return x + 1\n\nf() * 2\n'text'\nNone\n",
    });
    assertEquals([code, stdout, stderr], [0, "42\n'text'\n", ""]);
    const left = await pushy(["repl", "local:", "--runtime", "python"], {
      stdin: "import sys\nsys.exit(4)\nprint('no')\n",
    });
    assertEquals(left, { code: 4, stdout: "", stderr: "" });
  },
});

Deno.test("repl: with piped input, an error ends it with status 1", async () => {
  const { code, stdout, stderr } = await pushy(["repl", "local:"], { stdin: "1\nnull.x\n2\n" });
  assertEquals([code, stdout], [1, "1\n"]);
  assert(stderr.includes("TypeError"), stderr);
});

Deno.test("repl: input that is not complete goes on, and what is wrong does not", () => {
  for (const source of ["f(", "{", "`a", "/* x", "x = [1,", "if (a) {", "function f() {", "a +"]) {
    assertEquals(prepare(source), "incomplete", source);
  }
  for (const source of ["f)", "1 2", "let let", "'abc", "}", "a b c"]) {
    assert(prepare(source) !== "incomplete", source);
  }
});

Deno.test("repl: an object in braces is a value, a block is not", () => {
  assertEquals(prepare("{a: 1}"), { statements: "", expression: "{a: 1}", declares: [] });
  const block = prepare("{ let a = 1; a }");
  assert(block !== "incomplete" && block.declares.length === 0);
});

Deno.test("repl: what a line ends with is a path of names, or nothing", () => {
  assertEquals(lastPath("a.b.c"), { path: "a.b", part: "c" });
  assertEquals(lastPath("x = Deno."), { path: "Deno", part: "" });
  assertEquals(lastPath("f(mat"), { path: "", part: "mat" });
  assertEquals(lastPath("a?.b"), { path: "a", part: "b" });
  for (const line of ["f().x", "a[0].b", "'abc'.le", ""]) {
    assertEquals(lastPath(line), undefined, line);
  }
});
