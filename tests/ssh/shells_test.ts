import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Popen } from "../../transport/ssh.ts";
import {
  type Account,
  lacking,
  makeAccount,
  reach,
  startDropbear,
  startSshd,
  textOf,
  WAYS,
  which,
} from "./servers.ts";

const SHELLS = ["dash", "bash", "zsh", "ksh", "fish", "tcsh", "busybox"];

// Speaks on descriptors 3 and 4, as an agent does, and prints on 1 what must not disturb it.
const SCRIPT = `
import net from "node:net";
console.log("print");
// OpenSSH's daemon gives one socket for both: the end of the one must not shut the other.
const input = new net.Socket({ fd: 3, writable: false, allowHalfOpen: true });
const output = new net.Socket({ fd: 4, readable: false, allowHalfOpen: true });
input.on("data", (data) => output.write("<" + data + ">"));
input.on("end", () => output.end("end"));
`;

function agentCommand(): string[] {
  const url = `data:application/javascript;base64,${btoa(SCRIPT)}`;
  return ["sh", "-c", `exec deno run -A '${url}' 3<&0 4>&1 0</dev/null 1>&2`];
}

async function shellOf(name: string, folder: string): Promise<string> {
  if (name !== "busybox") return await Deno.realPath(which(name)!);
  const path = `${folder}/ash`;
  try {
    await Deno.symlink(which("busybox")!, path);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  return path;
}

const DAEMONS = {
  sshd: { start: startSshd, needs: ["sshd", "ssh-keygen"], shells: SHELLS },
  // dropbear lets in only accounts whose shell is in /etc/shells.
  dropbear: {
    start: startDropbear,
    needs: ["dropbear", "dropbearkey", "ssh-keygen"],
    shells: SHELLS.filter((shell) => shell !== "busybox"),
  },
};

for (const [daemon, { start, needs, shells }] of Object.entries(DAEMONS)) {
  for (const shell of shells) {
    Deno.test({
      name: `${daemon}, login shell ${shell}: every kind of command line arrives as it was meant`,
      ignore: lacking("root", "useradd", "openssl", "python3", ...needs, shell),
      fn: async (t) => {
        await using server = await start();
        await using account = await makeAccount(await shellOf(shell, server.folder), {
          authorized: server.authorizedKeys,
        });
        for (const { way, useNative } of WAYS) {
          await t.step(
            way,
            () => everyCommand({ ...reach(server, account.name), useNative }, account),
          );
        }
      },
    });
  }
}

async function everyCommand(
  options: ReturnType<typeof reach> & { useNative: boolean },
  account: Account,
): Promise<void> {
  {
    await using transport = await Popen(agentCommand(), options);
    const writer = transport.stdin.getWriter();
    await writer.write(new TextEncoder().encode("hello"));
    const reader = transport.stdout.getReader({ mode: "byob" });
    const { value } = await reader.read(new Uint8Array(100), { min: 7 });
    assertEquals(new TextDecoder().decode(value), "<hello>");
    await writer.close();
    const rest = await reader.read(new Uint8Array(100), { min: 3 });
    assertEquals(new TextDecoder().decode(rest.value), "end");
    assertEquals(await transport.status, { code: 0, signal: null });
    assertStringIncludes(await textOf(transport.stderr), "print");
  }
  const words = [
    "a b",
    "it's",
    'say "x"',
    "$HOME",
    "`id`",
    "*",
    "~",
    "a\\",
    "\\\\",
    "{x,y}",
    "!",
    "#",
    "p%q",
    "l1\nl2",
    "é",
    ";&|<>()",
    "-n",
    "[z]?",
    "",
    "a\tb",
    "^",
    "!!:s/a/b",
    "\\'",
  ];
  const show = "import sys; sys.stdout.buffer.write('\\x00'.join(sys.argv[1:]).encode('utf-8'))";
  for (const more of [{}, { cwd: account.home, env: { PUSHY_TEST: words.join("|") } }]) {
    await using transport = await Popen(
      ["/usr/bin/python3", "-X", "utf8", "-c", show, ...words],
      { ...options, ...more },
    );
    assertEquals((await textOf(transport.stdout)).split("\0"), words);
    assertEquals((await transport.status).code, 0);
  }
  for (const value of ["plain", "it's $x", words.join("|")]) {
    const code =
      "import os; print(os.getcwd()); print(os.environb[b'PUSHY_TEST'].decode('utf-8'), end='')";
    const cwd = `${account.home}/it's! a\\ $folder`;
    await Deno.mkdir(cwd, { recursive: true });
    await using transport = await Popen(["/usr/bin/python3", "-X", "utf8", "-c", code], {
      ...options,
      cwd,
      env: { PUSHY_TEST: value },
    });
    assertEquals(await textOf(transport.stdout), `${cwd}\n${value}`);
  }
  {
    // Which interpreters a host has can be asked over any of these shells.
    const line = "command -v no-such-interpreter; command -v python3; command -v deno; exit 0";
    await using transport = await Popen(["sh", "-c", line], options);
    assertEquals((await textOf(transport.stdout)).trim().split("\n").length, 2);
  }
  {
    await using transport = await Popen(["sh", "-c", "exit 7"], options);
    assertEquals(await transport.status, { code: 7, signal: null });
  }
  {
    await using transport = await Popen(["no-such-interpreter"], options);
    const reason: Error | undefined = (await transport.status).reason;
    assert(reason !== undefined, "a program that is not there is a reason");
    assertEquals((reason as { code?: string }).code, "ENOENT");
    assertStringIncludes(reason?.message ?? "", "no-such-interpreter");
  }
  {
    await using transport = await Popen(["cat"], { ...options, cwd: "/no/such/folder" });
    assert((await transport.status).code !== 0);
    assertStringIncludes(await textOf(transport.stderr), "/no/such/folder");
  }
}
