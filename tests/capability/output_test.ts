import { assert, assertEquals } from "@std/assert";
import { capability, type Feature, type Peer } from "../matrix.ts";
import { until } from "./observe.ts";

/** Sinks that keep what is written to them. */
function recorder() {
  const text = { stdout: "", stderr: "" };
  const sink = (name: "stdout" | "stderr") => {
    const decoder = new TextDecoder();
    return new WritableStream<Uint8Array>({
      write: (bytes) => void (text[name] += decoder.decode(bytes, { stream: true })),
    });
  };
  return { text, stdout: sink("stdout"), stderr: sink("stderr") };
}

/** A test whose connection's output is recorded. */
function printing(
  name: string,
  test: (peer: Peer, text: { stdout: string; stderr: string }) => Promise<void>,
  needs: readonly Feature[] = ["javascript"],
): void {
  capability(name, async ({ row, guard }) => {
    const { text, stdout, stderr } = recorder();
    await using con = await row.connect(guard, { stdout, stderr });
    await test({ row, con, guard, make: ({ js }) => con.compile(js) }, text);
  }, { needs, connect: { stdout: "null" } });
}

printing(
  "what is printed arrives, in order",
  async ({ con }, text) => {
    const result = await con.eval(`
    console.log("one", { a: [1] });
    process.stdout.write("two\\n");
    console.error("bad");
    process.stderr.write("worse\\n");
    console.log("three")
  `);
    assertEquals(result, undefined);
    await until(con, () => text.stdout.endsWith("three\n") && text.stderr.endsWith("worse\n"));
    assertEquals(text.stdout.replaceAll(/[\s,]+/g, ""), "one{a:[1]}twothree");
    assertEquals(text.stderr, "bad\nworse\n");
  },
);

printing("every way to print is caught", async ({ con, row }, text) => {
  await con.eval(`(async () => {
    console.info("info"); console.debug("debug"); console.warn("warn");
    await new Promise((resolve) => process.stdout.write("callback\\n", resolve));
    process.stdout.write(new TextEncoder().encode("bytes\\n"));
  })()`);
  await until(con, () => text.stdout.endsWith("bytes\n") && text.stderr !== "");
  assertEquals(text.stdout, "info\ndebug\ncallback\nbytes\n");
  assertEquals(text.stderr, "warn\n");
  if (row.runtime !== "deno") return;
  text.stdout = text.stderr = "";
  await con.eval(`(async () => {
    const bytes = (s) => new TextEncoder().encode(s + "\\n");
    await Deno.stdout.write(bytes("write"));
    Deno.stdout.writeSync(bytes("writeSync"));
    const writer = Deno.stdout.writable.getWriter();
    await writer.write(bytes("writable"));
    await Deno.stderr.write(bytes("error"));
  })()`);
  await until(con, () => text.stdout.endsWith("writable\n") && text.stderr !== "");
  assertEquals(text.stdout, "write\nwriteSync\nwritable\n");
  assertEquals(text.stderr, "error\n");
});

printing("a megabyte at once disturbs nothing", async ({ con }, text) => {
  assertEquals(await con.eval(`(console.log("x".repeat(1 << 20)), 7)`), 7);
  await until(con, () => text.stdout.length === (1 << 20) + 1);
  assertEquals(
    await con.eval(`(process.stdout.write(new Uint8Array(1 << 20).fill(121)), 8)`),
    8,
  );
  await until(con, () => text.stdout.length === (2 << 20) + 1);
});

printing(
  "a child that inherits standard output arrives on standard error",
  async ({ con }, text) => {
    const { code } = await con.eval(`new Promise((resolve) =>
    process.getBuiltinModule
      ? resolve(process.getBuiltinModule("child_process"))
      : import("node:child_process").then(resolve)
  ).then((m) => new Promise((resolve) =>
    m.spawn("sh", ["-c", "echo from the child; echo again >&2; cat; echo end"], { stdio: "inherit" })
      .on("exit", (code) => resolve({ code }))))`);
    assertEquals(code, 0);
    await until(con, () => text.stderr.includes("end\n"));
    assertEquals(text.stdout, "");
    assertEquals(text.stderr, "from the child\nagain\nend\n");
  },
  ["javascript", "inherited descriptors"],
);

printing("a megabyte of a synchronous child does not deadlock", async ({ con }, text) => {
  const { child_process } = con.modules;
  const result = child_process.spawnSync(
    "sh",
    ["-c", "head -c 1048576 /dev/zero | tr '\\0' z; head -c 1048576 /dev/zero | tr '\\0' y >&2"],
    { stdio: "inherit" },
  );
  assertEquals(await result.status, 0);
  await until(con, () => text.stderr.length === 2 << 20);
  assertEquals(await con.eval("5"), 5);
}, ["javascript", "inherited descriptors"]);

capability("what goes to this program's own output is there before the result", async ({ con }) => {
  const written: string[] = [];
  const { writeSync } = Deno.stdout;
  Deno.stdout.writeSync = (bytes) => written.push(new TextDecoder().decode(bytes)) && bytes.length;
  try {
    await con.eval("(console.log('a'), process.stdout.write('b\\n'), 1)");
    assertEquals(written.join(""), "a\nb\n");
  } finally {
    Deno.stdout.writeSync = writeSync;
  }
});

capability("output may be dropped", async ({ con }) => {
  assertEquals(await con.eval("(console.log('unseen'), console.error('unseen'), 1)"), 1);
}, { connect: { stdout: "null", stderr: "null" } });

capability(
  "a slow reader of output holds up the remote, not the memory",
  async ({ row, guard }) => {
    const gate = Promise.withResolvers<void>();
    let taken = 0;
    const stdout = new WritableStream<Uint8Array>({
      async write(bytes) {
        await gate.promise;
        taken += bytes.length;
      },
    });
    await using con = await row.connect(guard, { stdout, limits: { outputBytes: 1 << 20 } });
    const total = 24 << 20;
    const printed = con.eval(`(async () => {
    for (let i = 0; i < 24; i++) {
      process.stdout.write("x".repeat(1 << 20));
      await new Promise((resolve) => setTimeout(resolve));
    }
  })()`).then(() => {});
    let received = -1;
    while (received !== con.stats.bytesReceived) {
      received = con.stats.bytesReceived;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert(received < total / 2, `${received} bytes were taken in for a reader that takes none`);
    gate.resolve();
    await printed;
    await until(con, () => taken === total);
  },
  { connect: { stdout: "null" } },
);
