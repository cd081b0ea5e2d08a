import { assertEquals, assertRejects } from "@std/assert";
import { homedir } from "node:os";
import { Popen } from "../../transport/ssh.ts";
import { hostConfig, localUser } from "../../transport/ssh/ssh_config.ts";
import { loadLibraries } from "../../transport/ssh/ssh2_library.ts";
import { fileCipherArgs } from "../../transport/ssh/file_cipher.ts";
import { lacking, reach, run, startSshd, textOf, WAYS, which } from "./servers.ts";

Deno.test("ssh_config: what is honoured, with Include, tokens and the first value", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { sshConfig } = await loadLibraries();
    await Deno.mkdir(`${folder}/more.d`);
    await Deno.writeTextFile(`${folder}/more.d/10.conf`, "Host inner\n  HostName 10.0.0.1\n");
    await Deno.writeTextFile(`${folder}/more.d/20.conf`, "Host inner\n  HostName 10.0.0.2\n");
    const file = `${folder}/config`;
    await Deno.writeTextFile(
      file,
      `Include more.d/*.conf
host web
  hostname %h.example.org
  User=deploy
  Port 2200
  IdentityFile ~/keys/%r@%h
  IdentityFile "/with blank/key"
  IdentitiesOnly yes
  ProxyJump a@jump:2222,last
  HostKeyAlias alias
  UserKnownHostsFile /a /b
  HashKnownHosts yes
  ServerAliveInterval 15
Host *
  User other
  IdentityAgent none
Host cmd
  ProxyCommand nc %h %p
`,
    );
    const web = await hostConfig(sshConfig, "web", { configFile: file });
    assertEquals(web.hostName, "web.example.org");
    assertEquals([web.user, web.port], ["deploy", 2200]);
    assertEquals(web.identityFiles, [
      `${homedir()}/keys/deploy@web.example.org`,
      "/with blank/key",
    ]);
    assertEquals(web.identitiesOnly, true);
    assertEquals(web.jumps, ["a@jump:2222", "last"]);
    assertEquals(web.hostKeyAlias, "alias");
    assertEquals(web.userKnownHosts, ["/a", "/b"]);
    assertEquals(web.hashKnownHosts, true);
    assertEquals(web.keepAlive, { interval: 15000, count: 3 });
    assertEquals(web.agent, false);
    assertEquals((await hostConfig(sshConfig, "inner", { configFile: file })).hostName, "10.0.0.1");
    const given = await hostConfig(sshConfig, "web", {
      configFile: file,
      username: "me",
      port: 1,
    });
    assertEquals([given.user, given.port], ["me", 1]);
    await assertRejects(
      () => hostConfig(sshConfig, "cmd", { configFile: file }),
      TypeError,
      "ProxyCommand",
    );
    const none = await hostConfig(sshConfig, "web", { configFile: "none" });
    assertEquals([none.hostName, none.user, none.port], ["web", localUser(), 22]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: an alias and a jump host of the ssh configuration`,
    ignore: lacking("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using jump = await startSshd();
      await using server = await startSshd();
      const config = `${server.folder}/config`;
      await Deno.writeTextFile(
        config,
        `Host hop
  HostName 127.0.0.1
  Port ${jump.port}
  IdentityFile ${jump.key}
  IdentitiesOnly yes
  UserKnownHostsFile ${jump.knownHosts}
Host far
  HostName 127.0.0.1
  Port ${server.port}
  IdentityFile ${server.key}
  IdentitiesOnly yes
  UserKnownHostsFile ${server.knownHosts}
  ProxyJump hop
  RemoteCommand echo no
  RequestTTY yes
`,
      );
      const options = { address: "far", configFile: config, agent: false as const, useNative };
      {
        await using transport = await Popen(["sh", "-c", "cat; echo end"], options);
        const writer = transport.stdin.getWriter();
        await writer.write(new TextEncoder().encode("through "));
        await writer.close();
        assertEquals(await textOf(transport.stdout), "through end\n");
        assertEquals(await transport.status, { code: 0, signal: null });
        await transport.putfile!(config, `${server.folder}/copy`);
        assertEquals(
          await Deno.readTextFile(`${server.folder}/copy`),
          await Deno.readTextFile(config),
        );
      }
      assertEquals(jump.log().includes("Accepted publickey"), true);
      await using direct = await Popen(["echo", "x"], { ...reach(server), useNative });
      assertEquals(await textOf(direct.stdout), "x\n");
    },
  });
}

Deno.test({
  name:
    "native: copies have a cipher that the processor has instructions for, unless one is configured",
  ignore: Deno.build.os !== "linux" || lacking("ssh"),
  fn: async () => {
    const program = which("ssh")!;
    const file = await Deno.makeTempFile();
    const accelerated = /^(flags|Features)\s*:.*\baes\b/m.test(
      await Deno.readTextFile("/proc/cpuinfo"),
    );
    const usual = await fileCipherArgs(program, ["-F", "none"], "web1");
    assertEquals(usual.length, accelerated ? 2 : 0);
    if (accelerated) {
      const ciphers = usual[1]!.replace("Ciphers=", "").split(",");
      assertEquals(ciphers[0], "aes128-gcm@openssh.com");
      const all = (await run(program, "-G", "-F", "none", "web1")).match(/^ciphers (.*)$/m)![1]!;
      assertEquals(ciphers.toSorted(), all.split(",").toSorted());
    }
    await Deno.writeTextFile(file, "Ciphers aes256-ctr,aes128-gcm@openssh.com\n");
    assertEquals(await fileCipherArgs(program, ["-F", file], "web1"), []);
    assertEquals(await fileCipherArgs(program, ["-F", "none", "-c", "aes128-ctr"], "web1"), []);
    await Deno.remove(file);
  },
});
