import { assertEquals, assertRejects } from "@std/assert";
import { capability } from "../matrix.ts";

const options = { needs: ["javascript", "same files"] } as const;

capability("putfile and getfile copy bytes as they are", async ({ con, guard }) => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const [local, remote, back] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`);
  await Deno.writeFile(local!, bytes);
  const progress: unknown[] = [];
  await con.putfile(local!, remote!, { onProgress: (p) => progress.push(p) });
  assertEquals(await con.modules.fs.statSync(remote!).size, bytes.length);
  await con.getfile(remote!, back!);
  assertEquals(await Deno.readFile(back!), bytes);
  assertEquals(progress.at(-1), { bytes: 60_000, total: 60_000 });
  await Deno.writeFile(local!, new Uint8Array(0));
  await con.putfile(local!, remote!);
  assertEquals((await Deno.stat(remote!)).size, 0);
}, options);

capability("a copy that fails leaves the destination as it was", async ({ con, guard }) => {
  const target = `${guard.folder}/target`;
  await Deno.writeTextFile(target, "before");
  await assertRejects(() => con.getfile(`${guard.folder}/none`, target), Error);
  await assertRejects(() => con.putfile(guard.folder, target), Error);
  const signal = AbortSignal.abort(new Error("stopped"));
  await assertRejects(() => con.putfile("/etc/passwd", target, { signal }), Error, "stopped");
  await assertRejects(() => con.putfile("/etc/passwd", `${guard.folder}/no/such/folder`), Error);
  assertEquals(await Deno.readTextFile(target), "before");
  assertEquals([...Deno.readDirSync(guard.folder)].map(({ name }) => name), ["target"]);
}, options);
