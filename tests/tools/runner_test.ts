import { assertEquals, assertStringIncludes } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";

const CHECKOUT = decodeURIComponent(new URL("../..", import.meta.url).pathname);

/** Runs the test runner in a checkout of its own, which has just these test files. */
async function runTests(files: Record<string, string>, ...args: string[]) {
  await using guard = leakGuard();
  const folder = guard.folder;
  await Deno.mkdir(`${folder}/tests/support`, { recursive: true });
  await Deno.mkdir(`${folder}/tools`);
  for (const name of ["command", "imports", "install", "junit", "skips", "test", "test_groups"]) {
    await Deno.copyFile(`${CHECKOUT}/tools/${name}.ts`, `${folder}/tools/${name}.ts`);
  }
  for (const name of ["programs", "requirement", "suppressed"]) {
    const path = `tests/support/${name}.ts`;
    await Deno.copyFile(`${CHECKOUT}/${path}`, `${folder}/${path}`);
  }
  await Deno.copyFile(`${CHECKOUT}/tests/npm_imports.json`, `${folder}/tests/npm_imports.json`);
  const config = { exports: { ".": "./mod.ts" }, imports: {}, lock: false };
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify(config));
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(`${folder}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(`${folder}/${name}`, text);
  }
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", files["main.ts"] ? "main.ts" : "tools/test.ts", ...args],
    cwd: folder,
    env: {
      ...guard.env,
      PUSHY_TEST_INSTALL: "",
      PUSHY_TEST_IMPORTS: "npm",
      // An empty cache: what comes from npm is missing.
      PUSHY_TEST_CACHE: `${folder}/cache`,
      SSH_AUTH_SOCK: "/nowhere",
    },
  }).output();
  const output = new TextDecoder().decode(stdout);
  return { code, output, last: output.trimEnd().split("\n").at(-1) };
}

const PASSES = `Deno.test("passes", () => {});`;
const FAILS = `Deno.test("fails", () => { throw new Error("on purpose") });`;

Deno.test("tests and the documentation's examples are counted, steps too", async () => {
  const { code, last } = await runTests({
    "tests/a_test.ts": `${PASSES} Deno.test("b", async (t) => { await t.step("c", () => {}) });`,
    "mod.ts": "/** One.\n * ```ts\n * 1 + 1;\n * ```\n */\nexport const one = 1;",
    "README.md": '```ts\nimport { one } from "./mod.ts"; one;\n```',
  });
  assertEquals(last, "5 passed, 0 failed, 0 skipped");
  assertEquals(code, 0);
});

Deno.test("each folder runs in a process of its own, and their output is not mixed", async () => {
  const test = (name: string) =>
    `Deno.test("${name}", async () => {
    console.log("${name} is in", Deno.pid);
    await new Deno.Command("true").output();
    console.log("${name} is over");
  });`;
  const { output, last } = await runTests({
    "tests/a_test.ts": test("top"),
    "tests/one/a_test.ts": test("a"),
    "tests/one/deep/b_test.ts": test("b"),
    "tests/two/c_test.ts": test("c"),
    "tests/windows/d_test.ts": test("d"),
    "tests/two/no_test_file.ts": "export const x: number = 1;",
  });
  assertEquals(last, "4 passed, 0 failed, 0 skipped");
  const pid = (name: string) =>
    new RegExp(`^${name} is in (\\d+)\n${name} is over$`, "m").exec(output)?.[1];
  assertEquals(pid("a"), pid("b"));
  assertEquals(new Set(["top", "a", "c"].map(pid)).size, 3);
});

Deno.test("where several folders are run, what a test leaves running does not hold them up", async () => {
  const { output, last } = await runTests({
    "tests/a_test.ts": PASSES,
    "tests/one/b_test.ts": `Deno.test("b", async () => {
      const args = ["-c", "sleep 300 & echo $! >pid"];
      await new Deno.Command("sh", { args, stdout: "inherit", stderr: "inherit" }).spawn().status;
    });`,
    "main.ts": `import { countLine, runTests } from "./tools/test.ts";
      const counts = await runTests();
      Deno.kill(Number(await Deno.readTextFile("pid")));
      console.log(countLine(counts));`,
  });
  assertStringIncludes(output, "b ... ok");
  assertEquals(last, "2 passed, 0 failed, 0 skipped");
});

Deno.test("where several folders are run, a file that does not compile fails the run", async () => {
  const { code, last } = await runTests({
    "tests/a_test.ts": PASSES,
    "tests/one/b_test.ts": `const a: string = 1; ${PASSES}`,
  });
  assertEquals(last, "0 passed, 1 failed, 0 skipped");
  assertEquals(code, 1);
});

Deno.test("a failing test fails the run", async () => {
  const { code, last } = await runTests({ "tests/a_test.ts": PASSES + FAILS });
  assertEquals(last, "1 passed, 1 failed, 0 skipped");
  assertEquals(code, 1);
});

Deno.test("where a test and its clean-up fail, both errors are shown", async () => {
  const { output, last } = await runTests({
    "tests/a_test.ts": `Deno.test("a", () => {
      using _ = { [Symbol.dispose]() { throw new Error("the clean-up") } };
      throw new Error("the test");
    });`,
  });
  assertStringIncludes(output, "Error: the test");
  assertStringIncludes(output, "Error: the clean-up");
  assertEquals(last, "0 passed, 1 failed, 0 skipped");
});

Deno.test("a file that throws when it is loaded fails the run", async () => {
  const { code, last } = await runTests({
    "tests/a_test.ts": PASSES,
    "tests/b_test.ts": `throw new Error("on purpose");`,
  });
  assertEquals(last, "1 passed, 1 failed, 0 skipped");
  assertEquals(code, 1);
});

Deno.test("a file that does not compile fails the run", async () => {
  const { code, last } = await runTests({ "tests/a_test.ts": `const a: string = 1; ${PASSES}` });
  assertEquals(last, "0 passed, 1 failed, 0 skipped");
  assertEquals(code, 1);
});

Deno.test("a skipped test is listed with its reason", async () => {
  const { code, output, last } = await runTests({
    "tests/a_test.ts": `import { requires, requiresThat } from "./support/requirement.ts";
      Deno.test({ name: "a", ...requires("node18"), fn() {} });
      Deno.test({ name: "b", ...requiresThat(false, "wrong moon", "wait"), fn() {} });
      Deno.test({ name: "c", ...requiresThat(true, "", ""), fn() {} });`,
  });
  assertStringIncludes(output, "node18 is not installed (the oldest Node that is supported)");
  assertStringIncludes(output, "to get it: npm install --prefix ");
  assertStringIncludes(output, "  wrong moon\n    to get it: wait\n    in tests/a_test.ts: a, b");
  assertEquals(last, "1 passed, 0 failed, 2 skipped");
  assertEquals(code, 0);
});

Deno.test("a file, and a filter, choose what runs", async () => {
  const files = { "tests/a_test.ts": PASSES + FAILS, "tests/b_test.ts": FAILS };
  assertEquals((await runTests(files, "--", "passes")).last, "1 passed, 0 failed, 0 skipped");
  assertEquals((await runTests(files, "--filter", "fails")).last, "0 passed, 2 failed, 0 skipped");
  assertEquals((await runTests(files, "tests/b_test.ts")).last, "0 passed, 1 failed, 0 skipped");
});

Deno.test("tests run in a clean environment, with this Deno on the PATH", async () => {
  const { last } = await runTests({
    "tests/a_test.ts": `Deno.test("a", async () => {
      if (Deno.env.get("SSH_AUTH_SOCK") !== undefined) throw new Error("not clean");
      if (Deno.env.get("NO_COLOR") !== "1") throw new Error("not pinned");
      await new Deno.Command("deno", { args: ["--version"] }).output();
    });`,
  });
  assertEquals(last, "1 passed, 0 failed, 0 skipped");
});

const STRICT = `import { countLine, runTests } from "./tools/test.ts";
  console.log(countLine(await runTests({ strict: true, limit: 20_000 })));`;

Deno.test("a strict run fails where an installation would have prevented a skip", async () => {
  const { last } = await runTests({
    "main.ts": STRICT,
    "tests/a_test.ts": `import { requires, requiresThat } from "./support/requirement.ts";
      Deno.test({ name: "a", ...requires("node18"), fn() {} });
      Deno.test({ name: "b", ...requiresThat(false, "wrong moon", "wait"), fn() {} });`,
  });
  assertEquals(last, "0 passed, 1 failed, 2 skipped");
});

Deno.test("a run that takes too long is ended, and has failed", async () => {
  const { last } = await runTests({
    "main.ts": STRICT.replace("20_000", "1"),
    "tests/a_test.ts": `Deno.test("a", () => { while (true); });`,
  });
  assertEquals(last, "0 passed, 1 failed, 0 skipped");
});
