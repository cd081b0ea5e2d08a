import { assertEquals } from "@std/assert";
import { leakGuard } from "../support/leaks.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

Deno.test("the command line is installed from a checkout, as the README says, and runs anywhere", async () => {
  await using guard = leakGuard();
  const { folder, env } = guard;
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const words = /^(deno install -gA -n pushy cli\.ts) /m.exec(readme)![1]!.split(" ").slice(1);
  const run = async (command: string, args: string[], cwd: string) => {
    const { code, stdout, stderr } = await new Deno.Command(command, {
      args,
      cwd,
      env: { ...env, DENO_INSTALL_ROOT: folder },
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  };
  const installed = await run(Deno.execPath(), words, ROOT);
  assertEquals(installed.code, 0, installed.stderr);
  const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const pushy = `${folder}/bin/pushy`;
  assertEquals(await run(pushy, ["--version"], "/"), {
    code: 0,
    stdout: `${config.version}\n`,
    stderr: "",
  });
  assertEquals((await run(pushy, ["eval", "local:", "6 * 7"], "/")).stdout, "42\n");
});
