import { assertEquals, assertStringIncludes } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";
import { outcome, startProgram } from "./program.ts";

// What `deno compile` makes needs a download; to such a program only this differs.
const STANDALONE = `
  const build = { ...Deno.build, standalone: true };
  Object.defineProperty(Deno, "build", { value: build });
`;

Deno.test("a compiled program, which is no interpreter, uses the deno on the PATH", async () => {
  await using guard = leakGuard({ grace: 5000 });
  const bin = `${guard.folder}/bin`;
  await Deno.mkdir(bin);
  await Deno.writeTextFile(
    `${bin}/deno`,
    `#!/bin/sh\necho used >>"${guard.folder}/log"\nexec "${Deno.execPath()}" "$@"\n`,
    { mode: 0o755 },
  );
  const program = startProgram(
    guard,
    `${STANDALONE} await using con = await connect("local:"); console.log(await con.eval("1 + 2"));`,
    { env: { PATH: `${bin}:${Deno.env.get("PATH")}` } },
  );
  const { code, stdout, stderr } = await outcome(program);
  assertEquals([code, stdout, stderr], [0, "3\n", ""]);
  assertEquals(await Deno.readTextFile(`${guard.folder}/log`), "used\n");
});

Deno.test("without a deno on the PATH it says what is missing", async () => {
  await using guard = leakGuard({ grace: 5000 });
  await Deno.mkdir(`${guard.folder}/bin`);
  await Deno.symlink("/bin/sh", `${guard.folder}/bin/sh`);
  const program = startProgram(
    guard,
    `${STANDALONE} await connect("local:").catch((error) => console.log(error.message));`,
    { env: { PATH: `${guard.folder}/bin` } },
  );
  const { code, stdout } = await outcome(program);
  assertEquals(code, 0);
  assertStringIncludes(stdout, "the interpreter deno was not found there");
});
