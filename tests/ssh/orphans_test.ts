/**
 * What is left on a host by a client that was killed: nothing but what was detached there on purpose.
 */

import { assert, assertEquals } from "@std/assert";
import { connect } from "../../mod.ts";
import { guarded } from "../../transport/ssh/control_master.ts";
import { linesOf, said, startProgram } from "../process/program.ts";
import { type LeakGuard, leakGuard, marked } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";
import {
  lacking,
  makeAccount,
  reach,
  type Server,
  startDropbear,
  startSshd,
  WAYS,
  which,
} from "./servers.ts";

const NEEDS = ["sshd", "ssh", "ssh-keygen"];
const ignore = Deno.build.os !== "linux" || lacking(...NEEDS);

/** How long what is to end may take, in ms: it is looked for every two seconds, and has another. */
const GRACE = 15_000;

interface Agent {
  readonly runtime: "deno" | "node" | "python";
  readonly interpreter: string | undefined;
  /** The words of a call: it starts a child, says that it is ready, and never ends. */
  readonly spins: string;
}

const javascript = (detached = false) =>
  `con.eval(${
    JSON.stringify(`(async () => {
      const { spawn } = await import("node:child_process");
      spawn("sleep", ["1000"], { stdio: "ignore", detached: ${detached} }).unref();
      console.log("ready");
      for (;;);
    })()`)
  })`;

const python = (detached = false) =>
  `con.compile(${
    JSON.stringify(`
import re, subprocess
def f(ready):
    subprocess.Popen(["sleep", "1000"], start_new_session=${detached ? "True" : "False"})
    ready()
    re.match("(a+)+$", "a" * 60 + "b")
`)
  })(() => console.log("ready"))`;

const AGENTS: readonly Agent[] = [
  { runtime: "deno", interpreter: Deno.execPath(), spins: javascript() },
  { runtime: "node", interpreter: findProgram("node"), spins: javascript() },
  { runtime: "python", interpreter: "/usr/bin/python3", spins: python() },
];
const PYTHON = AGENTS[2]!;

/** A program whose first call on a connection never ends. */
async function spinning(
  guard: LeakGuard,
  server: Server,
  agent: Agent,
  { useNative = true, username, spins = agent.spins }: {
    useNative?: boolean;
    username?: string;
    spins?: string;
  } = {},
): Promise<{ client: Deno.ChildProcess; kill(): Promise<void> }> {
  const { address, ...rest } = reach(server, username);
  const { runtime, interpreter } = agent;
  const options = { ...rest, useNative, runtime, interpreter, env: guard.env, stderr: "null" };
  const client = startProgram(
    guard,
    `const con = await connect("ssh:${address}", ${JSON.stringify(options)});
    console.log("open");
    await ${spins};`,
  );
  const lines = linesOf(client);
  await said("open", lines, client);
  await said("ready", lines, client);
  // The client, its guard, the agent, its child and its watch.
  assert(marked(guard.id).length >= 4, "the agent carries the test's mark");
  const end = async () => {
    await client.status;
    await lines.return!();
    await client.stderr.cancel();
  };
  return {
    client,
    async kill() {
      client.kill("SIGKILL");
      await end();
    },
  };
}

for (const { way, useNative } of WAYS) {
  for (const agent of AGENTS) {
    Deno.test({
      name:
        `${way}, ${agent.runtime}: a killed client leaves nothing, not even an agent in its first call`,
      ignore: ignore || agent.interpreter === undefined,
      fn: async () => {
        await using server = await startSshd();
        await using guard = leakGuard({ grace: GRACE });
        const { kill } = await spinning(guard, server, agent, { useNative });
        await kill();
      },
    });
  }

  Deno.test({
    name: `${way}: a child that was detached on purpose stays`,
    ignore,
    fn: async () => {
      await using server = await startSshd();
      await using guard = leakGuard({ grace: GRACE });
      const { kill } = await spinning(guard, server, PYTHON, { useNative, spins: python(true) });
      await kill();
      while (marked(guard.id).length > 1) await new Promise((resolve) => setTimeout(resolve, 20));
      const [left] = marked(guard.id);
      assert(Deno.readTextFileSync(`/proc/${left}/cmdline`).endsWith("sleep\x001000\x00"));
      Deno.kill(left!, "SIGKILL");
    },
  });
}

const DAEMONS = {
  sshd: { start: startSshd, needs: ["sshd", "ssh-keygen"] },
  dropbear: { start: startDropbear, needs: ["dropbear", "dropbearkey", "ssh-keygen"] },
};

for (const [daemon, { start, needs }] of Object.entries(DAEMONS)) {
  // Some of them are gone once the command runs, and others wait for it.
  for (const shell of ["bash", "dash", "zsh", "ksh", "fish", "tcsh"]) {
    Deno.test({
      name: `${daemon}, login shell ${shell}: a killed client leaves nothing`,
      ignore: ignore || lacking("root", "useradd", "openssl", ...needs, shell),
      fn: async () => {
        await using server = await start();
        await using account = await makeAccount(await Deno.realPath(which(shell)!), {
          authorized: server.authorizedKeys,
        });
        await using guard = leakGuard({ grace: GRACE });
        const { kill } = await spinning(guard, server, PYTHON, {
          useNative: false,
          username: account.name,
        });
        await kill();
      },
    });
  }
}

Deno.test({
  name: "closing ends an agent's child also below a login shell that waits",
  ignore: ignore || lacking("root", "useradd", "openssl", "fish"),
  fn: async () => {
    await using server = await startSshd();
    await using account = await makeAccount(which("fish")!, { authorized: server.authorizedKeys });
    await using guard = leakGuard();
    const { address, ...rest } = reach(server, account.name);
    await using con = await connect(`ssh:${address}`, {
      ...rest,
      runtime: "python",
      interpreter: "/usr/bin/python3",
      env: guard.env,
    });
    await con.eval("__import__('subprocess').Popen(['sleep', '1000']) and None");
    assert(marked(guard.id).length >= 4);
  },
});

Deno.test({
  name: "native: a client program that is stopped does not keep anything from ending",
  ignore,
  fn: async () => {
    await using server = await startSshd();
    await using guard = leakGuard({ grace: GRACE });
    const { client, kill } = await spinning(guard, server, PYTHON);
    const ssh = marked(guard.id).find((pid) => {
      const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
      return / \(ssh\) \S+ (\d+)/.exec(stat)?.[1] === String(client.pid);
    });
    Deno.kill(ssh!, "SIGSTOP");
    await kill();
  },
});

/** Python on the host, in processes that the guard knows. */
function connectPython(server: Server, guard: LeakGuard) {
  const { address, ...rest } = reach(server);
  return connect(`ssh:${address}`, {
    ...rest,
    runtime: "python",
    interpreter: "/usr/bin/python3",
    env: guard.env,
  });
}

Deno.test({
  name: "what the daemon's process for a connection leaves behind, killed, goes too",
  ignore,
  fn: async () => {
    await using server = await startSshd();
    await using guard = leakGuard({ grace: GRACE });
    await using con = await connectPython(server, guard);
    const lost = con.eval("__import__('time').sleep(1e6)").then(
      () => undefined,
      (error: unknown) => error,
    );
    const stat = Deno.readTextFileSync(`/proc/${con.interpreter.pid}/stat`);
    Deno.kill(Number(/\) \S+ (\d+)/.exec(stat)![1]), "SIGKILL");
    assert(await lost instanceof Error);
  },
});

Deno.test({
  name: "an agent that is there for longer than its watch's interval is left alone",
  ignore,
  fn: async () => {
    await using server = await startSshd();
    await using guard = leakGuard({ grace: GRACE });
    await using con = await connectPython(server, guard);
    assertEquals(await con.eval("__import__('time').sleep(4.5)"), null);
    assert(marked(guard.id).length > 1, "nobody watches over it");
  },
});

Deno.test("a master that goes on after one SIGTERM gets another with its shell, and is not left", async () => {
  await using guard = leakGuard({ grace: 5000 });
  const stubborn = 'trap "trap - TERM; echo first" TERM; echo ready; while :; do sleep 0.1; done';
  const { program, args } = guarded("sh", ["-c", stubborn]);
  const child = new Deno.Command(program, {
    args,
    env: guard.env,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
    detached: true,
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    Deno.kill(-child.pid, "SIGKILL");
  }, 10_000);
  const lines = linesOf(child);
  assertEquals((await lines.next()).value, "ready");
  await child.stdin.close();
  assertEquals((await lines.next()).value, "first");
  child.kill("SIGTERM");
  await child.status;
  // It held the shell's output.
  assertEquals(await lines.next(), { done: true, value: undefined });
  clearTimeout(timer);
  assert(!late);
});
