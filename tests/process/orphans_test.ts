import { assert, assertEquals } from "@std/assert";
import { connect } from "../../mod.ts";
import { type LeakGuard, leakGuard, marked } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { linesOf, outcome, said, startProgram } from "./program.ts";

const linux = requiresThat(
  Deno.build.os === "linux",
  "no /proc here, which shows processes",
  "run the tests on Linux",
);

/** How long what is to end may take, in ms. */
const GRACE = 15_000;

const RUNTIMES = [
  { runtime: "deno", interpreter: undefined, requirement: linux },
  {
    runtime: "node",
    interpreter: findProgram("node"),
    requirement: requiresAll(linux, requires("node")),
  },
  {
    runtime: "bun",
    interpreter: findProgram("bun"),
    requirement: requiresAll(linux, requires("bun")),
  },
] as const;

const spawn = (detached = false) =>
  `const { spawn } = await import("node:child_process");
  spawn("sleep", ["1000"], { stdio: "ignore", detached: ${detached} }).unref();`;

/** What an agent may be at when its client is killed: its first call, for which it has no second thread. */
const WORK: [name: string, code: string][] = [
  ["an idle agent", "console.log('ready')"],
  ["an agent that spins", "(() => { console.log('ready'); for (;;); })()"],
  [
    "an agent that waits without looking",
    "(() => { console.log('ready'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); })()",
  ],
  ["an agent's child", `(async () => { ${spawn()} console.log("ready") })()`],
  [
    "an agent that spins, and its child",
    `(async () => { ${spawn()} console.log("ready"); for (;;); })()`,
  ],
];

/** Kills a program that has said that it is ready. What is left when the grace time is over, a guard names. */
async function killReady(client: Deno.ChildProcess, pid = client.pid): Promise<void> {
  const lines = linesOf(client);
  await said("ready", lines, client);
  Deno.kill(pid, "SIGKILL");
  await client.status;
  await lines.return!();
  await client.stderr.cancel();
}

/** A program whose first call on a connection is this. */
function firstCall(guard: LeakGuard, options: string, code: string): Deno.ChildProcess {
  return startProgram(
    guard,
    `const con = await connect("local:", ${options});
    await con.eval(${JSON.stringify(code)});
    setInterval(() => {}, 1000);`,
  );
}

for (const { runtime, interpreter, requirement } of RUNTIMES) {
  const options = JSON.stringify({ runtime, interpreter, stderr: "null" });
  for (const [name, code] of WORK) {
    Deno.test({
      name: `${runtime}: killing the client ends ${name}`,
      ignore: requirement.ignore,
      async fn() {
        await using guard = leakGuard({ grace: GRACE });
        await killReady(firstCall(guard, options, code));
      },
    });
  }

  Deno.test({
    name:
      `${runtime}: killing the client of an agent that spins leaves what was detached on purpose`,
    ignore: requirement.ignore,
    async fn() {
      await using guard = leakGuard({ grace: GRACE });
      const client = firstCall(
        guard,
        options,
        `(async () => { ${spawn(true)} console.log("ready"); for (;;); })()`,
      );
      await killReady(client);
      while (marked(guard.id).length > 1) await new Promise((resolve) => setTimeout(resolve, 20));
      const [left] = marked(guard.id);
      assert(Deno.readTextFileSync(`/proc/${left}/cmdline`).endsWith("sleep\x001000\x00"));
      Deno.kill(left!, "SIGKILL");
    },
  });

  Deno.test({
    name: `${runtime}: a child that was detached on purpose stays`,
    ignore: requirement.ignore,
    async fn() {
      await using _ = leakGuard({ grace: GRACE });
      // Not marked: it is meant to be left.
      await using guard = leakGuard({ grace: GRACE });
      const client = startProgram(
        guard,
        `const con = await connect("local:", ${options});
        const { spawn } = con.modules.child_process;
        const child = spawn("sleep", ["1000"], { stdio: "ignore", detached: true,
          env: await con.eval("({ PATH: process.env.PATH })") });
        console.log(await child.pid);
        await con.close();`,
      );
      const { code, stdout, stderr } = await outcome(client);
      assertEquals([code, stderr], [0, ""]);
      const pid = Number(stdout);
      assert(Deno.readTextFileSync(`/proc/${pid}/cmdline`).endsWith("sleep\x001000\x00"));
      Deno.kill(pid, "SIGKILL");
    },
  });
}

const python = requiresAll(linux, requires("python3"));

for (
  const [name, body] of [
    ["spins", "while True: pass"],
    ["sleeps", "__import__('time').sleep(1e6)"],
    // No other thread runs meanwhile.
    ["matches", "__import__('re').match('(a+)+$', 'a' * 60 + 'b')"],
    ["waits for a child", "__import__('subprocess').run(['sleep', '1000'])"],
  ]
) {
  Deno.test({
    name: `python: killing the client ends an agent that ${name}`,
    ...python,
    async fn() {
      await using guard = leakGuard({ grace: GRACE });
      const options = JSON.stringify({ runtime: "python", interpreter: findProgram("python3") });
      await killReady(startProgram(
        guard,
        `const con = await connect("local:", ${options});
        await con.compile(${JSON.stringify(`def f(ready):\n ready()\n ${body}`)})(() => {
          console.log("ready");
        });`,
      ));
    },
  });
}

const SPINS = "(() => { console.log('ready'); for (;;); })()";

/** The shell beside a program that looks after its end. */
function guardOf(client: Deno.ChildProcess, guard: LeakGuard): number | undefined {
  return marked(guard.id).find((pid) => {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return / \(sh\) \S+ (\d+)/.exec(stat)?.[1] === String(client.pid);
  });
}

Deno.test({
  name: "killing a program's whole group ends an agent that spins",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const client = startProgram(
      guard,
      `const con = await connect("local:");
      await con.eval(${JSON.stringify(SPINS)});`,
      { detached: true },
    );
    await killReady(client, -client.pid);
  },
});

Deno.test({
  name: "an agent behind other words is watched over where the client may not start a guard",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const interpreter = JSON.stringify(["env", Deno.execPath()]);
    await killReady(startProgram(
      guard,
      `const con = await connect("local:", { interpreter: ${interpreter} });
      await con.eval(${JSON.stringify(SPINS)});`,
      { flags: ["--no-prompt", "--allow-run=env"] },
    ));
  },
});

Deno.test({
  name: "many connections have one guard, which goes with the last of them",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const client = startProgram(
      guard,
      `const all = await Promise.all([1, 2, 3, 4].map(() => connect("local:")));
      console.log("open");
      await all[0].close();
      await all[1].close();
      console.log("two");
      all[2].eval("(() => { for (;;); })()").then(() => {}, () => {});
      await all[3].eval(${JSON.stringify(SPINS)});`,
    );
    const lines = linesOf(client);
    await said("open", lines, client);
    assertEquals(marked(guard.id).length, 1 + 4 + 1);
    const first = guardOf(client, guard);
    await said("two", lines, client);
    assertEquals(guardOf(client, guard), first);
    await said("ready", lines, client);
    client.kill("SIGKILL");
    await client.status;
    await lines.return!();
    await client.stderr.cancel();
  },
});

Deno.test({
  name: "a guard that was killed has a successor, for the connections that there are",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    await killReady(startProgram(
      guard,
      `const con = await connect("local:");
      const shells = () => [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter((pid) => {
        try {
          const stat = Deno.readTextFileSync("/proc/" + pid + "/stat");
          return / \\(sh\\) [^Z] (\\d+)/.exec(stat)?.[1] === String(Deno.pid);
        } catch {
          return false;
        }
      });
      const other = async (than) => {
        for (;;) {
          const pid = shells().find((pid) => pid !== than);
          if (pid) return pid;
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      };
      const first = await other();
      Deno.kill(first, "SIGKILL");
      await other(first);
      await con.eval(${JSON.stringify(SPINS)});`,
    ));
  },
});

Deno.test({
  name: "closing the last connection ends the guard, and the next one has another",
  ...linux,
  async fn() {
    await using guard = leakGuard();
    for (let i = 0; i < 2; i++) {
      await using _ = await connect("local:", { env: guard.env });
      // The agent, its guard.
      assertEquals(guard.left().filter((line) => line.startsWith("process")).length, 2);
    }
    assertEquals(guard.left(), []);
  },
});

Deno.test({
  name: "a program that forgets to close still exits, and leaves nothing",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const { code, stdout, stderr } = await outcome(startProgram(
      guard,
      `const con = await connect("local:");
      const slow = con.eval("new Promise((resolve) => setTimeout(() => resolve('slow'), 200))");
      slow.then(console.log);
      await con.compile((f) => { globalThis.kept = f })(() => {});
      console.log(await con.eval("1 + 2"));`,
    ));
    assertEquals([code, stdout, stderr], [0, "3\nslow\n", ""]);
  },
});

Deno.test({
  name: "a program that does nothing with its connection exits",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const { code, stdout, stderr } = await outcome(
      startProgram(guard, `await connect("local:"); console.log("end")`),
    );
    assertEquals([code, stdout, stderr], [0, "end\n", ""]);
  },
});

Deno.test({
  name: "a program that reads a remote stream, or waits for a sink to close, does not exit early",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: GRACE });
    const { code, stdout, stderr } = await outcome(startProgram(
      guard,
      `const con = await connect("local:");
      const late = (x) => "new Promise((r) => setTimeout(r, 150, " + x + "))";
      for await (const n of await con.eval("(async function* () { yield " + late(1) + "; yield " + late(2) + " })()")) console.log(n);
      const stream = await con.eval("new ReadableStream({ async pull(c) { c.enqueue(await " + late(3) + "); c.close() } })");
      for await (const n of stream) console.log(n);
      const sink = await con.eval("new WritableStream({ close: () => " + late(4) + " })");
      const writer = sink.getWriter();
      await writer.close();
      console.log("closed");`,
    ));
    assertEquals([code, stdout, stderr], [0, "1\n2\n3\nclosed\n", ""]);
  },
});
