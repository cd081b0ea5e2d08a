import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Anything, capability, type Feature, type Peer, peerOf } from "../matrix.ts";
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
    await test(peerOf(row, con, guard), text);
  }, { needs, connect: { stdout: "null" } });
}

printing(
  "what is printed arrives, in order",
  async ({ con, code, row }, text) => {
    const result = await con.eval(code({
      js: `
    console.log("one", { a: [1] });
    process.stdout.write("two\\n");
    console.error("bad");
    process.stderr.write("worse\\n");
    console.log("three")
  `,
      py: `
import sys
print("one", {"a": [1]})
sys.stdout.write("two\\n")
print("bad", file=sys.stderr)
sys.stderr.write("worse\\n")
print("three")`,
    }));
    assertEquals(result, row.runtime === "python" ? null : undefined);
    await until(con, () => text.stdout.endsWith("three\n") && text.stderr.endsWith("worse\n"));
    assertEquals(text.stdout.replaceAll(/[\s,']+/g, ""), "one{a:[1]}twothree");
    assertEquals(text.stderr, "bad\nworse\n");
  },
  [],
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

printing("every way that Python has to print is caught", async ({ con }, text) => {
  await con.execute(`
    import logging, os, sys, traceback, warnings
    print("print", end="", flush=True)
    print(" lines", file=sys.__stdout__)
    sys.stdout.buffer.write(b"bytes\\n")
    sys.stdout.writelines(["lines\\n"])
    os.write(1, b"number\\n")
    logging.warning("logged")
    warnings.warn("warned")
    try: 1/0
    except ZeroDivisionError: traceback.print_exc()
  `);
  await until(con, () => text.stdout.endsWith("number\n") && text.stderr.includes("by zero\n"));
  assertEquals(text.stdout, "print lines\nbytes\nlines\nnumber\n");
  assertMatch(text.stderr, /^WARNING:root:logged\n.*warned\n[^]*Traceback[^]*ZeroDivisionError/);
}, ["python"]);

printing("a megabyte at once disturbs nothing", async ({ con, code }, text) => {
  assertEquals(
    await con.eval(
      code({ js: `(console.log("x".repeat(1 << 20)), 7)`, py: `(print("x" * (1 << 20)), 7)[1]` }),
    ),
    7,
  );
  await until(con, () => text.stdout.length === (1 << 20) + 1);
  assertEquals(
    await con.eval(
      code({
        js: `(process.stdout.write(new Uint8Array(1 << 20).fill(121)), 8)`,
        py: `(__import__("sys").stdout.buffer.write(b"y" * (1 << 20)), 8)[1]`,
      }),
    ),
    8,
  );
  await until(con, () => text.stdout.length === (2 << 20) + 1);
}, []);

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

printing("a child's output arrives where it was written to", async ({ con }, text) => {
  const { subprocess } = con.modules as Anything;
  const script = "echo from the child; echo again >&2; cat; echo end";
  assertEquals(await subprocess.call(["sh", "-c", script]), 0);
  await until(con, () => text.stdout.endsWith("end\n") && text.stderr !== "");
  assertEquals([text.stdout, text.stderr], ["from the child\nend\n", "again\n"]);
}, ["python", "inherited descriptors"]);

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

printing("a megabyte of a child that is waited for does not deadlock", async ({ con }, text) => {
  const script =
    "head -c 1048576 /dev/zero | tr '\\0' z; head -c 1048576 /dev/zero | tr '\\0' y >&2";
  const { subprocess } = con.modules as Anything;
  assertEquals(await subprocess.call(["sh", "-c", script]), 0);
  await until(con, () => text.stdout.length === 1 << 20 && text.stderr.length === 1 << 20);
  assertEquals(await con.eval("5"), 5);
}, ["python", "inherited descriptors"]);

capability(
  "what goes to this program's own output is there before the result",
  async ({ con, code }) => {
    const written: string[] = [];
    const { writeSync } = Deno.stdout;
    Deno.stdout.writeSync = (bytes) =>
      written.push(new TextDecoder().decode(bytes)) && bytes.length;
    try {
      await con.eval(
        code({
          js: "(console.log('a'), process.stdout.write('b\\n'), 1)",
          py: "(print('a'), __import__('sys').stdout.write('b\\n'), 1)[2]",
        }),
      );
      assertEquals(written.join(""), "a\nb\n");
    } finally {
      Deno.stdout.writeSync = writeSync;
    }
  },
  { needs: [] },
);

capability("output may be dropped", async ({ con, code }) => {
  assertEquals(
    await con.eval(
      code({
        js: "(console.log('unseen'), console.error('unseen'), 1)",
        py: "(print('unseen'), __import__('os').write(2, b'unseen'), 1)[2]",
      }),
    ),
    1,
  );
}, { needs: [], connect: { stdout: "null", stderr: "null" } });

capability(
  "a slow reader of output holds up the remote, not the memory",
  async ({ row, guard, code }) => {
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
    const printed = con.eval(code({
      js: `(async () => {
    for (let i = 0; i < 24; i++) {
      process.stdout.write("x".repeat(1 << 20));
      await new Promise((resolve) => setTimeout(resolve));
    }
  })()`,
      py: "for _ in range(24): __import__('sys').stdout.write('x' * (1 << 20))",
    })).then(() => {});
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
  { needs: [], connect: { stdout: "null" } },
);
