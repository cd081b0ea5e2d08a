import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { getPriority } from "node:os";
import { connect, registerTransport } from "../../mod.ts";
import { Popen } from "../../transport/local.ts";
import { leakGuard } from "../support/leaks.ts";

Deno.test("a transport of the user's own is used by its name, with its options", async () => {
  await using guard = leakGuard();
  const seen: unknown[] = [];
  registerTransport("nice", {
    Popen: (command, options: { address: string; level?: number }) => {
      seen.push(options.address, options.level);
      return Popen(["nice", "-n", String(options.level), ...command], { ...options, address: "" });
    },
  });
  await using con = await connect("nice:some:where", { level: 7, env: guard.env });
  assertEquals(seen, ["some:where", 7]);
  const priority = await con.eval("(await import('node:os')).getPriority()");
  assertEquals(priority, Math.min(getPriority() + 7, 19));
});

Deno.test("a transport that fails gives its own error", async () => {
  registerTransport("failing", { Popen: () => Promise.reject(new RangeError("no way")) });
  await assertRejects(() => connect("failing:"), RangeError, "no way");
  registerTransport("throwing", {
    Popen: () => {
      throw new RangeError("at once");
    },
  });
  await assertRejects(() => connect("throwing:"), RangeError, "at once");
});

Deno.test("files go over a transport that has no file copy of its own", async () => {
  await using guard = leakGuard();
  registerTransport("bare", {
    Popen: async (command, options) => {
      const transport = await Popen(command, { ...options, address: "" });
      transport.getfile = transport.putfile = undefined;
      return transport;
    },
  });
  await using con = await connect("bare:", { env: guard.env });
  const data = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7);
  const [a, b, c] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`);
  await Deno.writeFile(a!, data);
  const seen: { bytes: number; total?: number }[] = [];
  await con.putfile(a!, b!, { onProgress: (p) => seen.push(p) });
  assertEquals(seen.at(-1)?.bytes, data.length);
  assertEquals(seen.at(-1)?.total, data.length);
  await con.getfile(b!, c!);
  assertEquals(await Deno.readFile(c!), data);
  await Deno.writeTextFile(c!, "before");
  await assertRejects(() => con.getfile(`${guard.folder}/none`, c!), Error);
  await assertRejects(() => con.putfile(`${guard.folder}/none`, c!), Error);
  await assertRejects(() => con.putfile(a!, `${guard.folder}/no/folder`), Error);
  await assertRejects(
    () => con.putfile(a!, c!, { signal: AbortSignal.abort(new Error("x")) }),
    Error,
    "x",
  );
  assertEquals(await Deno.readTextFile(c!), "before");
  assertEquals([...Deno.readDirSync(guard.folder)].length, 3);
});

Deno.test("a registration that means nothing is refused", () => {
  const module = { Popen: () => Promise.reject(new Error()) };
  assertThrows(() => registerTransport("local", module), TypeError, "it is taken");
  assertThrows(() => registerTransport("a b", module), TypeError, "not a name");
  assertThrows(() => registerTransport("x:", module), TypeError, "not a name");
  // deno-lint-ignore no-explicit-any
  assertThrows(() => registerTransport("empty", {} as any), TypeError, "no Popen");
});
