import { assert, assertEquals } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { linesOf, outcome, startProgram } from "./program.ts";

const linux = requiresThat(
  Deno.build.os === "linux",
  "no /proc here, which shows processes",
  "run the tests on Linux",
);

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

const CHILD = `const { spawn } = await import("node:child_process");
  spawn("sleep", ["1000"], { stdio: "ignore" }).unref();`;

const WORK: [name: string, code: string][] = [
  ["an idle agent", "console.log('ready')"],
  ["an agent that spins", "(() => { console.log('ready'); for (;;); })()"],
  ["an agent's child", `(async () => { ${CHILD} console.log("ready") })()`],
  [
    "an agent that spins, and its child",
    `(async () => { ${CHILD} console.log("ready"); for (;;); })()`,
  ],
];

for (const { runtime, interpreter, requirement } of RUNTIMES) {
  const options = JSON.stringify({ runtime, interpreter, stderr: "null" });
  for (const [name, code] of WORK) {
    Deno.test({
      name: `${runtime}: killing the client ends ${name}`,
      ignore: requirement.ignore,
      async fn() {
        // What is left when the grace time is over, it names.
        await using guard = leakGuard({ grace: 5000 });
        const client = startProgram(
          guard,
          `const con = await connect("local:", ${options});
          await con.eval("1");
          await con.eval(${JSON.stringify(code)});
          setInterval(() => {}, 1000);`,
        );
        const lines = linesOf(client);
        assertEquals((await lines.next()).value, "ready");
        client.kill("SIGKILL");
        await client.status;
        await lines.return!();
        await client.stderr.cancel();
      },
    });
  }

  Deno.test({
    name: `${runtime}: a child that was detached on purpose stays`,
    ignore: requirement.ignore,
    async fn() {
      await using _ = leakGuard({ grace: 5000 });
      // Not marked: it is meant to be left.
      await using guard = leakGuard({ grace: 5000 });
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

Deno.test({
  name: "a program that forgets to close still exits, and leaves nothing",
  ...linux,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
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
    await using guard = leakGuard({ grace: 5000 });
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
    await using guard = leakGuard({ grace: 5000 });
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
