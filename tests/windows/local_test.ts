import process from "node:process";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BootstrapError, connect, ConnectionError, RemoteError } from "../../mod.ts";
import { collect, converse, needsNode, node, onWindows } from "./windows.ts";

Deno.test(onWindows("local: a whole conversation with Deno", async () => {
  await using con = await connect("local:");
  assertEquals(await con.globals.Deno.build.os, "windows");
  await converse(con);
}));

Deno.test(onWindows("local: a whole conversation with Node", async () => {
  await using con = await connect("local:", { runtime: "node", interpreter: node });
  assertEquals(await con.modules.process.platform, "win32");
  await converse(con);
}, needsNode));

Deno.test(onWindows(
  "local: what is printed comes in order, and does not break the connection",
  async () => {
    const stdout = collect(), stderr = collect();
    {
      await using con = await connect("local:", { stdout: stdout.stream, stderr: stderr.stream });
      await con.eval(
        "console.log('one'), process.stdout.write('two\\n'), Deno.stdout.writeSync(new TextEncoder().encode('three\\n'))",
      );
      await con.eval("console.error('wrong')");
      for (const stdout of [undefined, "inherit"]) {
        const spawn = await con.compile(async (stdout?: "inherit") =>
          (await new Deno.Command("cmd", { args: ["/c", "echo from a child"], stdout }).spawn()
            .status)
            .code
        );
        assertEquals(await spawn(stdout as "inherit"), 0);
      }
      const output = await con.eval<Uint8Array>(
        "(await new Deno.Command('cmd', { args: ['/c', 'echo piped'] }).output()).stdout",
      );
      assertEquals(new TextDecoder().decode(output).trim(), "piped");
    }
    assertEquals(stdout.text(), "one\ntwo\nthree\n");
    assertStringIncludes(stderr.text(), "wrong\n");
    assertEquals(stderr.text().match(/from a child/g)?.length, 2);
  },
));

Deno.test(onWindows("local: the program's input is at its end", async () => {
  await using con = await connect("local:");
  assertEquals(await con.eval("await Deno.stdin.read(new Uint8Array(9))"), null);
  assertEquals(await con.eval("(await new Response(Deno.stdin.readable).text()).length"), 0);
  assertEquals(
    await con.eval("new Promise((end) => process.stdin.on('end', () => end('end')).resume())"),
    "end",
  );
}));

Deno.test(onWindows("local: folder, variables and arguments with blanks and quotes", async () => {
  const folder = await Deno.makeTempDir({ prefix: "pushy a b" });
  try {
    const env = { PUSHY_A: `a "quoted" & b%PATH%`, PUSHY_B: "ä" };
    await using con = await connect("local:", { cwd: folder, env });
    assertEquals(await con.globals.Deno.cwd(), folder);
    assertEquals(await con.globals.Deno.env.get("PUSHY_A"), env.PUSHY_A);
    assertEquals(await con.globals.Deno.env.get("PUSHY_B"), env.PUSHY_B);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}));

Deno.test(onWindows("local: files are copied, and trees", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using con = await connect("local:");
    await Deno.mkdir(`${folder}\\tree\\below`, { recursive: true });
    await Deno.writeTextFile(`${folder}\\tree\\below\\file`, "text");
    await con.putfile(`${folder}\\tree\\below\\file`, `${folder}\\there`);
    await con.getfile(`${folder}\\there`, `${folder}\\back`);
    assertEquals(await Deno.readTextFile(`${folder}\\back`), "text");
    await con.getfile(`${folder}\\tree`, `${folder}\\copy`, { recursive: true });
    assertEquals(await Deno.readTextFile(`${folder}\\copy\\below\\file`), "text");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}));

Deno.test(onWindows("local: a sandbox, which Deno itself sees to", async () => {
  await using con = await connect("local:", { permissions: { env: ["PUSHY_A"] } });
  assertEquals(await con.eval("1 + 2"), 3);
  const error = await assertRejects(
    async () => await con.eval("Deno.readTextFileSync('C:\\\\windows\\\\win.ini')"),
    RemoteError,
  );
  assertEquals(error.type, "NotCapable");
}));

Deno.test(onWindows("local: without a cache nothing is written", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using con = await connect("local:", { cache: false, cwd: folder });
    assertEquals(await con.eval("1 + 2"), 3);
    assertEquals(await con.globals.Deno.env.get("DENO_DIR"), "?/x");
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}));

Deno.test(onWindows(
  "local: the process ends with the connection, and when it spins, by force",
  async () => {
    const con = await connect("local:", { closeTimeout: 300 });
    const pid = await con.globals.Deno.pid;
    assert(isThere(pid));
    const spinning = assertRejects(async () => await con.execute("for (;;);"));
    await con.close();
    await spinning;
    assert(!isThere(pid));
  },
));

Deno.test(onWindows("local: an agent that spins ends when its parent has been killed", async () => {
  const mod = new URL("../../mod.ts", import.meta.url).href;
  const program = `
    const { connect } = await import(${JSON.stringify(mod)});
    // Deno ends its own children with it, but not theirs: so there is one between, as cmd.exe is for SSH.
    const con = await connect("local:", { interpreter: ["cmd", "/c", Deno.execPath()] });
    // The very first call does not let go.
    await con.execute("console.log(Deno.pid); for (;;);");
  `;
  await using parent = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `data:application/javascript,${encodeURIComponent(program)}`],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = parent.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const pid = Number((await lines.read()).value);
  assert(isThere(pid));
  parent.kill("SIGKILL");
  await parent.status;
  while (isThere(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  await lines.cancel();
}));

Deno.test(onWindows(
  "local: children of node:child_process may have the agent's standard error",
  async () => {
    const stderr = collect();
    {
      await using con = await connect("local:", { stderr: stderr.stream });
      const status = await con.eval(
        "(await import('node:child_process')).spawnSync('cmd', ['/c', 'echo', 'from a child'], " +
          "{ stdio: ['ignore', 2, 2] }).status",
      );
      assertEquals(status, 0);
      assertEquals(await con.eval("1 + 2"), 3);
    }
    assertStringIncludes(stderr.text(), "from a child");
  },
));

Deno.test(onWindows("local: a process that is ended is a lost connection", async () => {
  await using con = await connect("local:");
  const waiting = assertRejects(async () => await con.eval("new Promise(() => {})"));
  Deno.kill(await con.globals.Deno.pid, "SIGKILL");
  await waiting;
  await con.closed;
}));

Deno.test(
  onWindows("local: an interpreter that is not there, or that is something else", async () => {
    const absent = await assertRejects(
      () => connect("local:", { interpreter: "C:\\absent\\deno.exe" }),
      ConnectionError,
    );
    assertStringIncludes(absent.message, "there is no such program");
    await assertRejects(
      () => connect("local:", { interpreter: ["cmd", "/c", "exit 3"] }),
      BootstrapError,
    );
    for (const runtime of ["python", "bun"] as const) {
      const error = await assertRejects(() => connect("local:", { runtime }), TypeError);
      assertStringIncludes(error.message, "on Windows");
    }
  }),
);

/** Asks Windows for a process, without a signal to it. */
function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
