import { assertEquals, assertRejects } from "@std/assert";
import type { CopyProgress, FileOptions } from "../../mod.ts";
import { capability } from "../matrix.ts";

const options = { needs: ["same files"] } as const;

capability("putfile and getfile copy bytes as they are", async ({ con, guard, make }) => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const [local, remote, back] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`);
  await Deno.writeFile(local!, bytes);
  const progress: CopyProgress[] = [];
  await con.putfile(local!, remote!, { onProgress: (p) => progress.push(p) });
  const size = make({
    js: "(path) => import('node:fs').then((fs) => fs.statSync(path).size)",
    py: "lambda path: __import__('os').stat(path).st_size",
  });
  assertEquals(await size(remote!), bytes.length);
  await con.getfile(remote!, back!);
  assertEquals(await Deno.readFile(back!), bytes);
  assertEquals([progress.at(-1)!.bytes, progress.at(-1)!.total], [60_000, 60_000]);
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

capability("files go over the connection's streams", async ({ con, guard, make }) => {
  // What the transports' own ways do not do.
  const streamed = { preserve: true };
  const put = (from: string, to: string, options?: FileOptions) =>
    con.putfile(from, to, { ...streamed, ...options });
  const get = (from: string, to: string, options?: FileOptions) =>
    con.getfile(from, to, { ...streamed, ...options });
  const data = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7);
  const [a, b, c] = ["a", "b", "c"].map((name) => `${guard.folder}/${name}`);
  await Deno.writeFile(a!, data);
  const seen: CopyProgress[] = [];
  await put(a!, b!, { onProgress: (p) => seen.push(p) });
  assertEquals([seen.at(-1)!.bytes, seen.at(-1)!.total], [data.length, data.length]);
  await get(b!, c!);
  assertEquals(await Deno.readFile(c!), data);
  await Deno.writeTextFile(c!, "before");
  const folder = `${guard.folder}/no/folder`;
  await assertRejects(
    () => get(`${guard.folder}/none`, c!),
    Error,
  );
  await assertRejects(
    () => get(guard.folder, c!),
    Error,
    "it is a folder",
  );
  await assertRejects(() => get(b!, folder), Error);
  await assertRejects(
    () => put(`${guard.folder}/none`, c!),
    Error,
  );
  await assertRejects(() => put(a!, folder), Error);
  const controller = new AbortController();
  await assertRejects(
    () =>
      put(a!, c!, {
        signal: controller.signal,
        onProgress: () => controller.abort(new Error("half-way")),
      }),
    Error,
    "half-way",
  );
  const second = new AbortController();
  await assertRejects(
    () =>
      get(b!, c!, {
        signal: second.signal,
        onProgress: () => second.abort(new Error("half-way")),
      }),
    Error,
    "half-way",
  );
  assertEquals(await Deno.readTextFile(c!), "before");
  const left = await make({
    js: "(f) => import('node:fs').then((fs) => fs.readdirSync(f))",
    py: "lambda f: __import__('os').listdir(f)",
  })(
    guard.folder,
  );
  assertEquals(left.sort(), ["a", "b", "c"]);
}, { needs: [] });
