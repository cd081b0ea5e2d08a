import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AuthenticationError, ConnectionError } from "../../transport/errors.ts";
import { Popen, type SshOptions, type SshPrompt } from "../../transport/ssh.ts";
import {
  type Account,
  lacking,
  makeAccount,
  processesWith,
  reach,
  run,
  type Server,
  startDropbear,
  startSshd,
  textOf,
  WAYS,
} from "./servers.ts";

const NEEDS = ["sshd", "ssh", "ssh-keygen"];
const ACCOUNTS = ["root", "useradd", "openssl", ...NEEDS];

async function says(options: SshOptions, text = "in"): Promise<void> {
  await using transport = await Popen(["echo", text], options);
  const output = await textOf(transport.stdout);
  const status = await transport.status;
  assertEquals([status.reason?.message, output], [undefined, `${text}\n`]);
}

async function refused(options: SshOptions): Promise<AuthenticationError> {
  const error = await (async () => {
    await using transport = await Popen(["echo"], options);
    const { reason } = await transport.status;
    throw reason ?? new Error("It was let in.");
  })().catch((error) => error);
  assert(error instanceof AuthenticationError, String(error));
  return error;
}

const TEMPORARY = Deno.env.get("TMPDIR") ?? "/tmp";

function privateFolders(): string[] {
  return [...Deno.readDirSync(TEMPORARY)].map((entry) => entry.name)
    .filter((name) => /^pushy-(askpass|plink|ssh)-/.test(name));
}

const BEFORE = new Set(privateFolders());

function leftOver(): string[] {
  return privateFolders().filter((name) => !BEFORE.has(name));
}

const without = (server: Server, account: Account) => {
  const { identityFile: _file, ...rest } = reach(server, account.name);
  return rest;
};

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: a password, right and wrong`,
    ignore: lacking(...ACCOUNTS),
    fn: async () => {
      await using server = await startSshd(["KbdInteractiveAuthentication no"]);
      // What a shell or a protocol could trip over.
      const password = `p'a"s $HOME \\ %s +é-`;
      await using account = await makeAccount("/bin/sh", { password });
      const options = { ...without(server, account), useNative };
      await says({ ...options, password });
      const error = await refused({ ...options, password: "wrong" });
      assertStringIncludes(error.message, "password");
      assert(!error.message.includes("wrong"), "the secret is in no message");
      assertEquals(leftOver(), []);
    },
  });

  Deno.test({
    name: `${way}: keyboard-interactive, with a password and with a prompt callback`,
    ignore: lacking(...ACCOUNTS),
    fn: async () => {
      await using server = await startSshd([
        "UsePAM yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication yes",
      ]);
      await using account = await makeAccount("/bin/sh");
      const options = { ...without(server, account), useNative };
      await says({ ...options, password: account.password });
      const asked: SshPrompt[] = [];
      await says({
        ...options,
        prompt: (prompt) => {
          asked.push(prompt);
          return account.password;
        },
      });
      assertEquals(asked.map(({ kind, echo }) => ({ kind, echo })), [
        { kind: "password", echo: false },
      ]);
      await refused({ ...options, prompt: () => undefined });
      const thrown = new Error("no terminal");
      const error = await refused({ ...options, prompt: () => Promise.reject(thrown) });
      assertEquals(error.cause, thrown);
      assertEquals(leftOver(), []);
    },
  });

  Deno.test({
    name: `${way}: an encrypted key, by passphrase and by prompt`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      await using server = await startSshd();
      await run("ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", server.key);
      const options = { ...reach(server), useNative };
      await says({ ...options, passphrase: "open sesame" });
      await says({
        ...options,
        prompt: ({ kind }) => kind === "passphrase" ? "open sesame" : undefined,
      });
      await refused({ ...options, passphrase: "close sesame" });
      await refused(options);
      assertEquals(leftOver(), []);
    },
  });

  Deno.test({
    name: `${way}: an agent's key`,
    ignore: lacking("ssh-agent", "ssh-add", ...NEEDS),
    fn: async () => {
      await using server = await startSshd();
      const socket = `${server.folder}/agent`;
      const agent = new Deno.Command("ssh-agent", {
        args: ["-D", "-a", socket],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      const reader = agent.stdout.getReader();
      // It says where it listens once it does.
      await reader.read();
      try {
        const added = await new Deno.Command("ssh-add", {
          args: ["-q", server.key],
          env: { SSH_AUTH_SOCK: socket },
        }).output();
        assertEquals(added.code, 0);
        const { identityFile: _file, ...options } = { ...reach(server), useNative };
        await says({ ...options, agent: socket });
        const error = await refused({ ...options, agent: `${server.folder}/no-agent` });
        assertStringIncludes(error.message, "publickey");
      } finally {
        await reader.cancel();
        agent.kill();
        await agent.status;
      }
    },
  });

  Deno.test({
    name: `${way}: an unknown host is taken in under autoadd, and then known`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      await using server = await startSshd();
      const knownHosts = `${server.folder}/new_known_hosts`;
      const options = { ...reach(server), useNative, knownHosts };
      const { warn } = console;
      const warnings: unknown[] = [];
      console.warn = (text) => warnings.push(text);
      try {
        await says({ ...options, missingHostKeyPolicy: "warning" });
      } finally {
        console.warn = warn;
      }
      if (!useNative) assertStringIncludes(String(warnings[0]), "SHA256:");
      await assertRejects(() => Deno.stat(knownHosts), Deno.errors.NotFound);
      await says({ ...options, missingHostKeyPolicy: "autoadd" });
      // OpenSSH's client goes by the umask.
      if (!useNative) assertEquals((await Deno.stat(knownHosts)).mode! & 0o777, 0o600);
      await says({ ...options, missingHostKeyPolicy: "reject" });
      assertEquals((await Deno.readTextFile(knownHosts)).trim().split("\n").length, 1);
    },
  });
}

Deno.test({
  name: "native: a password is in no argv, no environment and no file while it is asked for",
  ignore: Deno.build.os !== "linux" || lacking(...ACCOUNTS),
  fn: async () => {
    await using server = await startSshd(["KbdInteractiveAuthentication no"]);
    await using account = await makeAccount("/bin/sh");
    const secret = account.password;
    let looked = 0;
    const look = () => {
      looked++;
      assertEquals(processesWith(secret), []);
      for (const { name } of Deno.readDirSync("/proc")) {
        if (!/^\d+$/.test(name)) continue;
        let environment = "";
        try {
          environment = Deno.readTextFileSync(`/proc/${name}/environ`);
        } catch {
          // It has ended meanwhile.
        }
        assert(!environment.includes(secret), "the secret is in no environment");
      }
      for (const name of leftOver()) {
        const folder = `${TEMPORARY}/${name}`;
        assertEquals(Deno.statSync(folder).mode! & 0o777, 0o700);
        for (const file of Deno.readDirSync(folder)) {
          if (Deno.statSync(`${folder}/${file.name}`).isFile) {
            assert(!Deno.readTextFileSync(`${folder}/${file.name}`).includes(secret));
          }
        }
      }
    };
    await using transport = await Popen(["echo", "in"], {
      ...without(server, account),
      useNative: true,
      prompt: () => {
        look();
        return secret;
      },
    });
    assertEquals(await textOf(transport.stdout), "in\n");
    look();
    assertEquals(looked, 2);
    assertEquals(await transport.status, { code: 0, signal: null });
  },
});

Deno.test({
  name: "native: a password goes to no jump host",
  ignore: lacking(...ACCOUNTS),
  fn: async () => {
    await using jump = await startSshd(["KbdInteractiveAuthentication no"]);
    await using server = await startSshd(["KbdInteractiveAuthentication no"]);
    await using account = await makeAccount("/bin/sh");
    const config = `${server.folder}/config`;
    const lines = (first: string) =>
      `Host jump\n HostName 127.0.0.1\n Port ${jump.port}\n User ${account.name}\n` +
      ` UserKnownHostsFile ${jump.knownHosts}\n IdentityFile ${first}\n IdentitiesOnly yes\n` +
      ` BatchMode no\n` +
      `Host target\n HostName 127.0.0.1\n Port ${server.port}\n User ${account.name}\n` +
      ` UserKnownHostsFile ${server.knownHosts}\n IdentityFile none\n ProxyJump jump\n`;
    const options = {
      address: "target",
      configFile: config,
      agent: false as const,
      password: account.password,
    };
    for (const { useNative } of WAYS) {
      await Deno.writeTextFile(config, lines(jump.key));
      await says({ ...options, useNative });
      await Deno.writeTextFile(config, lines("none"));
      const error = await (async () => {
        await using transport = await Popen(["echo"], { ...options, useNative });
        throw (await transport.status).reason;
      })().catch((error) => error);
      assert(error instanceof ConnectionError);
    }
    assert(!/Accepted password/.test(jump.log()));
  },
});

Deno.test({
  name: "ssh2: a private key given as text, and a policy function",
  ignore: lacking(...NEEDS),
  fn: async () => {
    await using server = await startSshd();
    const { identityFile: _file, ...options } = reach(server);
    const seen: string[] = [];
    const privateKey = await Deno.readTextFile(server.key);
    await says({
      ...options,
      privateKey,
      knownHosts: "/dev/null",
      missingHostKeyPolicy: ({ host, type, fingerprint }) => {
        seen.push(`${host} ${type} ${fingerprint.slice(0, 7)}`);
        return true;
      },
    });
    assertEquals(seen, [`[127.0.0.1]:${server.port} ssh-ed25519 SHA256:`]);
    await assertRejects(
      () =>
        Popen(["x"], {
          ...options,
          privateKey,
          knownHosts: "/dev/null",
          missingHostKeyPolicy: () => Promise.resolve(false),
        }),
      ConnectionError,
      "not known",
    );
  },
});

for (const type of ["rsa", "ecdsa"]) {
  Deno.test({
    name: `ssh2: a server whose host key is ${type}`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      await using server = await startSshd([], { hostKeyType: type });
      await says({ ...reach(server), useNative: false });
    },
  });
}

Deno.test({
  name: "PuTTY's client: key, password, wrong host key, files",
  ignore: lacking("plink", "puttygen", ...ACCOUNTS),
  fn: async (t) => {
    await using server = await startSshd(["KbdInteractiveAuthentication no"]);
    await using account = await makeAccount("/bin/sh");
    const before = Deno.env.get("PUSHY_NATIVE_SSH");
    Deno.env.set("PUSHY_NATIVE_SSH", "plink");
    try {
      const ppk = `${server.folder}/id.ppk`;
      await run("puttygen", server.key, "-O", "private", "-o", ppk);
      const { configFile: _config, ...rest } = reach(server, account.name);
      const options = { ...rest, useNative: true, identityFile: ppk };
      const { identityFile: _file, ...noKey } = options;
      await t.step("key", () => says(options));
      await t.step("password", () => says({ ...noKey, password: account.password }));
      await t.step("wrong password", async () => {
        await refused({ ...noKey, password: "wrong" });
      });
      await t.step("unknown host", async () => {
        await using transport = await Popen(["x"], { ...options, knownHosts: "/dev/null" });
        assertEquals(
          ((await transport.status).reason as ConnectionError).code,
          "EHOSTKEYUNKNOWN",
        );
      });
      await t.step("refused", async () => {
        await using transport = await Popen(["x"], { ...options, port: 1 });
        assertEquals(((await transport.status).reason as ConnectionError).code, "ECONNREFUSED");
      });
      await t.step("files", async () => {
        await using transport = await Popen(["cat"], options);
        const text = `${server.folder}/text`;
        await Deno.writeTextFile(text, "over plink");
        await transport.putfile!(text, "copied");
        await transport.getfile!("copied", `${text}2`);
        assertEquals(await Deno.readTextFile(`${text}2`), "over plink");
      });
      assertEquals(leftOver(), []);
    } finally {
      if (before === undefined) Deno.env.delete("PUSHY_NATIVE_SSH");
      else Deno.env.set("PUSHY_NATIVE_SSH", before);
    }
  },
});

Deno.test({
  name: "dropbear: a password, both ways",
  ignore: lacking("dropbear", "dropbearkey", ...ACCOUNTS),
  fn: async () => {
    await using server = await startDropbear();
    await using account = await makeAccount("/bin/sh");
    for (const { useNative } of WAYS) {
      await says({ ...without(server, account), useNative, password: account.password });
    }
  },
});

Deno.test({
  name: "native: a shared connection is made once, and ends with its last user",
  ignore: Deno.build.os !== "linux" || lacking(...NEEDS),
  fn: async () => {
    await using server = await startSshd();
    const options = { ...reach(server), useNative: true, controlMaster: true };
    const logins = () => server.log().split("Accepted publickey").length - 1;
    const first = await Popen(["cat"], options);
    const second = await Popen(["sh", "-c", "echo two; cat"], options);
    await second.stdout.getReader().read();
    assertEquals(logins(), 1);
    assertEquals(await first.close(), { code: 0, signal: null });
    const third = await Popen(["echo", "three"], options);
    assertEquals(await textOf(third.stdout), "three\n");
    assertEquals(logins(), 1);
    await third.close();
    await second.close();
    assertEquals(processesWith(`-p ${server.port}`), []);
    assertEquals(leftOver(), []);
    await says(options);
    assertEquals(logins(), 2);
    const error = await assertRejects(() => Popen(["x"], { ...options, knownHosts: "/dev/null" }));
    assertEquals((error as ConnectionError).code, "EHOSTKEYUNKNOWN");
    assertEquals(leftOver(), []);
  },
});
