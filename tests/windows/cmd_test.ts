/**
 * A host that runs Windows, as its SSH daemon would start a command: by cmd.exe. The daemon itself is not there.
 *
 * @module
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BootstrapError, connect, type ConnectOptions, registerTransport } from "../../mod.ts";
import { remoteCommandLine } from "../../transport/ssh/remote_command.ts";
import { windowsCommandLine } from "../../transport/ssh/windows_command.ts";
import { converse, needsNode, node, onWindows, runByCmd } from "./windows.ts";

/** Every line that was run, in order. */
const lines: string[] = [];

registerTransport("cmd", {
  options: [],
  Popen(command, options) {
    const line = options.platform === "windows"
      ? windowsCommandLine(command, options)
      : remoteCommandLine(command, options);
    lines.push(line);
    return Promise.resolve(runByCmd(line, options.address));
  },
});

const deno = Deno.execPath();

function open(options: ConnectOptions<"deno">) {
  lines.length = 0;
  return connect("cmd:", { interpreter: deno, ...options });
}

Deno.test(onWindows("cmd.exe: a whole conversation", async () => {
  await using con = await open({ platform: "windows" });
  await converse(con);
  assertEquals(lines.length, 1);
  assert(lines[0]!.length < 8191);
  assertStringIncludes(lines[0]!, "set DENO_DIR=?/x&&");
  assertEquals(await con.globals.Deno.env.get("DENO_DIR"), "?/x");
}));

Deno.test(
  onWindows("cmd.exe: without a variable to set, the words go to it in quotes", async () => {
    await using con = await open({ platform: "windows", cache: true });
    await converse(con);
    assertStringIncludes(lines[0]!, ` "data:application/javascript;base64,`);
  }),
);

Deno.test(onWindows("cmd.exe: a folder and variables", async () => {
  const folder = await Deno.makeTempDir({ prefix: "pushy (a b)" });
  try {
    const env = { PUSHY_A: "C:\\Program Files (x86)\\a", PUSHY_B: "ä=1;2,3 " };
    await using con = await open({ platform: "windows", cwd: folder, env });
    assertEquals(await con.globals.Deno.cwd(), folder);
    assertEquals(await con.globals.Deno.env.get("PUSHY_A"), env.PUSHY_A);
    assertEquals(await con.globals.Deno.env.get("PUSHY_B"), env.PUSHY_B);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}));

Deno.test(onWindows("cmd.exe: permissions, which Deno there sees to", async () => {
  await using con = await open({
    platform: "windows",
    permissions: { read: ["C:\\windows", "D:\\"], net: ["example.com:80"], env: false },
  });
  const state = (descriptor: Deno.PermissionDescriptor) =>
    con.eval<string>(`Deno.permissions.querySync(${JSON.stringify(descriptor)}).state`);
  assertEquals(await state({ name: "read", path: "C:\\windows\\system32" }), "granted");
  assertEquals(await state({ name: "read", path: "E:\\" }), "prompt");
  assertEquals(await state({ name: "net", host: "example.com:80" }), "granted");
}));

Deno.test(onWindows("cmd.exe: that a host is Windows is found out", async () => {
  await using con = await open({});
  assertEquals(await con.globals.Deno.build.os, "windows");
  assertEquals(lines.length, 2);
  assert(lines[0]!.startsWith("sh -c "));
}));

Deno.test(onWindows("cmd.exe: an interpreter that is not there is named", async () => {
  const error = await assertRejects(
    () => open({ interpreter: "absent-deno", platform: "windows" }),
    BootstrapError,
  );
  assertStringIncludes(error.message, "absent-deno was not found there");
}));

Deno.test(onWindows("cmd.exe: a whole conversation with Node", async () => {
  await using con = await connect("cmd:", {
    runtime: "node",
    interpreter: node,
    platform: "windows",
  });
  await converse(con);
}, needsNode));
