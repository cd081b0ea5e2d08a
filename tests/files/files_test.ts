import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect, CopyError, type CopyProgress } from "../../mod.ts";
import { leakGuard } from "../support/leaks.ts";

import { requires, requiresThat } from "../support/requirement.ts";

/** Asks for what the transport's own copy does not do, so that the connection's streams are used. */
const streamed = { checksum: "sha256" } as const;

const RUNTIMES = [
  { runtime: "deno", needs: {} },
  { runtime: "node", needs: requires("node") },
  { runtime: "python", needs: requires("python3") },
] as const;

/** The same of each agent that has files of its own kind. */
function each(
  name: string,
  test: (open: () => ReturnType<typeof connect>) => Promise<void>,
  more: { ignore?: boolean } = {},
): void {
  for (const { runtime, needs } of [RUNTIMES[0], RUNTIMES[2]]) {
    Deno.test({
      name: `files, ${runtime}: ${name}`,
      ignore: more.ignore || needs.ignore,
      fn: () => test(() => connect("local:", { runtime })),
    });
  }
}

function bytes(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
}

function listing(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

async function tree(root: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("find", {
    args: [".", "-printf", "%P %y %m %l\n"],
    cwd: root,
  }).output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line.trim()).sort();
}

for (const { runtime, needs } of RUNTIMES) {
  for (const size of [0, 1, 64 << 10, (64 << 10) + 1, 3_000_001]) {
    Deno.test({
      name: `files, ${runtime}: ${size} bytes there and back are the same bytes`,
      ...needs,
      fn: async () => {
        await using guard = leakGuard();
        await using con = await connect("local:", { runtime, env: guard.env });
        const data = bytes(size);
        const [a, b, c] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`) as [
          string,
          string,
          string,
        ];
        await Deno.writeFile(a, data);
        const seen: CopyProgress[] = [];
        await con.putfile(a, b, { ...streamed, onProgress: (p) => seen.push(p) });
        await con.getfile(b, c, streamed);
        assertEquals(await Deno.readFile(b), data);
        assertEquals(await Deno.readFile(c), data);
        assertEquals(seen.at(-1)!.bytes, size);
        assertEquals(seen.at(-1)!.total, size);
        assertEquals(seen.at(-1)!.file, a);
        assertEquals(listing(guard.folder), ["a", "b", "c"]);
      },
    });
  }

  Deno.test({
    name: `files, ${runtime}: a folder with folders, links, modes and times`,
    ...needs,
    fn: async () => {
      await using guard = leakGuard();
      await using con = await connect("local:", { runtime, env: guard.env });
      const from = `${guard.folder}/from`;
      await Deno.mkdir(`${from}/sub/deep`, { recursive: true });
      await Deno.mkdir(`${from}/empty`);
      for (let i = 0; i < 30; i++) await Deno.writeFile(`${from}/sub/${i} ü`, bytes(i * 100));
      await Deno.writeFile(`${from}/sub/deep/big`, bytes(1_000_000));
      await Deno.writeTextFile(`${from}/run.sh`, "#!/bin/sh\n");
      await Deno.chmod(`${from}/run.sh`, 0o750);
      await Deno.symlink("../run.sh", `${from}/sub/link`);
      await Deno.utime(`${from}/run.sh`, 1e9, 1e9);
      await Deno.utime(`${from}/sub`, 1e9, 1e9);
      await con.putfile(from, `${guard.folder}/there`, { recursive: true, preserve: true });
      assertEquals(await tree(`${guard.folder}/there`), await tree(from));
      await con.getfile(`${guard.folder}/there`, `${guard.folder}/back/`, {
        recursive: true,
        preserve: true,
        checksum: "sha256",
      });
      assertEquals(await tree(`${guard.folder}/back`), await tree(from));
      for (const name of ["run.sh", "sub"]) {
        assertEquals((await Deno.stat(`${guard.folder}/back/${name}`)).mtime, new Date(1e12));
      }
      assertEquals(await Deno.readFile(`${guard.folder}/back/sub/deep/big`), bytes(1_000_000));
      assertEquals(listing(guard.folder), ["back", "from", "there"]);
    },
  });
}

Deno.test("files: the transport's own copy says how far it is, and why it failed", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:");
  await Deno.writeTextFile(`${guard.folder}/a`, "hello");
  const seen: CopyProgress[] = [];
  await con.getfile(`${guard.folder}/a`, `${guard.folder}/b`, { onProgress: (p) => seen.push(p) });
  assertEquals([seen.at(-1)!.bytes, seen.at(-1)!.total], [5, 5]);
  const error = await assertRejects(
    () => con.getfile(`${guard.folder}/none`, `${guard.folder}/c`),
    CopyError,
  );
  assertEquals(error.code, "ENOENT");
  assertEquals(
    (await assertRejects(() => con.getfile(guard.folder, `${guard.folder}/c`), CopyError)).code,
    "EISDIR",
  );
  assertEquals(listing(guard.folder), ["a", "b"]);
});

each("a copy that replaces a file keeps its mode, and follows a link to it", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeTextFile(`${folder}/new`, "new");
  await Deno.writeTextFile(`${folder}/old`, "old");
  await Deno.chmod(`${folder}/old`, 0o640);
  await Deno.symlink("old", `${folder}/link`);
  await con.putfile(`${folder}/new`, `${folder}/link`, streamed);
  assertEquals(await Deno.readTextFile(`${folder}/old`), "new");
  assertEquals((await Deno.stat(`${folder}/old`)).mode! & 0o777, 0o640);
  assert((await Deno.lstat(`${folder}/link`)).isSymlink);
});

each("set-user-id is not carried over", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeTextFile(`${folder}/a`, "x");
  await Deno.chmod(`${folder}/a`, 0o4755);
  await con.getfile(`${folder}/a`, `${folder}/b`, { preserve: true });
  assertEquals((await Deno.stat(`${folder}/b`)).mode! & 0o7777, 0o755);
});

each("a copy in /proc, whose size reads as 0", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  await con.getfile("/proc/self/status", `${guard.folder}/status`, { preserve: true });
  assert((await Deno.readTextFile(`${guard.folder}/status`)).includes("Name:"));
});

each("a copy that is cancelled leaves the destination as it was", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(20_000_000));
  await Deno.writeTextFile(`${folder}/there`, "before");
  for (const put of [true, false]) {
    const ending = new AbortController();
    const options = {
      ...streamed,
      signal: ending.signal,
      onProgress: ({ bytes }: CopyProgress) => {
        if (bytes > 1_000_000) ending.abort(new Error("enough"));
      },
    };
    const copying = put
      ? con.putfile(`${folder}/big`, `${folder}/there`, options)
      : con.getfile(`${folder}/big`, `${folder}/there`, options);
    await assertRejects(() => copying, Error, "enough");
    assertEquals(await Deno.readTextFile(`${folder}/there`), "before");
    assertEquals(listing(folder), ["big", "there"]);
  }
  assertEquals(await con.eval("1 + 1"), 2);
});

each("a folder that is cancelled is not there", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/from/sub`, { recursive: true });
  for (let i = 0; i < 50; i++) await Deno.writeFile(`${folder}/from/sub/${i}`, bytes(200_000));
  for (const put of [true, false]) {
    const ending = new AbortController();
    const options = {
      recursive: true,
      signal: ending.signal,
      onProgress: ({ bytes }: CopyProgress) => {
        if (bytes > 2_000_000) ending.abort(new Error("enough"));
      },
    };
    const copying = put
      ? con.putfile(`${folder}/from`, `${folder}/there`, options)
      : con.getfile(`${folder}/from`, `${folder}/there`, options);
    await assertRejects(() => copying, Error, "enough");
    assertEquals(listing(folder), ["from"]);
  }
});

each("a copy that was broken off goes on where it was", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(20_000_000));
  for (const put of [true, false]) {
    const to = `${folder}/to ${put}`;
    const copy = (options: object) =>
      put
        ? con.putfile(`${folder}/big`, to, { resume: true, ...options })
        : con.getfile(`${folder}/big`, to, { resume: true, ...options });
    const ending = new AbortController();
    const onProgress = ({ bytes }: CopyProgress) => {
      if (bytes > 5_000_000) ending.abort(new Error("enough"));
    };
    await assertRejects(() => copy({ signal: ending.signal, onProgress }), Error, "enough");
    const first: number[] = [];
    await copy({ onProgress: ({ bytes }: CopyProgress) => first.push(bytes), ...streamed });
    assert(first[0]! > 1_000_000, `began at ${first[0]}`);
    assertEquals(first.at(-1), 20_000_000);
    assertEquals(await Deno.readFile(to), bytes(20_000_000));
  }
  assertEquals(listing(folder), ["big", "to false", "to true"]);
});

each("a folder that was broken off goes on, and complete files are left out", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/from/sub`, { recursive: true });
  for (let i = 0; i < 50; i++) await Deno.writeFile(`${folder}/from/sub/${i}`, bytes(200_000));
  const ending = new AbortController();
  await assertRejects(
    () =>
      con.putfile(`${folder}/from`, `${folder}/to`, {
        recursive: true,
        resume: true,
        signal: ending.signal,
        onProgress: ({ bytes }) => {
          if (bytes > 4_000_000) ending.abort(new Error("enough"));
        },
      }),
    Error,
    "enough",
  );
  assertEquals(listing(folder).includes("to"), false);
  const before = con.stats.bytesSent;
  await con.putfile(`${folder}/from`, `${folder}/to`, { recursive: true, resume: true });
  const sent = con.stats.bytesSent - before;
  assert(sent < 8_000_000, `${sent} bytes were sent`);
  assertEquals(await tree(`${folder}/to`), await tree(`${folder}/from`));
  assertEquals(listing(folder), ["from", "to"]);
});

each("what is copied into a folder that is there joins what is in it", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/from/both`, { recursive: true });
  await Deno.mkdir(`${folder}/to/both`, { recursive: true });
  await Deno.writeTextFile(`${folder}/from/both/new`, "new");
  await Deno.writeTextFile(`${folder}/to/both/old`, "old");
  await con.getfile(`${folder}/from`, `${folder}/to`, { recursive: true });
  assertEquals(listing(`${folder}/to/both`), ["new", "old"]);
});

async function code(copy: Promise<void>): Promise<string> {
  return (await assertRejects(() => copy, CopyError)).code;
}

each("each failure is its own error, on either side", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeTextFile(`${folder}/a`, "x");
  await Deno.mkdir(`${folder}/d`);
  const fifo = await new Deno.Command("mkfifo", { args: [`${folder}/d/pipe`] }).output();
  assert(fifo.success);
  for (const name of ["putfile", "getfile"] as const) {
    const copy = (from: string, to: string, options = {}) =>
      code(con[name](`${folder}/${from}`, `${folder}/${to}`, { ...streamed, ...options }));
    assertEquals(await copy("none", "b"), "ENOENT");
    assertEquals(await copy("a", "none/b"), "ENOENT");
    assertEquals(await copy("d", "b"), "EISDIR");
    assertEquals(await copy("a", "d"), "EISDIR");
    assertEquals(await copy("d", "a", { recursive: true }), "ENOTDIR");
    assertEquals(await copy("d", "b", { recursive: true }), "ESPECIAL");
    assertEquals(await copy("d/pipe", "b"), "ESPECIAL");
    assertEquals(await copy("a", "x".repeat(300)), "ENAMETOOLONG");
    await con[name](`${folder}/d`, `${folder}/b`, { recursive: true, special: "skip" });
    assertEquals(listing(`${folder}/b`), []);
    await Deno.remove(`${folder}/b`);
    assertEquals(listing(folder), ["a", "d"]);
  }
});

each("a name that is not UTF-8 is refused, and its bytes are shown", async (open) => {
  await using guard = leakGuard();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/d`);
  await new Deno.Command("sh", { args: ["-c", `touch "$(printf 'a\\377b')"`], cwd: `${folder}/d` })
    .output();
  await using con = await open();
  for (const name of ["putfile", "getfile"] as const) {
    const error = await assertRejects(
      () => con[name](`${folder}/d`, `${folder}/e`, { recursive: true }),
      CopyError,
      "a\\xffb",
    );
    assertEquals(error.code, "EILSEQ");
    assertEquals(listing(folder), ["d"]);
  }
});

each("a source that changes under the copy is an error", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  for (const name of ["putfile", "getfile"] as const) {
    for (const change of ["grow", "shrink"]) {
      await Deno.writeFile(`${folder}/big`, bytes(20_000_000));
      let changed = false;
      const copying = con[name](`${folder}/big`, `${folder}/to`, {
        preserve: true,
        onProgress: () => {
          if (changed) return;
          changed = true;
          if (change === "shrink") Deno.truncateSync(`${folder}/big`, 1_000);
          else Deno.writeFileSync(`${folder}/big`, bytes(10), { append: true });
        },
      });
      assertEquals(await code(copying), "ECHANGED");
      assertEquals(listing(folder), ["big"]);
    }
  }
});

each("a full disk is its own error, and nothing is left", async (open) => {
  await using guard = leakGuard();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/disk`);
  const mounted = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", "size=1m", "none", `${folder}/disk`],
    stderr: "null",
  }).output();
  // A container may not mount: a limit to the size of files is the next best thing.
  if (!mounted.success) return;
  try {
    await using con = await open();
    await Deno.writeFile(`${folder}/big`, bytes(3_000_000));
    for (const name of ["putfile", "getfile"] as const) {
      const copying = con[name](`${folder}/big`, `${folder}/disk/to`, { preserve: true });
      assertEquals(await code(copying), "ENOSPC");
      assertEquals(listing(`${folder}/disk`), []);
    }
  } finally {
    await new Deno.Command("umount", { args: [`${folder}/disk`] }).output();
  }
}, requiresThat(Deno.uid() === 0, "not root: it mounts a small disk", "run the tests as root"));

Deno.test("files: where Deno does not permit it, the error says so", async () => {
  await using guard = leakGuard();
  await Deno.writeTextFile(`${guard.folder}/a`, "x");
  await using con = await connect("local:", { permissions: { read: [guard.folder] } });
  const error = await assertRejects(
    () => con.putfile(`${guard.folder}/a`, `${guard.folder}/b`, { preserve: true }),
    CopyError,
  );
  assertEquals(error.code, "EACCES");
  assertEquals(error.side, "remote");
});

each("an agent that dies half-way leaves nothing here, and says so", async (open) => {
  await using guard = leakGuard();
  await using con = await open();
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(20_000_000));
  let dead = false;
  await assertRejects(
    () =>
      con.getfile(`${folder}/big`, `${folder}/to`, {
        preserve: true,
        onProgress: () => {
          if (dead) return;
          dead = true;
          Deno.kill(con.interpreter.pid, "SIGKILL");
        },
      }),
    Error,
    "The connection was lost",
  );
  assertEquals(listing(folder), ["big"]);
});

each("when the connection is closed half-way, the agent cleans up", async (open) => {
  await using guard = leakGuard();
  const con = await open();
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(20_000_000));
  let closing: Promise<void> | undefined;
  await assertRejects(() =>
    con.putfile(`${folder}/big`, `${folder}/to`, {
      preserve: true,
      onProgress: () => {
        closing ??= con.close();
      },
    })
  );
  await closing;
  assertEquals(listing(folder), ["big"]);
});

Deno.test("files: options that mean nothing are refused", async () => {
  await using con = await connect("local:");
  for (
    const options of [
      { recursiv: true },
      { checksum: "md5" },
      { concurrency: 0 },
      { links: "follow" },
      { special: "x" },
    ]
  ) {
    await assertRejects(() => con.getfile("a", "b", options as object), TypeError, "Cannot copy");
  }
});
