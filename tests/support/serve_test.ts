import { assertEquals } from "@std/assert";
import { leakGuard } from "./leaks.ts";
import { serveFolder } from "./serve.ts";

Deno.test("a program served over HTTP runs with an empty cache and no configuration", async () => {
  await using guard = leakGuard();
  const site = `${guard.folder}/site`;
  await Deno.mkdir(`${site}/lib`, { recursive: true });
  await Deno.writeTextFile(`${site}/main.ts`, `import { a } from "./lib/a.ts";\nconsole.log(a);`);
  await Deno.writeTextFile(`${site}/lib/a.ts`, `export const a: string = "served";`);
  await Deno.writeTextFile(`${site}/unused.ts`, "");
  await using served = serveFolder(site);
  const { stdout, success } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-config", "-A", `${served.url}main.ts`],
    cwd: guard.folder,
    env: { ...guard.env, DENO_DIR: `${guard.folder}/cache` },
  }).output();
  assertEquals(new TextDecoder().decode(stdout), "served\n");
  assertEquals(success, true);
  assertEquals(Object.fromEntries(served.requests), { "/main.ts": 1, "/lib/a.ts": 1 });
});

Deno.test("files have their types, and only files of the folder are served", async () => {
  await using guard = leakGuard();
  const site = `${guard.folder}/site`;
  await Deno.mkdir(site);
  await Deno.writeTextFile(`${site}/a.ts`, "1");
  await Deno.writeTextFile(`${site}/a.json`, "{}");
  await Deno.writeTextFile(`${guard.folder}/secret`, "");
  await Deno.symlink("../secret", `${site}/link`);
  await using served = serveFolder(site);
  const get = async (path: string) => {
    const response = await fetch(served.url + path);
    await response.body?.cancel();
    return `${response.status} ${response.headers.get("content-type")?.split(";")[0]}`;
  };
  assertEquals(await get("a.ts"), "200 application/typescript");
  assertEquals(await get("a.json"), "200 application/json");
  for (const path of ["b.ts", "", "link", "..%2fsecret"]) {
    assertEquals(await get(path), "404 text/plain", path);
  }
  assertEquals(served.requests.get("/b.ts"), 1);
});
