import { assertEquals, assertRejects } from "@std/assert";
import { HostKeyError } from "../../transport/errors.ts";
import { checkHostKey, lookUp, namesMatch } from "../../transport/ssh/known_hosts.ts";
import { fingerprintOf } from "../../transport/ssh/fingerprint.ts";
import { lacking, run } from "./servers.ts";

const decode = (blob: string) => Uint8Array.from(atob(blob), (c) => c.charCodeAt(0));

async function makeKeys(
  folder: string,
  count: number,
): Promise<{ blob: string; key: Uint8Array }[]> {
  const keys = [];
  for (let i = 0; i < count; i++) {
    await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${folder}/${i}`);
    const blob = (await Deno.readTextFile(`${folder}/${i}.pub`)).split(" ")[1]!;
    keys.push({ blob, key: decode(blob) });
  }
  return keys;
}

Deno.test("known_hosts: names, wildcards, negation", () => {
  const rows: [string, string, boolean][] = [
    ["web1", "web1", true],
    ["web1,web2", "web2", true],
    ["WEB1", "web1", true],
    ["web?", "web1", true],
    ["web?", "web", false],
    ["*.example.org", "a.example.org", true],
    ["*.example.org", "example.org", false],
    ["*,!web1", "web1", false],
    ["*,!web1", "web2", true],
    ["[web1]:2222", "[web1]:2222", true],
    ["[web1]:2222", "web1", false],
    ["web.1", "webx1", false],
    ["::1", "::1", true],
  ];
  for (const [field, name, expected] of rows) {
    assertEquals(namesMatch(field, name), expected, `${field} ${name}`);
  }
});

Deno.test({
  name: "known_hosts: hashed lines and fingerprints agree with ssh-keygen",
  ignore: lacking("ssh-keygen"),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const [one] = await makeKeys(folder, 1);
      const file = `${folder}/known`;
      await Deno.writeTextFile(file, `[web1]:2222 ssh-ed25519 ${one!.blob}\n`);
      await run("ssh-keygen", "-q", "-H", "-f", file);
      assertEquals((await lookUp([file], "web1", 2222)).keys.length, 1);
      assertEquals((await lookUp([file], "web1", 22)).keys.length, 0);
      const listed = await run("ssh-keygen", "-lf", `${folder}/0.pub`);
      assertEquals(listed.includes(await fingerprintOf(one!.key)), true);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "known_hosts: known, changed, revoked, unknown, several keys, authority, other port",
  ignore: lacking("ssh-keygen"),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const [one, two, three] = (await makeKeys(folder, 3)) as [
        { blob: string; key: Uint8Array },
        { blob: string; key: Uint8Array },
        { blob: string; key: Uint8Array },
      ];
      const file = `${folder}/known`;
      const check = async (text: string, key: Uint8Array, port = 22): Promise<string> => {
        await Deno.writeTextFile(file, text);
        const known = await lookUp([`${folder}/none`, file], "web1", port);
        try {
          await checkHostKey(known, key, { policy: "reject", files: [file], hash: false });
          return "ok";
        } catch (error) {
          return (error as HostKeyError).code!;
        }
      };
      const line = (key: { blob: string }, names = "web1") => `${names} ssh-ed25519 ${key.blob}\n`;
      assertEquals(await check(line(one), one.key), "ok");
      assertEquals(await check(line(one) + line(two), two.key), "ok");
      assertEquals(await check(line(one), two.key), "EHOSTKEYCHANGED");
      assertEquals(await check("# web1\n\n" + line(one, "web2"), one.key), "EHOSTKEYUNKNOWN");
      assertEquals(
        await check("@revoked " + line(one, "*") + line(one), one.key),
        "EHOSTKEYREVOKED",
      );
      assertEquals(await check("@revoked " + line(one, "*") + line(two), two.key), "ok");
      assertEquals(await check("@cert-authority " + line(one, "*"), three.key), "EHOSTKEYUNKNOWN");
      assertEquals(await check(line(one), one.key, 2222), "ok");
      assertEquals(await check(line(one), two.key, 2222), "EHOSTKEYUNKNOWN");
      assertEquals(await check(line(one, "[web1]:2222"), two.key, 2222), "EHOSTKEYCHANGED");
      assertEquals(await check("web1 ssh-ed25519 !!!\nweb1\n" + line(one), one.key), "ok");

      await Deno.writeTextFile(file, "@cert-authority " + line(one, "*"));
      const known = await lookUp([file], "web1", 22);
      await assertRejects(
        () => checkHostKey(known, two.key, { policy: "reject", files: [file], hash: false }),
        HostKeyError,
        "@cert-authority",
      );

      const fresh = `${folder}/sub/known_hosts`;
      for (const [hash, key] of [[false, one], [true, two]] as const) {
        const name = hash ? "hashed" : "plain";
        await checkHostKey(await lookUp([fresh], name, 2222), key.key, {
          policy: "autoadd",
          files: [fresh],
          hash,
        });
        assertEquals((await lookUp([fresh], name, 2222)).keys.length, 1);
      }
      assertEquals((await Deno.readTextFile(fresh)).includes("hashed"), false);
      assertEquals((await Deno.stat(fresh)).mode! & 0o777, 0o600);
      const hosts = Array.from({ length: 20 }, (_, i) => `many${i}`);
      await Promise.all(
        hosts.map(async (host) =>
          await checkHostKey(await lookUp([fresh], host, 22), one.key, {
            policy: "autoadd",
            files: [fresh],
            hash: false,
          })
        ),
      );
      for (const host of hosts) assertEquals((await lookUp([fresh], host, 22)).keys.length, 1);
      await Deno.writeTextFile(file, "no line break at the end");
      await checkHostKey(await lookUp([file], "web9", 22), one.key, {
        policy: "autoadd",
        files: [file],
        hash: false,
      });
      assertEquals((await Deno.readTextFile(file)).split("\n").length, 3);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
