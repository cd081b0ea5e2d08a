/**
 * What stands in the place of an agent, and never becomes one; and one whose first words are a lie.
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BootstrapError, connect } from "../../mod.ts";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { makeScript } from "./places.ts";

/** Connects to an interpreter that says this, and then listens for ever. */
async function meet(guard: LeakGuard, said: string) {
  const file = `${guard.folder}/said`;
  await Deno.writeTextFile(file, said);
  const interpreter = await makeScript(guard, `cat ${file} >&4; exec cat <&3 >/dev/null`);
  return connect("local:", { interpreter, stderr: "null", closeTimeout: 100, env: guard.env });
}

const REFUSED: Record<string, [said: string, why: string]> = {
  "another version": ["\nPUSHY/2 {}\n", "speaks version 2"],
  "a version that is none": ["\nPUSHY/\x1b[2J {}\n", "speaks version"],
  "no JSON": ["\nPUSHY/1 {\n", "introduced itself in a way that cannot be read"],
  "nothing": ["\nPUSHY/1 null\n", "introduced itself in a way that cannot be read"],
  "a list": ["\nPUSHY/1 []\n", "introduced itself in a way that cannot be read"],
  "a name that is none": [
    '\nPUSHY/1 {"runtime":{"toString":1},"version":"1","pid":1,"platform":"x"}\n',
    "introduced itself in a way that cannot be read",
  ],
  "a process that is none": [
    '\nPUSHY/1 {"runtime":"deno","version":"1","pid":"1; rm","platform":"x"}\n',
    "introduced itself in a way that cannot be read",
  ],
  "noise without end": ["noise\n".repeat(100_000), "printed more than 65536 bytes"],
  "a banner without end": [`\nPUSHY/1 {"runtime":"${"x".repeat(200_000)}`, "printed more than"],
};

for (const [name, [said, why]] of Object.entries(REFUSED)) {
  Deno.test(`an agent that introduces itself with ${name} is refused`, async () => {
    await using guard = leakGuard();
    const error = await assertRejects(() => meet(guard, said), BootstrapError);
    assertStringIncludes(error.message, why);
    assertEquals(error.stage, "banner");
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(error.message));
  });
}

Deno.test("what an agent says of itself is fit to be shown", async () => {
  await using guard = leakGuard();
  const escape = "\x1b[2J\x1b]0;owned\x07\n";
  const said = JSON.stringify({
    runtime: `deno${escape}`,
    version: `1${escape}${"0".repeat(10_000)}`,
    pid: 1,
    platform: `linux${escape}`,
    ["__proto__"]: { polluted: true },
    more: "than it may say",
  });
  await using con = await meet(guard, `\nPUSHY/1 ${said}\n`);
  assertEquals(Object.keys(con.interpreter), ["runtime", "version", "pid", "platform"]);
  for (const text of [...Object.values(con.interpreter).map(String), Deno.inspect(con)]) {
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f\x7f-\x9f]/.test(text), JSON.stringify(text));
    assert(text.length < 400);
  }
});
