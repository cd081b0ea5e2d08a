import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { nameOf, parseCopyPath } from "../../cli/copy_paths.ts";
import { barLine, duration, size } from "../../cli/progress_bar.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { PUSHY, pushy, Terminal } from "./terminal.ts";

Deno.test("cp: files go there and back, several at once, and folders with -r", async () => {
  await using guard = leakGuard();
  const { folder, env } = guard;
  const cp = (...args: string[]) => pushy(["cp", ...args], { cwd: folder, env });
  await Deno.writeTextFile(`${folder}/a`, "A");
  await Deno.writeTextFile(`${folder}/b`, "B");
  await Deno.mkdir(`${folder}/there`);
  const several = await cp("a", "b", `local::${folder}/there`);
  assertEquals([several.code, several.stdout], [0, ""]);
  assertMatch(several.stderr, /^a: 1 B in .*\nb: 1 B in .*\n$/);
  assertEquals(await Deno.readTextFile(`${folder}/there/b`), "B");
  assertEquals((await cp("--checksum", `local::${folder}/there/a`, "c")).code, 0);
  assertEquals(await Deno.readTextFile(`${folder}/c`), "A");
  const refused = await cp("there", `local::${folder}/copy`);
  assertEquals(refused.code, 1);
  assertMatch(refused.stderr, /it is a folder; use -r/);
  assertEquals((await cp("-rq", "there", `local::${folder}/copy`)).stderr, "");
  assertEquals((await cp("-r", "-q", `local::${folder}/copy`, ".")).code, 0);
  assertEquals(await Deno.readTextFile(`${folder}/copy/a`), "A");
});

Deno.test("cp: a link that leads out of a folder is refused, and can be left out", async () => {
  await using guard = leakGuard();
  const { folder } = guard;
  await Deno.mkdir(`${folder}/from`);
  await Deno.writeTextFile(`${folder}/from/a`, "A");
  await Deno.symlink("/etc/hosts", `${folder}/from/link`);
  const args = ["cp", "-rq", `local::${folder}/from`, `${folder}/to`];
  const refused = await pushy(args, guard);
  assertEquals(refused.code, 1);
  assertMatch(refused.stderr, /the link "link" to "\/etc\/hosts"[^]*hint: .*--links skip/);
  assertEquals((await pushy([...args, "--links", "skip"], guard)).stderr, "");
  assertEquals([...Deno.readDirSync(`${folder}/to`)].map(({ name }) => name), ["a"]);
});

Deno.test("cp: what cannot be copied says why, with status 1", async () => {
  await using guard = leakGuard();
  const cp = (...args: string[]) => pushy(["cp", ...args], { cwd: guard.folder, env: guard.env });
  for (
    const [args, message] of [
      [["a"], /name at least one source/],
      [["a", "b"], /one of them is TARGET:PATH/],
      [["local::a", "local::b"], /between two remote sides/],
      [["local:a", "b"], /a remote path is TARGET:PATH/],
      [["none", "local::/tmp/pushy_none"], /there is no such file or folder/],
      [["a", "b", "local::/no/such"], /it is no folder/],
    ] as [string[], RegExp][]
  ) {
    const { code, stderr } = await cp(...args);
    assertEquals(code, 1, args.join(" "));
    assertMatch(stderr, message);
  }
});

Deno.test({
  name: "cp: on a terminal there is a bar; Ctrl-C leaves nothing, and --resume goes on",
  ...requires("tmux"),
  fn: async () => {
    await using guard = leakGuard();
    const { folder, env } = guard;
    // Long enough to be seen on its way, and interrupted.
    const size = 800_000_000;
    const file = await Deno.open(`${folder}/big`, { create: true, write: true });
    await file.truncate(size);
    file.close();
    const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    await Deno.mkdir(`${folder}/screens`);
    for (const resume of ["", "--resume"]) {
      const command = `cd '${folder}' && ${PUSHY} cp -p ${resume} big local::${folder}/to`;
      await using terminal = await Terminal.start(command, `${folder}/screens`, env);
      await terminal.until(/big \[#+-*\] +\d+% +[\d.]+ [kMG]B\/s {2}[\d.:]+ (s|min) left/);
      await terminal.press("C-c");
      await terminal.until(/^Interrupted[^]*\[ended 130\]/m);
      assert(!names().includes("to"));
      assertEquals(names().some((name) => name.endsWith(".part")), resume !== "");
    }
    const again = await pushy(["cp", "-p", "--resume", "big", `local::${folder}/to`], {
      cwd: folder,
      env,
    });
    assertEquals(again.code, 0, again.stderr);
    assertEquals((await Deno.stat(`${folder}/to`)).size, size);
    assertEquals(names(), ["big", "screens", "to"]);
  },
});

Deno.test("cp: paths are taken apart", () => {
  const cases: [string, string | undefined, string][] = [
    ["a/b", undefined, "a/b"],
    ["./a:b", undefined, "./a:b"],
    ["C:\\x", undefined, "C:\\x"],
    ["local::/etc/hosts", "local:", "/etc/hosts"],
    ["ssh:web1:/etc/hosts", "ssh:web1", "/etc/hosts"],
    ["ssh:me@web1:2222:/etc/hosts", "ssh:me@web1:2222", "/etc/hosts"],
    ["ssh:web1:notes", "ssh:web1", "notes"],
    ["ssh:web1:2024", "ssh:web1", "2024"],
    ["ssh:[::1]:22:x:y", "ssh:[::1]:22", "x:y"],
    ["daemon:/run/pushy.sock:/etc/hosts", "daemon:/run/pushy.sock", "/etc/hosts"],
    ["smb:\\\\host:C:\\x", "smb:\\\\host", "C:\\x"],
  ];
  for (const [argument, target, path] of cases) {
    assertEquals(parseCopyPath(argument), { target, path }, argument);
  }
  for (const argument of ["local:x", "ssh:web1", "ssh:web1:", "local::"]) {
    assertThrows(() => parseCopyPath(argument), TypeError, "TARGET:PATH");
  }
  assertEquals(["a/b/", "/", "..", "a\\b"].map(nameOf), ["b", "", "", "b"]);
});

Deno.test("cp: the bar fits its line", () => {
  const progress = { bytes: 50_000_000, total: 100_000_000, rate: 10_000_000, file: "x" };
  assertEquals(
    barLine("file", progress, 60),
    "file [#############------------]  50%  10 MB/s  5.0 s left",
  );
  for (let width = 5; width < 100; width++) {
    assert(barLine("a long name of a file \x1b[31m", progress, width).length <= width);
  }
  assertEquals([999, 1500, 15e6, 2e12].map(size), ["999 B", "1.5 kB", "15 MB", "2.0 TB"]);
  assertEquals([1, 59.9, 61, 3661].map(duration), ["1.0 s", "1:00 min", "1:01 min", "1:01 h"]);
});
