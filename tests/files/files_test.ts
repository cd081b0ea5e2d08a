import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { connect, CopyError, type CopyProgress } from "../../mod.ts";
import { leakGuard } from "../support/leaks.ts";

import { findProgram } from "../support/programs.ts";
import { type Requirement, requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { capability, type Peer } from "../matrix.ts";

/** Asks for what the transport's own copy does not do, so that the connection's streams are used. */
const streamed = { checksum: "sha256" } as const;

/** One row for each way that an agent has to its files. */
const ROWS = ["local × deno", "local × node", "local × bun", "local × python", "daemon tcp × deno"];

/** A test over these rows. */
function copies(name: string, test: (peer: Peer) => Promise<void>): void {
  capability(`files: ${name}`, test, {
    needs: ["same files"],
    rows: ({ name }) => ROWS.includes(name),
  });
}

const PATTERN = Uint8Array.from({ length: 65_521 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

/** Bytes of which no two blocks are alike. */
function bytes(length: number): Uint8Array<ArrayBuffer> {
  const data = new Uint8Array(length);
  for (let at = 0; at < length; at += PATTERN.length) {
    data.set(PATTERN.subarray(0, length - at), at);
  }
  return data;
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

copies("all sizes there and back are the same bytes", async ({ con, guard }) => {
  const [a, b, c] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`) as [
    string,
    string,
    string,
  ];
  for (const size of [0, 1, 64 << 10, (64 << 10) + 1, 1 << 20, 2 << 20, 5_000_001]) {
    const data = bytes(size);
    await Deno.writeFile(a, data);
    const seen: CopyProgress[] = [];
    await con.putfile(a, b, { ...streamed, onProgress: (p) => seen.push(p) });
    await con.getfile(b, c, { ...streamed, onProgress: (p) => seen.push(p) });
    assertEquals(await Deno.readFile(b), data);
    assertEquals(await Deno.readFile(c), data);
    for (
      const [file, { bytes, total }] of [[a, seen.find((p) => p.bytes === size)!], [
        b,
        seen.at(-1)!,
      ]] as const
    ) {
      assertEquals([bytes, total], [size, size], file);
    }
    assertEquals([seen[0]!.file, seen.at(-1)!.file], [a, b]);
  }
  assertEquals(listing(guard.folder), ["a", "b", "c"]);
});

copies(
  "progress counts up to what is known, and says which file and how fast",
  async ({ con, guard }) => {
    const from = `${guard.folder}/from`;
    await Deno.mkdir(`${from}/sub`, { recursive: true });
    await Deno.writeFile(`${from}/large`, bytes(3_000_000));
    for (let i = 0; i < 100; i++) await Deno.writeFile(`${from}/sub/${i}`, bytes(1000));
    for (const name of ["putfile", "getfile"] as const) {
      const seen: CopyProgress[] = [];
      await con[name](from, `${guard.folder}/${name}`, {
        recursive: true,
        onProgress: (progress) => seen.push(progress),
      });
      let before = 0;
      for (const { bytes, total, rate } of seen) {
        assert(bytes >= before);
        assert(total === undefined || total === 3_100_000);
        assert(rate === undefined || rate >= 0);
        before = bytes;
      }
      assertEquals([seen.at(-1)!.bytes, seen.at(-1)!.total], [3_100_000, 3_100_000]);
      assert(seen.at(-1)!.rate! > 0);
      const named = new Set(seen.map(({ file }) => file));
      for (const file of [`${from}/large`, `${from}/sub/0`, `${from}/sub/99`]) {
        assert(
          named.has(file),
        );
      }
    }
  },
);

copies("a folder with folders, links, modes and times", async ({ con, guard }) => {
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
    concurrency: 2,
  });
  assertEquals(await tree(`${guard.folder}/back`), await tree(from));
  for (const name of ["run.sh", "sub"]) {
    assertEquals((await Deno.stat(`${guard.folder}/back/${name}`)).mtime, new Date(1e12));
  }
  assertEquals(await Deno.readFile(`${guard.folder}/back/sub/deep/big`), bytes(1_000_000));
  await con.getfile(from, `${guard.folder}/bare`, { recursive: true, links: "skip" });
  assertEquals(
    await tree(`${guard.folder}/bare`).then((lines) => lines.filter((l) => / l /.test(l))),
    [],
  );
  assertEquals(listing(guard.folder), ["back", "bare", "from", "there"]);
});

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

Deno.test("files: the transport's own copy blames the end that failed, and follows a link", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:");
  const [a, b, nowhere] = ["a", "b", "none/x"].map((name) => `${guard.folder}/${name}`) as [
    string,
    string,
    string,
  ];
  await Deno.writeTextFile(a, "hello");
  const blamed = async (copy: Promise<void>) => {
    const { code, side, path, message } = await assertRejects(() => copy, CopyError);
    assertEquals(/its folder must be there/.test(message), path === nowhere, message);
    return [code, side, path];
  };
  assertEquals(await blamed(con.putfile(a, nowhere)), ["ENOENT", "remote", nowhere]);
  assertEquals(await blamed(con.getfile(a, nowhere)), ["ENOENT", "local", nowhere]);
  assertEquals(await blamed(con.putfile(b, nowhere)), ["ENOENT", "local", b]);
  assertEquals(await blamed(con.getfile(a, guard.folder)), ["EISDIR", "local", guard.folder]);
  await Deno.writeTextFile(b, "before", { mode: 0o600 });
  await Deno.symlink("b", `${guard.folder}/link`);
  await con.putfile(a, `${guard.folder}/link`);
  assertEquals(await Deno.readTextFile(b), "hello");
  assertEquals((await Deno.stat(b)).mode! & 0o7777, 0o600);
  assert((await Deno.lstat(`${guard.folder}/link`)).isSymlink);
});

Deno.test("files: the transport's own copy of a large file tells of its way, and can be stopped", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:");
  const [a, b] = [`${guard.folder}/a`, `${guard.folder}/b`];
  const data = bytes(12 << 20);
  await Deno.writeFile(a, data);
  await Deno.chmod(a, 0o4750);
  const seen: CopyProgress[] = [];
  await con.putfile(a, b, { onProgress: (progress) => seen.push(progress) });
  assert(seen.length > 10);
  assertEquals(seen.filter(({ bytes }) => bytes === data.length).length, 1);
  assert(seen.every(({ total }) => total === data.length));
  assertEquals(await Deno.readFile(b), data);
  assertEquals((await Deno.stat(b)).mode! & 0o7777, 0o750);
  await Deno.writeTextFile(b, "before");
  const controller = new AbortController();
  const { signal } = controller;
  const stopped = con.putfile(a, b, {
    signal,
    onProgress: ({ bytes }) => bytes > 4 << 20 && controller.abort("enough"),
  });
  assertEquals(await stopped.catch((reason) => reason), "enough");
  assertEquals(await Deno.readTextFile(b), "before");
  assertEquals(listing(guard.folder), ["a", "b"]);
});

/** Bytes that look like noise, the same at each run: the key stream of a cipher. */
async function noise(seed: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-CTR", false, [
    "encrypt",
  ]);
  const counter = new Uint8Array(16).fill(seed, 0, 8);
  const algorithm = { name: "AES-CTR", counter, length: 64 };
  return new Uint8Array(await crypto.subtle.encrypt(algorithm, key, new Uint8Array(length)));
}

async function digest(path: string): Promise<string> {
  return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
}

capability("files: many large ones at once, there and back, are the same bytes", async (peer) => {
  const { con, guard: { folder } } = peer;
  const seeds = [1, 2, 3, 4, 5, 6];
  const digests = await Promise.all(seeds.map(async (seed) => {
    const data = await noise(seed, (16 << 20) + seed);
    await Deno.writeFile(`${folder}/${seed}`, data);
    return createHash("sha256").update(data).digest("hex");
  }));
  // With this option the connection's streams are used.
  const options = { preserve: true };
  for (const [copy, from, to] of [["putfile", "", ".put"], ["getfile", ".put", ".got"]] as const) {
    await Promise.all(
      seeds.map((seed) => con[copy](`${folder}/${seed}${from}`, `${folder}/${seed}${to}`, options)),
    );
    assertEquals(await Promise.all(seeds.map((seed) => digest(`${folder}/${seed}${to}`))), digests);
  }
}, {
  needs: ["same files"],
  rows: ({ name }) => ROWS.includes(name) && name !== "local × bun",
});

copies(
  "a copy that replaces a file keeps its mode, and follows a link to it",
  async ({ con, guard }) => {
    const { folder } = guard;
    await Deno.writeTextFile(`${folder}/new`, "new");
    await Deno.writeTextFile(`${folder}/old`, "old");
    await Deno.chmod(`${folder}/old`, 0o640);
    await Deno.symlink("old", `${folder}/link`);
    await con.putfile(`${folder}/new`, `${folder}/link`, streamed);
    assertEquals(await Deno.readTextFile(`${folder}/old`), "new");
    assertEquals((await Deno.stat(`${folder}/old`)).mode! & 0o777, 0o640);
    assert((await Deno.lstat(`${folder}/link`)).isSymlink);
  },
);

copies("set-user-id is not carried over", async ({ con, guard }) => {
  const { folder } = guard;
  await Deno.writeTextFile(`${folder}/a`, "x");
  await Deno.chmod(`${folder}/a`, 0o4755);
  await con.getfile(`${folder}/a`, `${folder}/b`, { preserve: true });
  assertEquals((await Deno.stat(`${folder}/b`)).mode! & 0o7777, 0o755);
});

copies("a copy in /proc, whose size reads as 0", async ({ con, guard }) => {
  await con.getfile("/proc/self/status", `${guard.folder}/status`, { preserve: true });
  assert((await Deno.readTextFile(`${guard.folder}/status`)).includes("Name:"));
});

copies("a copy that is cancelled leaves the destination as it was", async ({ con, guard }) => {
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
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

copies("a folder that is cancelled is not there", async ({ con, guard }) => {
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

copies("a copy that was broken off goes on where it was", async ({ con, guard }) => {
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
  for (const put of [true, false]) {
    const to = `${folder}/to ${put}`;
    const copy = (options: object) =>
      put
        ? con.putfile(`${folder}/big`, to, { resume: true, ...options })
        : con.getfile(`${folder}/big`, to, { resume: true, ...options });
    const ending = new AbortController();
    const onProgress = ({ bytes }: CopyProgress) => {
      if (bytes > 3_000_000) ending.abort(new Error("enough"));
    };
    await assertRejects(() => copy({ signal: ending.signal, onProgress }), Error, "enough");
    const first: number[] = [];
    await copy({ onProgress: ({ bytes }: CopyProgress) => first.push(bytes), ...streamed });
    assert(first[0]! > 1_000_000, `began at ${first[0]}`);
    assertEquals(first.at(-1), 8_000_000);
    assertEquals(await Deno.readFile(to), bytes(8_000_000));
  }
  assertEquals(listing(folder), ["big", "to false", "to true"]);
});

copies(
  "a folder that was broken off goes on, and complete files are left out",
  async ({ con, guard }) => {
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
    // What was copied, and is gone from the source since, does not come to the destination.
    await Deno.remove(`${folder}/from/sub/0`);
    const before = con.stats.bytesSent;
    await con.putfile(`${folder}/from`, `${folder}/to`, { recursive: true, resume: true });
    const sent = con.stats.bytesSent - before;
    assert(sent < 8_000_000, `${sent} bytes were sent`);
    assertEquals(await tree(`${folder}/to`), await tree(`${folder}/from`));
    assertEquals(listing(folder), ["from", "to"]);
  },
);

copies(
  "a link in the place of what a broken-off copy has left is not written to",
  async ({ con, guard }) => {
    const { folder } = guard;
    await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
    await Deno.writeTextFile(`${folder}/victim`, "as it was");
    for (const name of ["putfile", "getfile"] as const) {
      const ending = new AbortController();
      const copy = (options: object) =>
        con[name](`${folder}/big`, `${folder}/${name}`, { resume: true, ...options });
      const onProgress = ({ bytes }: CopyProgress) => {
        if (bytes > 3_000_000) ending.abort(new Error("enough"));
      };
      await assertRejects(() => copy({ signal: ending.signal, onProgress }), Error, "enough");
      const part = listing(folder).find((name) => name.endsWith(".part"))!;
      await Deno.remove(`${folder}/${part}`);
      await Deno.symlink("victim", `${folder}/${part}`);
      await copy({});
      assertEquals(await Deno.readTextFile(`${folder}/victim`), "as it was");
      assertEquals(await Deno.readFile(`${folder}/${name}`), bytes(8_000_000));
      assert((await Deno.lstat(`${folder}/${name}`)).isFile);
    }
  },
);

copies("what is copied into a folder that is there joins what is in it", async ({ con, guard }) => {
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

copies("each failure is its own error, on either side", async ({ con, guard }) => {
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
    for (const [from, options] of [["a", streamed], ["d", { recursive: true }]] as const) {
      const to = `${folder}/none/b`;
      const error = await assertRejects(
        () => con[name](`${folder}/${from}`, to, options),
        CopyError,
        "its folder must be there",
      );
      assertEquals([error.side, error.path], [name === "putfile" ? "remote" : "local", to]);
    }
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

copies("a name that is not UTF-8 is refused, and its bytes are shown", async ({ con, guard }) => {
  const { folder } = guard;
  await Deno.mkdir(`${folder}/d`);
  await new Deno.Command("sh", { args: ["-c", `touch "$(printf 'a\\377b')"`], cwd: `${folder}/d` })
    .output();
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

copies("a source that changes under the copy is an error", async ({ con, guard }) => {
  const { folder } = guard;
  for (const name of ["putfile", "getfile"] as const) {
    for (const change of ["grow", "shrink"]) {
      await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
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

Deno.test({
  name: "files: a full disk is its own error on either side, and nothing is left",
  ...requiresThat(
    await canMount(),
    "may not mount: it makes a small disk",
    "run the tests as root",
  ),
  fn: async () => {
    await using guard = leakGuard();
    const { folder } = guard;
    await Deno.mkdir(`${folder}/disk`);
    await Deno.writeFile(`${folder}/big`, bytes(3_000_000));
    await Deno.mkdir(`${folder}/many`);
    for (let i = 0; i < 60; i++) await Deno.writeFile(`${folder}/many/${i}`, bytes(30_000));
    assert(await mount(`${folder}/disk`));
    try {
      for (const runtime of ["deno", ...(findProgram("node") ? ["node"] as const : [])] as const) {
        await using con = await connect("local:", { runtime, env: guard.env });
        for (const name of ["putfile", "getfile"] as const) {
          await Deno.writeTextFile(`${folder}/disk/there`, "before");
          for (const to of ["new", "there"]) {
            const copying = con[name](`${folder}/big`, `${folder}/disk/${to}`, { preserve: true });
            assertEquals(await code(copying), "ENOSPC");
          }
          const copying = con[name](`${folder}/many`, `${folder}/disk/many`, { recursive: true });
          assertEquals(await code(copying), "ENOSPC");
          assertEquals(await Deno.readTextFile(`${folder}/disk/there`), "before");
          assertEquals(listing(`${folder}/disk`), ["there"]);
        }
      }
    } finally {
      await new Deno.Command("umount", { args: [`${folder}/disk`] }).output();
    }
  },
});

/** Mounts a disk of one megabyte. */
async function mount(folder: string): Promise<boolean> {
  if (Deno.uid() !== 0) return false;
  const { success } = await new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", "size=1m", "none", folder],
    stderr: "null",
  }).output();
  return success;
}

/** May this user mount? Root may not in every container. */
async function canMount(): Promise<boolean> {
  const folder = await Deno.makeTempDir();
  try {
    if (!await mount(folder)) return false;
    return (await new Deno.Command("umount", { args: [folder] }).output()).success;
  } finally {
    await Deno.remove(folder);
  }
}

/** An argv that takes the rights of root away. For another user it is not needed. */
const UNPRIVILEGED = Deno.uid() === 0
  ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
  : [];

/** Root's own home is often closed to others, and with that an interpreter or the sources in it. */
async function requiresUnprivileged(...command: string[]): Promise<Requirement> {
  if (findProgram("setpriv") === undefined) return requires("setpriv");
  const [program, ...args] = [...UNPRIVILEGED, ...command];
  const { success } = await new Deno.Command(program!, { args, stdout: "null", stderr: "null" })
    .output();
  const what = command.join(" ");
  return requiresThat(
    success,
    `another user cannot run ${what}: it is run without root's rights`,
    "put it where every user may read it",
  );
}

/** Makes what a user without rights may not read, and where it may not write. */
async function closePlaces(folder: string): Promise<void> {
  await Deno.writeTextFile(`${folder}/a`, "a");
  await Deno.writeTextFile(`${folder}/secret`, "secret");
  await Deno.chmod(`${folder}/secret`, 0o000);
  await Deno.mkdir(`${folder}/closed`);
  await Deno.writeTextFile(`${folder}/closed/there`, "before");
  await Deno.mkdir(`${folder}/tree/inner`, { recursive: true });
  await Deno.writeTextFile(`${folder}/tree/a`, "a");
  await Deno.chmod(`${folder}/tree/inner`, 0o000);
  await Deno.chmod(`${folder}/closed`, 0o555);
  await Deno.chmod(folder, 0o755);
}

/** Looks that nothing was written there, and opens it so that it can be taken away. */
async function openPlaces(folder: string): Promise<void> {
  assertEquals(await Deno.readTextFile(`${folder}/closed/there`), "before");
  assertEquals(listing(`${folder}/closed`), ["there"]);
  assertEquals(listing(folder), ["a", "closed", "secret", "tree"]);
  for (const path of ["closed", "tree/inner"]) await Deno.chmod(`${folder}/${path}`, 0o700);
}

for (const runtime of ["deno", "node"] as const) {
  Deno.test({
    name: `files, ${runtime}: what the user there may not read or write is its own error`,
    ...runtime === "deno" ? await requiresUnprivileged(Deno.execPath(), "--version") : requiresAll(
      requires(runtime),
      await requiresUnprivileged(findProgram(runtime) ?? "true", "--version"),
    ),
    fn: async () => {
      await using guard = leakGuard();
      const { folder } = guard;
      await closePlaces(folder);
      const interpreter = runtime === "deno" ? Deno.execPath() : findProgram(runtime)!;
      await using con = await connect("local:", {
        runtime,
        interpreter: [...UNPRIVILEGED, interpreter],
        env: guard.env,
      });
      const get = (from: string, to: string, options = {}) =>
        failure(con.getfile(`${folder}/${from}`, `${folder}/${to}`, { ...streamed, ...options }));
      const put = (from: string, to: string, options = {}) =>
        failure(con.putfile(`${folder}/${from}`, `${folder}/${to}`, { ...streamed, ...options }));
      const denied = (path: string) => ["EACCES", "remote", `${folder}/${path}`];
      assertEquals(await get("secret", "b"), denied("secret"));
      assertEquals(await get("tree", "b", { recursive: true }), denied("tree"));
      assertEquals(await put("a", "closed/new"), denied("closed/new"));
      assertEquals(await put("a", "closed/there"), denied("closed/there"));
      assertEquals(
        await put("tree", "closed/tree", { recursive: true }),
        denied(UNPRIVILEGED.length > 0 ? "closed/tree" : "tree"),
      );
      await openPlaces(folder);
    },
  });
}

const UNPRIVILEGED_CALLER = `
import { connect } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
const [folder] = Deno.args;
await using con = await connect("local:");
const failures = [];
for (const [copy, from, to] of [
  ["putfile", "secret", "b"],
  ["getfile", "a", "closed/new"],
  ["getfile", "a", "closed/there"],
]) {
  await con[copy](folder + "/" + from, folder + "/" + to, { checksum: "sha256" })
    .catch(({ code, side }) => failures.push([code, side]));
}
console.log(JSON.stringify(failures));
`;

Deno.test({
  name: "files: what the user here may not read or write is its own error",
  ...requiresAll(
    await requiresUnprivileged(Deno.execPath(), "--version"),
    await requiresUnprivileged("cat", new URL("../../mod.ts", import.meta.url).pathname),
  ),
  fn: async () => {
    await using guard = leakGuard();
    const { folder } = guard;
    await closePlaces(folder);
    const [program, ...args] = [...UNPRIVILEGED, Deno.execPath()];
    const child = new Deno.Command(program!, {
      args: [...args, "run", "-A", "--quiet", "--no-config", "--no-lock", "-", folder],
      env: { ...guard.env, DENO_DIR: "/dev/null/x" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(UNPRIVILEGED_CALLER));
    await writer.close();
    const { stdout, stderr } = await child.output();
    const text = new TextDecoder();
    assertEquals(
      text.decode(stdout).trim(),
      JSON.stringify([1, 2, 3].map(() => ["EACCES", "local"])),
      text.decode(stderr),
    );
    await openPlaces(folder);
  },
});

async function failure(copy: Promise<void>): Promise<string[]> {
  const { code, side, path } = await assertRejects(() => copy, CopyError);
  return [code, side, path];
}

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

Deno.test("files: an agent that dies half-way leaves nothing here, and says so", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:");
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
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

copies("when the connection is closed half-way, the agent cleans up", async ({ con, guard }) => {
  const { folder } = guard;
  await Deno.writeFile(`${folder}/big`, bytes(8_000_000));
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
  // A server's clean-up is its own affair: nobody waits for it here.
  for (let tries = 0; tries < 500 && listing(folder).length > 1; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
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
