import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { leakGuard, marked } from "./leaks.ts";
import { requiresThat } from "./requirement.ts";

const linux = requiresThat(
  Deno.build.os === "linux",
  "no /proc here, which shows processes and descriptors",
  "run the tests on Linux",
);

Deno.test({
  name: "a test that leaves nothing passes",
  ...linux,
  async fn() {
    await using guard = leakGuard();
    const command = new Deno.Command("sh", {
      args: ["-c", 'echo hello >"$TMPDIR/file"; cat "$TMPDIR/file"; rm "$TMPDIR/file"'],
      env: guard.env,
      cwd: guard.folder,
    });
    const { stdout } = await command.output();
    assertEquals(new TextDecoder().decode(stdout), "hello\n");
    await Deno.writeTextFile(`${guard.folder}/kept`, "removed with the folder");
    using _ = await Deno.open("/etc/hosts");
  },
});

Deno.test({
  name: "an open descriptor is named",
  ...linux,
  async fn() {
    const guard = leakGuard({ grace: 0 });
    using _ = await Deno.open("/etc/hosts");
    await assertRejects(async () => await guard[Symbol.asyncDispose](), Error, "/etc/hosts");
  },
});

Deno.test({
  name: "a socket is named, unless it may stay",
  ...linux,
  async fn() {
    const guard = leakGuard({ grace: 0 });
    const tolerant = leakGuard({ grace: 0, keeps: /^socket:/ });
    using _ = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await tolerant[Symbol.asyncDispose]();
    await assertRejects(async () => await guard[Symbol.asyncDispose](), Error, "socket:");
  },
});

Deno.test({
  name: "a child is named and ended",
  ...linux,
  async fn() {
    const guard = leakGuard({ grace: 0 });
    const child = new Deno.Command("sleep", { args: ["1000"] }).spawn();
    await assertRejects(
      async () => await guard[Symbol.asyncDispose](),
      Error,
      `process ${child.pid} is there: `,
    );
    assertEquals((await child.status).signal, "SIGKILL");
  },
});

Deno.test({
  name: "an orphan is found by its marker, and ended",
  ...linux,
  async fn() {
    const guard = leakGuard({ grace: 0 });
    // The shell ends at once; its child goes to another parent, in a session of its own.
    const shell = new Deno.Command("sh", {
      args: ["-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"],
      env: guard.env,
    });
    await shell.output();
    const orphans = marked(guard.id);
    assertEquals(orphans.length, 1);
    await assertRejects(
      async () => await guard[Symbol.asyncDispose](),
      Error,
      `process ${orphans[0]} is there`,
    );
    while (marked(guard.id).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  },
});

Deno.test({
  name: "what goes within the grace time was not left",
  ...linux,
  async fn() {
    const guard = leakGuard({ grace: 10_000 });
    const child = new Deno.Command("cat", { stdin: "piped" }).spawn();
    assertMatch(guard.left().join("\n"), /process \d+ is there: .*cat/);
    const disposed = guard[Symbol.asyncDispose]();
    await child.stdin.close();
    await child.status;
    await disposed;
  },
});

Deno.test("a temporary file is named and removed", async () => {
  const guard = leakGuard({ grace: 0 });
  await Deno.writeTextFile(`${guard.tmp}/left`, "");
  await assertRejects(
    async () => await guard[Symbol.asyncDispose](),
    Error,
    "temporary file: left",
  );
  await assertRejects(() => Deno.stat(guard.tmp), Deno.errors.NotFound);
});
