import { assert, assertEquals, assertRejects } from "@std/assert";
import { CopyError } from "../../client/copy_error.ts";
import { copyFiles, type FileOptions, localSide, type Side } from "../../client/files.ts";
import { checkEntry, unsafeLink, unsafeName } from "../../client/tree_names.ts";
import type { Entry } from "../../runtime/js/files.ts";
import { leakGuard } from "../support/leaks.ts";
import { Pair } from "../protocol/pair.ts";

const FOLDER = { type: "folder", size: 0, mode: 0o755, mtime: 0 };
const FILE = { type: "file", size: 4, mode: 0o644, mtime: 0 };
const link = (target: unknown) => ({ type: "link", size: 0, mode: 0o777, mtime: 0, target });

/** An agent whose folder has these entries, whatever they are; every file has the bytes "evil". */
function lying(entries: unknown[], more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    files: {
      stat: () => FOLDER,
      walk: function* () {
        yield* entries;
      },
      read: () => ({ size: 4, mode: 0o644, mtime: 0, bytes: new TextEncoder().encode("evil") }),
      ...more,
    },
  };
}

async function get(root: unknown, to: string, options: FileOptions = {}): Promise<void> {
  await using pair = new Pair(root);
  const remote: Side = { files: pair.root.files, name: "remote", windows: false };
  await copyFiles(remote, "/remote", localSide(), to, { recursive: true, ...options });
}

/** All that is below a folder, links not followed. */
function below(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? [name, ...below(`${folder}/${name}`).map((inner) => `${name}/${inner}`)] : [name]
  ).sort();
}

const ATTACKS: Record<string, unknown[]> = {
  "a name that goes up": [["../evil", FILE]],
  "a name that goes up further in": [["a", FOLDER], ["a/../../evil", FILE]],
  "an absolute name": [["/tmp/pushy_evil", FILE]],
  "an empty name": [["", FILE]],
  "a name with an empty part": [["a", FOLDER], ["a//b", FILE]],
  "a dot": [[".", FOLDER]],
  "two dots": [["..", FOLDER]],
  "a zero byte": [["a\0b", FILE]],
  "a name that is a number": [[7, FILE]],
  "no name": [FILE],
  "a folder that was not named": [["a/b", FILE]],
  "a file in a file": [["a", FILE], ["a/b", FILE]],
  "a link to an absolute place": [["out", link("/etc")]],
  "a link that leads up": [["out", link("..")]],
  "a link that leads up later": [["out", link("a/../../x")]],
  "a link to nothing": [["out", link(undefined)]],
  "a file behind a link": [["in", FOLDER], ["out", link("in")], ["out/evil", FILE]],
  "a folder in place of a link": [["in", FOLDER], ["out", link("in")], ["out", FOLDER]],
  "a link in place of a folder": [
    ["in", FOLDER],
    ["in/a", FILE],
    ["in", link("other")],
    ["other", FOLDER],
    ["in/evil", FILE],
  ],
  "a link in place of a folder that is empty": [
    ["deep", FOLDER],
    ["deep/in", FOLDER],
    ["deep/in", link("..")],
    ["deep/in/up", link("../../..")],
  ],
  "links in a chain": [
    ["p", FOLDER],
    ["p/q", FOLDER],
    ["p/q/up", link("../..")],
    ["out", link("p/q/up/..")],
  ],
};

for (const [name, entries] of Object.entries(ATTACKS)) {
  Deno.test(`files: a lying host cannot write outside: ${name}`, async () => {
    await using guard = leakGuard();
    const before = new Set(below(guard.folder));
    const error = await assertRejects(() => get(lying(entries), `${guard.folder}/to`), CopyError);
    assert(["EUNSAFE", "ENOTDIR", "EISDIR", "EIO"].includes(error.code), error.message);
    assertEquals(new Set(below(guard.folder)), before);
    // The same into a folder that is there: what was outside stays as it was.
    await Deno.mkdir(`${guard.folder}/there`);
    await assertRejects(() => get(lying(entries), `${guard.folder}/there`), CopyError);
    assertEquals(below(guard.folder).filter((path) => !path.startsWith("there")), []);
  });
}

Deno.test("files: a link that the user had in the destination is not followed", async () => {
  await using guard = leakGuard();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/outside`);
  await Deno.mkdir(`${folder}/to`);
  await Deno.symlink("../outside", `${folder}/to/sub`);
  const error = await assertRejects(
    () => get(lying([["sub", FOLDER], ["sub/evil", FILE]]), `${folder}/to`),
    CopyError,
  );
  assertEquals(error.code, "ENOTDIR");
  assertEquals(below(`${folder}/outside`), []);
  await Deno.writeTextFile(`${folder}/secret`, "secret");
  await Deno.symlink("../secret", `${folder}/to/file`);
  await get(lying([["file", FILE]]), `${folder}/to`);
  assertEquals(await Deno.readTextFile(`${folder}/secret`), "secret");
  assertEquals(await Deno.readTextFile(`${folder}/to/file`), "evil");
});

Deno.test("files: links that stay inside are made", async () => {
  await using guard = leakGuard();
  const to = `${guard.folder}/to`;
  await get(
    lying([
      ["a", FOLDER],
      ["a/b", FOLDER],
      ["a/b/up", link("../../x")],
      ["x", FILE],
      ["here", link("./a/b")],
      ["a/none", link("b/none")],
    ]),
    to,
  );
  assertEquals(await Deno.readTextFile(`${to}/here/up`), "evil");
  assertEquals(await Deno.readLink(`${to}/a/none`), "b/none");
});

Deno.test("files: a lying host sends more than it said, or something else", async () => {
  await using guard = leakGuard();
  const to = `${guard.folder}/to`;
  const endless = () => ({
    ...FILE,
    size: 100_000,
    bytes: new ReadableStream({
      type: "bytes",
      pull: (controller) => controller.enqueue(new Uint8Array(50_000)),
    }),
  });
  const answers: [unknown, string][] = [
    [endless, "ECHANGED"],
    [() => undefined, "EIO"],
    [() => ({ size: "4", mode: 0, mtime: 0, bytes: new Uint8Array(4) }), "EIO"],
    [() => ({ ...FILE, bytes: "text" }), "EIO"],
    [() => ({ ...FILE, bytes: { length: 3 } }), "EIO"],
  ];
  for (const [read, code] of answers) {
    const root = lying([], { stat: () => FILE, read });
    const error = await assertRejects(() => get(root, to, { recursive: false }), CopyError);
    assertEquals(error.code, code);
    assertEquals(below(guard.folder), []);
  }
});

Deno.test("files: a lying host describes files in no known way", async () => {
  await using guard = leakGuard();
  for (
    const entry of [undefined, 1, {}, { ...FILE, type: "x" }, { ...FILE, size: -1 }, {
      ...FILE,
      mode: "rwx",
    }]
  ) {
    await assertRejects(
      () => get(lying([], { stat: () => entry }), `${guard.folder}/to`),
      CopyError,
      "described in no known way",
    );
    await assertRejects(() => get(lying([["a", entry]]), `${guard.folder}/to`), CopyError);
    assertEquals(below(guard.folder), []);
  }
});

Deno.test("files: a lying host cannot set a mode that runs as somebody else", async () => {
  await using guard = leakGuard();
  const root = lying([["a", { ...FILE, mode: 0o106777 }]]);
  await get(root, `${guard.folder}/to`, { preserve: true });
  assertEquals((await Deno.stat(`${guard.folder}/to/a`)).mode! & 0o7777, 0o777);
});

Deno.test("files: a checksum that differs is an error, and nothing is left", async () => {
  await using guard = leakGuard();
  const root = lying([], { stat: () => FILE, hash: () => "0".repeat(64) });
  const error = await assertRejects(
    () => get(root, `${guard.folder}/to`, { checksum: "sha256", recursive: false }),
    CopyError,
  );
  assertEquals(error.code, "ECHECKSUM");
  assertEquals(below(guard.folder), []);
});

Deno.test("files: a pipe that has taken a file's place is not waited for", async () => {
  await using guard = leakGuard();
  const { folder } = guard;
  const made = await new Deno.Command("mkfifo", { args: [`${folder}/a`] }).output();
  assert(made.success);
  const local = localSide();
  const stat = () => Promise.resolve(FILE as Entry);
  const source: Side = { ...local, files: { ...local.files, stat } };
  const destination: Side = { ...localSide(), name: "remote" };
  const error = await assertRejects(
    () => copyFiles(source, `${folder}/a`, destination, `${folder}/to`, {}),
    CopyError,
  );
  assertEquals(error.code, "ESPECIAL");
  assertEquals(below(folder), ["a"]);
});

Deno.test("files: names and links that Windows would read in another way", () => {
  for (const name of ["a\\b", "C:x", "a/b:stream", "dots.", "blank "]) {
    assert(unsafeName(name, true), name);
    assertEquals(unsafeName(name, false), undefined);
  }
  assert(unsafeLink("a", "..\\..\\x", true));
  assert(unsafeLink("a", "C:/x", true));
  assertEquals(unsafeLink("a", "b", true), undefined);
});

Deno.test("files: an entry keeps only what entries have", () => {
  assertEquals(checkEntry({ ...FILE, evil: () => {} }), {
    ...FILE,
    target: undefined,
    path: undefined,
  } as ReturnType<typeof checkEntry>);
});
