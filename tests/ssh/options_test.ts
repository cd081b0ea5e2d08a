import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { checkOptions, parseAddress, type SshOptions } from "../../transport/ssh/options.ts";
import { remoteCommandLine } from "../../transport/ssh/remote_command.ts";
import { Popen } from "../../transport/ssh.ts";

Deno.test("an ssh address is [user@]host[:port]", () => {
  const rows: [string, string | undefined, string, number | undefined][] = [
    ["web1", undefined, "web1", undefined],
    ["root@web1", "root", "web1", undefined],
    ["web1:2222", undefined, "web1", 2222],
    ["DOM\\joe@web1.example.org:22", "DOM\\joe", "web1.example.org", 22],
    ["joe@corp@web1", "joe@corp", "web1", undefined],
    ["[::1]", undefined, "::1", undefined],
    ["a@[fe80::1%eth0]:2222", "a", "fe80::1%eth0", 2222],
  ];
  for (const [address, username, host, port] of rows) {
    assertEquals(parseAddress(address), { username, host, port }, address);
  }
});

Deno.test("an ssh address that could be taken for something else is refused", () => {
  const bad = [
    "",
    "-oProxyCommand=x",
    "-l@web1",
    "a@-web1",
    "@web1",
    "a@",
    "web1:",
    "web1:0",
    "web1:65536",
    "web1:x",
    "::1",
    "[::1",
    "we b1",
    "web1;reboot",
    "$(reboot)",
    "a`b`@web1",
    "web1\n",
    "[-x]",
  ];
  for (const address of bad) assertThrows(() => parseAddress(address), TypeError, "ssh address");
});

Deno.test("ssh options that cannot be used are refused before anything starts", async () => {
  const bad: Partial<SshOptions>[] = [
    { username: "-x" },
    { port: 0 },
    { port: 2.5 },
    { env: { "A-B": "" } },
    { env: { A: "\0" } },
    { cwd: "" },
    { password: "a\nb" },
    { missingHostKeyPolicy: "maybe" as never },
    { identityFile: 'a"b' },
    { connectTimeout: -1 },
    { keepAlive: -1 },
  ];
  for (const options of bad) {
    assertThrows(() => checkOptions(["x"], { address: "h", ...options }), TypeError);
    await assertRejects(() => Popen(["x"], { address: "h", ...options }), TypeError);
  }
  await assertRejects(() => Popen([], { address: "h" }), TypeError, "empty");
  await assertRejects(() => Popen(["a\0"], { address: "h" }), TypeError, "NUL");
  await assertRejects(
    () => Popen(["x"], { address: "h", useNative: true, privateKey: "k" }),
    TypeError,
    "privateKey",
  );
});

Deno.test("an aborted signal ends the start before it begins", async () => {
  const reason = new Error("changed my mind");
  for (const useNative of [true, false]) {
    const failed = await assertRejects(() =>
      Popen(["x"], { address: "127.0.0.1:1", useNative, signal: AbortSignal.abort(reason) })
    );
    assertEquals(failed, reason);
  }
});

Deno.test("a plain command is quoted for every shell, others for POSIX ones", () => {
  assertEquals(remoteCommandLine(["deno", "run", "a b"]), 'deno run "a b"');
  assertEquals(remoteCommandLine(["cat"], { cwd: "/a" }), `sh -c "cd '/a' && exec cat"`);
  assertEquals(/base64 -d/.test(remoteCommandLine(["echo", "a!b"])), true);
});

Deno.test("the entry for compiled programs is the same Popen", async () => {
  const entry = await import("../../transport/ssh2.ts");
  assertEquals(entry.Popen, Popen);
});
