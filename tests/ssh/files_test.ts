import { assert, assertEquals, assertRejects } from "@std/assert";
import type { CopyProgress } from "../../transport/popen.ts";
import { Popen } from "../../transport/ssh.ts";
import { lacking, makeAccount, reach, startDropbear, startSshd, WAYS } from "./servers.ts";

async function names(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(folder)) found.push(name);
  return found.sort();
}

function noise(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i += 65536) {
    crypto.getRandomValues(bytes.subarray(i, Math.min(i + 65536, size)));
  }
  return bytes;
}

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: files of every size go both ways whole`,
    ignore: lacking("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using server = await startSshd();
      await using transport = await Popen(["cat"], { ...reach(server), useNative });
      const here = `${server.folder}/here`, there = `${server.folder}/there`;
      await Deno.mkdir(here);
      await Deno.mkdir(there);
      for (const size of [0, 1, 32768, 261120, 261121, 5_000_000]) {
        const bytes = noise(size);
        await Deno.writeFile(`${here}/a b'"`, bytes, { mode: 0o640 });
        const steps: CopyProgress[] = [];
        await transport.putfile!(`${here}/a b'"`, `${there}/ü *?[x]`, {
          onProgress: (step) => steps.push(step),
        });
        assertEquals(steps.at(-1), { bytes: size, total: size });
        assertEquals(await Deno.readFile(`${there}/ü *?[x]`), bytes);
        steps.length = 0;
        await transport.getfile!(`${there}/ü *?[x]`, `${here}/back`, {
          onProgress: (step) => steps.push(step),
        });
        assertEquals(steps.at(-1)!.bytes, size);
        assertEquals(await Deno.readFile(`${here}/back`), bytes);
      }
      assertEquals(await names(there), ["ü *?[x]"]);
      assertEquals(await names(here), ["a b'\"", "back"]);
      await transport.getfile!("/proc/self/status", `${here}/status`);
      assert((await Deno.stat(`${here}/status`)).size > 0);
      await Promise.all(
        [1, 2, 3].map((i) => transport.putfile!(`${here}/back`, `${there}/many${i}`)),
      );
      assertEquals((await names(there)).length, 4);
    },
  });

  Deno.test({
    name: `${way}: a copy replaces its destination at the end, or leaves it`,
    ignore: Deno.build.os === "windows" || lacking("sshd", "ssh", "ssh-keygen"),
    fn: async (t) => {
      await using server = await startSshd();
      await using transport = await Popen(["cat"], { ...reach(server), useNative });
      const folder = `${server.folder}/d`;
      await Deno.mkdir(folder);
      const [source, target, link] = [`${folder}/source`, `${folder}/target`, `${folder}/link`];
      await Deno.writeFile(source, noise(3_000_000), { mode: 0o600 });
      const reset = async () => {
        await Deno.writeTextFile(target, "old");
        await Deno.chmod(target, 0o754);
      };
      await reset();
      await Deno.symlink("target", link);
      for (const copy of ["getfile", "putfile"] as const) {
        await t.step(`${copy}: mode and link stay`, async () => {
          await reset();
          await transport[copy]!(source, link);
          assertEquals((await Deno.lstat(link)).isSymlink, true);
          assertEquals((await Deno.stat(target)).mode! & 0o777, 0o754);
          assertEquals((await Deno.stat(target)).size, 3_000_000);
        });
        await t.step(`${copy}: aborted in the middle`, async () => {
          await reset();
          const controller = new AbortController();
          const reason = new Error("enough");
          const failed = await assertRejects(() =>
            transport[copy]!(source, target, {
              signal: controller.signal,
              onProgress: () => controller.abort(reason),
            })
          );
          assertEquals(failed, reason);
          assertEquals(await Deno.readTextFile(target), "old");
          assertEquals(await names(folder), ["link", "source", "target"]);
        });
        await t.step(`${copy}: what cannot be copied`, async () => {
          await assertRejects(
            () => transport[copy]!(`${folder}/none`, target),
            Deno.errors.NotFound,
          );
          await assertRejects(
            () => transport[copy]!(source, `${folder}/no/folder/x`),
            Deno.errors.NotFound,
          );
          await assertRejects(
            () => transport[copy]!(folder, target),
            Deno.errors.IsADirectory,
          );
          await assertRejects(
            () => transport[copy]!(source, folder),
            Deno.errors.IsADirectory,
          );
          assertEquals(await Deno.readTextFile(target), "old");
          assertEquals(await names(folder), ["link", "source", "target"]);
        });
        await t.step(`${copy}: a device is written as it is`, async () => {
          await transport[copy]!(source, "/dev/null");
          assertEquals((await Deno.stat("/dev/null")).isCharDevice, true);
        });
      }
      await t.step("after close there is no copying", async () => {
        await transport.close();
        await assertRejects(() => transport.getfile!(source, target), Error, "closed");
      });
    },
  });

  Deno.test({
    name: `${way}: a copy that fails says on which side`,
    ignore: lacking("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using server = await startSshd();
      await using transport = await Popen(["cat"], { ...reach(server), useNative });
      const { folder } = server;
      await Deno.writeTextFile(`${folder}/a`, "a");
      const blamed = async (copy: Promise<void>) =>
        (await assertRejects(() => copy, Error) as { side?: string }).side;
      assertEquals(await blamed(transport.putfile!(`${folder}/a`, `${folder}/none/x`)), "remote");
      assertEquals(await blamed(transport.putfile!(`${folder}/b`, `${folder}/x`)), "local");
      assertEquals(await blamed(transport.getfile!(`${folder}/b`, `${folder}/x`)), "remote");
      assertEquals(await blamed(transport.getfile!(`${folder}/a`, `${folder}/none/x`)), "local");
      assertEquals(await blamed(transport.getfile!(folder, `${folder}/x`)), "remote");
      assertEquals(await blamed(transport.getfile!(`${folder}/a`, folder)), "local");
      assert(!(await names(folder)).some((name) => name.startsWith(".pushy-")));
    },
  });

  Deno.test({
    name: `${way}: a host without an SFTP server says so`,
    ignore: lacking("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using server = await startSshd(["Subsystem sftp /no/such/server"]);
      await using transport = await Popen(["cat"], { ...reach(server), useNative });
      await assertRejects(
        () => transport.getfile!("/etc/hosts", `${server.folder}/x`),
        Error,
        "SFTP",
      );
    },
  });

  Deno.test({
    name: `${way}: files through dropbear, relative to the home folder`,
    ignore: lacking("root", "useradd", "openssl", "dropbear", "dropbearkey", "ssh", "ssh-keygen"),
    fn: async () => {
      await using server = await startDropbear();
      await using account = await makeAccount("/bin/bash", { authorized: server.authorizedKeys });
      // A shell that prints would break the protocol, were it not a subsystem of its own.
      await using transport = await Popen(["cat"], { ...reach(server, account.name), useNative });
      const bytes = noise(1_000_000);
      await Deno.writeFile(`${server.folder}/a`, bytes);
      await transport.putfile!(`${server.folder}/a`, "~/b");
      await transport.getfile!("b", `${server.folder}/c`);
      assertEquals(await Deno.readFile(`${server.folder}/c`), bytes);
      assertEquals(await Deno.readFile(`${account.home}/b`), bytes);
    },
  });
}
