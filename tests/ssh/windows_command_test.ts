import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { connect, registerTransport } from "../../mod.ts";
import { startOf } from "../../runtime/bootstrap.ts";
import { runtimeOf } from "../../runtime/runtimes.ts";
import { windowsCommandLine } from "../../transport/ssh/windows_command.ts";

/**
 * What PowerShell makes of a line, by its documentation (about_Parsing, about_Quoting_Rules): the argv of the
 * native program that it starts, for the part of its grammar that `windowsCommandLine` may use. Throws where it
 * would expand, cut or redirect something.
 */
function readByPowerShell(line: string): string[] {
  const words: string[] = [];
  for (let at = 0; at < line.length;) {
    if (line[at] === " ") {
      at++;
      continue;
    }
    if (line[at] === '"') {
      if (words.length === 0) throw new Error("A text, not a command");
      const end = line.indexOf('"', at + 1);
      if (end < 0) throw new Error("The text has no end");
      const text = line.slice(at + 1, end);
      if (/[$`\u201c-\u201f]/.test(text)) throw new Error(`Expanded: ${text}`);
      words.push(text);
      at = end + 1;
      if (at < line.length && line[at] !== " ") throw new Error("Something sticks to the text");
      continue;
    }
    const bare = /^[^ ]+/.exec(line.slice(at))![0];
    // Separators, groups, variables, splatting, redirection, comments, arrays, escapes, quotes.
    if (/[;|&(){}<>,$@#`'"\u2018-\u201f]/.test(bare)) throw new Error(`Not a plain word: ${bare}`);
    if (bare.startsWith("-") && /[.:]/.test(bare)) throw new Error(`Cut in two: ${bare}`);
    words.push(bare);
    at += bare.length;
  }
  return words;
}

/** The same for cmd.exe (`cmd /?`, `set /?`): what it runs after `cmd /c "<line>"`, with what is set before. */
function readByCmd(line: string): { command: string; set: Record<string, string>; cwd?: string } {
  if (line.includes("%") || line.includes("^")) throw new Error(`Expanded: ${line}`);
  const outside = line.replace(/"[^"]*"/g, "");
  if (/["&|<>]/.test(outside)) throw new Error(`Cut or redirected: ${line}`);
  const inner = /^cmd \/c "(.*)"$/.exec(line);
  if (!inner) return { command: line, set: {} };
  const steps = inner[1]!.split("&&");
  const set: Record<string, string> = {};
  let cwd: string | undefined;
  for (const step of steps.slice(0, -1)) {
    const assignment = /^set ([^=]+)=(.*)$/.exec(step);
    if (assignment) set[assignment[1]!] = assignment[2]!;
    else cwd = /^cd \/d (.*)$/.exec(step)![1]!;
  }
  const command = steps.at(-1)!;
  if (/["&|<>]/.test(steps.join(""))) throw new Error(`Cut or redirected: ${steps}`);
  return { command, set, cwd };
}

for (const name of ["deno", "node"] as const) {
  Deno.test(`windows: the line that starts ${name} is read alike by cmd.exe and PowerShell`, () => {
    const runtime = runtimeOf(name);
    for (const cache of [true, false]) {
      const permissions = name === "deno" ? { read: ["C:\\a", "D:\\b"], net: true } : undefined;
      const { command, env } = startOf(runtime, ["C:\\deno\\deno.exe"], {
        cache,
        permissions,
        platform: "windows",
      });
      const line = windowsCommandLine(command, { env });
      assert(line.length < 8191, `${line.length} characters`);
      const seen = readByCmd(line);
      assertEquals(seen.set, env);
      if (Object.keys(env).length === 0) {
        assertEquals(readByPowerShell(line), command);
        assertEquals(seen.command.replaceAll('"', ""), command.join(" "));
      } else {
        assertEquals(readByPowerShell(line), ["cmd", "/c", line.slice(8, -1)]);
        assertEquals(seen.command, command.join(" "));
      }
    }
  });
}

Deno.test("windows: a folder and variables are set by an inner cmd.exe", () => {
  const cwd = "C:\\Program Files (x86)\\a";
  const env = { A: "x=1;2,3 ", B: "Ä\\" };
  const line = windowsCommandLine(["deno", "run"], { cwd, env });
  assertEquals(
    line,
    'cmd /c "cd /d C:\\Program Files (x86)\\a&&set A=x=1;2,3 &&set B=Ä\\&&deno run"',
  );
  assertEquals(readByPowerShell(line)[0], "cmd");
  assertEquals(readByCmd(line), { command: "deno run", set: env, cwd });
});

Deno.test("windows: words are plain, or in quotation marks", () => {
  assertEquals(windowsCommandLine(["deno", "run", "-A", "a b"]), 'deno run -A "a b"');
  assertEquals(windowsCommandLine(["deno", "--a=b", "-a.b"]), 'deno "--a=b" "-a.b"');
});

Deno.test("windows: what the two shells would read in another way is refused", () => {
  for (const word of ["%PATH%", "$x", "a`b", 'a"b', "a^b", "a\nb", "a&b", "“a”", "a\\", ""]) {
    assertThrows(() => windowsCommandLine(["deno", word]), TypeError, "word");
  }
  assertThrows(() => windowsCommandLine(["deno", "a b"], { cwd: "C:\\" }), TypeError, "word");
  assertThrows(() => windowsCommandLine(["C:\\Program Files\\deno.exe"]), TypeError, "short name");
  assertThrows(() => windowsCommandLine(["deno"], { cwd: 'C:\\a"&x' }), TypeError, "folder");
  assertThrows(() => windowsCommandLine(["deno"], { env: { "A B": "" } }), TypeError, "variable");
  const secret = assertThrows(
    () => windowsCommandLine(["deno"], { env: { A: "a%secret%" } }),
    TypeError,
  );
  assert(!secret.message.includes("secret"));
  assertThrows(() => windowsCommandLine(["deno", "a".repeat(8200)]), TypeError, "8191");
});

/** A transport whose other side says `said` on standard error and ends, and that counts how often it was asked. */
function speaking(said: string): { name: string; platforms: (string | undefined)[] } {
  const platforms: (string | undefined)[] = [];
  const name = `says-${crypto.randomUUID().slice(0, 8)}`;
  const text = (value: string) =>
    new ReadableStream<Uint8Array>({
      start(controller) {
        if (value) controller.enqueue(new TextEncoder().encode(value));
        controller.close();
      },
    });
  registerTransport(name, {
    Popen(_command, { address, platform }) {
      platforms.push(platform);
      const status = Promise.resolve({ code: 1, signal: null });
      return Promise.resolve({
        address,
        stdin: new WritableStream(),
        stdout: text(""),
        stderr: text(said),
        status,
        close: () => status,
        [Symbol.asyncDispose]: async () => void await status,
      });
    },
  });
  return { name, platforms };
}

Deno.test("windows: what its shells say to a Unix command line is known", async () => {
  const said = [
    "'sh' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n",
    "sh : The term 'sh' is not recognized as the name of a cmdlet, function, script file, or\r\n",
    "sh: The term 'sh' is not recognized as a name of a cmdlet, function, script file, or\r\n",
    'Die Benennung "sh" wurde nicht ... erkannt\r\n    + FullyQualifiedErrorId : CommandNotFoundException\r\n',
    "- was unexpected at this time.\r\n",
  ];
  for (const text of said) {
    const { name, platforms } = speaking(text);
    const error = await assertRejects(() => connect(`${name}:`, { stdout: new WritableStream() }));
    assertEquals((error as Error).name, "BootstrapError");
    assertEquals(platforms, ["unix", "windows"], text);
  }
  for (const text of ["sh: 1: deno: not found\n", "Permission denied\n", ""]) {
    const { name, platforms } = speaking(text);
    await assertRejects(() => connect(`${name}:`));
    assert(!platforms.includes("windows"), text);
  }
  const { name, platforms } = speaking(said[0]!);
  await assertRejects(() => connect(`${name}:`, { platform: "unix" }));
  assert(!platforms.includes("windows"));
});

Deno.test("windows: a runtime without an agent for it, and another platform, are refused", async () => {
  const { name } = speaking("");
  for (const runtime of ["python", "bun"] as const) {
    await assertRejects(
      () => connect(`${name}:`, { runtime, platform: "windows" }),
      TypeError,
      `Cannot start ${runtime} on Windows`,
    );
  }
  await assertRejects(
    () => connect(`${name}:`, { platform: "beos" as "unix" }),
    TypeError,
    "unix or windows",
  );
});
