import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { BootstrapError, connect } from "../../mod.ts";
import { Popen } from "../../transport/ssh.ts";
import { chooseClient } from "../../transport/ssh/choice.ts";
import { lacking, reach, run, startSshd, textOf, WAYS, which } from "./servers.ts";

const NEEDS = ["sshd", "ssh", "ssh-keygen"];
const PLATFORM_PYTHON = "/usr/libexec/platform-python";

/** A folder that is all of a host's PATH. */
async function pathOf(folder: string, programs: string[]): Promise<string> {
  const path = `${folder}/bin`;
  await Deno.mkdir(path);
  for (const name of programs) await Deno.symlink(await fileOf(name), `${path}/${name}`);
  await Deno.chmod(path, 0o755);
  return path;
}

// The interpreter itself: what the PATH has may be a script that finds it.
async function fileOf(name: string): Promise<string> {
  const file = which(name)!;
  if (name !== "python3") return file;
  return (await run(file, "-c", "import sys; print(sys.executable)")).trim();
}

async function refusal(target: string, options: Record<string, unknown>): Promise<BootstrapError> {
  try {
    await using _ = await connect(target, options);
  } catch (error) {
    assertInstanceOf(error, BootstrapError);
    return error;
  }
  throw new Error("It connected.");
}

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: a host with only Python is said to have it, and that advice works`,
    ignore: lacking("python3", "base64", ...NEEDS),
    fn: async () => {
      const folder = await Deno.makeTempDir();
      const path = await pathOf(folder, ["sh", "base64", "python3"]);
      await using server = await startSshd([`SetEnv PATH=${path} SHLVL=1`]);
      const { address, ...rest } = reach(server);
      const options = { ...rest, useNative };
      const error = await refusal(`ssh:${address}`, options);
      assertStringIncludes(error.message, "deno was not found there");
      const advice = /the host has python3: connect with \{ runtime: "(\w+)" \}/.exec(error.hint!);
      await using con = await connect(`ssh:${address}`, {
        ...options,
        runtime: advice![1] as "python",
      });
      assertEquals(await con.eval("1 + 2"), 3);

      await Deno.remove(`${path}/python3`);
      const none = await refusal(`ssh:${address}`, options);
      // One that is on no PATH, a host may still have.
      assert(/install one of deno, node, bun or python3|the host has python3/.test(none.hint!));
      await Deno.remove(folder, { recursive: true });
    },
  });

  Deno.test({
    name: `${way}: an IPv6 address in brackets`,
    ignore: lacking(...NEEDS) || !loopback6(),
    fn: async () => {
      await using server = await startSshd(["ListenAddress ::1"]);
      const blob = (await Deno.readTextFile(`${server.hostKey}.pub`)).split(" ")[1];
      await Deno.writeTextFile(server.knownHosts, `[::1]:${server.port} ssh-ed25519 ${blob}\n`);
      await using transport = await Popen(["echo", "six"], {
        ...reach(server),
        address: `[::1]:${server.port}`,
        useNative,
      });
      assertEquals(await textOf(transport.stdout), "six\n");
      assertEquals((await transport.status).code, 0);
    },
  });
}

function loopback6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    console.log("ssh tests over IPv6 are skipped: this machine has no ::1");
    return false;
  }
}

Deno.test({
  name: "native: Red Hat's own Python, which is on no PATH, is found",
  ignore: lacking("root", "python3", "base64", ...NEEDS),
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const path = await pathOf(folder, ["sh", "base64"]);
    const there = await Deno.lstat(PLATFORM_PYTHON).then(() => true, () => false);
    if (!there) {
      await Deno.mkdir("/usr/libexec", { recursive: true });
      await Deno.symlink(await fileOf("python3"), PLATFORM_PYTHON);
    }
    try {
      await using server = await startSshd([`SetEnv PATH=${path} SHLVL=1`]);
      const { address, ...rest } = reach(server);
      const options = { ...rest, useNative: true };
      await using con = await connect(`ssh:${address}`, { ...options, runtime: "python" });
      assertEquals(await con.eval("1 + 2"), 3);
      const error = await refusal(`ssh:${address}`, options);
      assertStringIncludes(error.hint!, `the host has python3: connect with { runtime: "python" }`);
    } finally {
      if (!there) await Deno.remove(PLATFORM_PYTHON);
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "native: certificates, the host's and the user's, by the user's own configuration",
  ignore: lacking(...NEEDS),
  fn: async () => {
    await using server = await startSshd();
    const { folder } = server;
    const ca = `${folder}/ca`, user = `${folder}/user`, name = (await run("id", "-un")).trim();
    for (const key of [ca, user]) {
      await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key);
    }
    await run("ssh-keygen", "-q", "-s", ca, "-I", "test", "-n", name, `${user}.pub`);
    await run("ssh-keygen", "-q", "-s", ca, "-I", "host", "-h", "-n", "127.0.0.1", server.hostKey);
    await using certified = await startSshd([
      `HostKey ${server.hostKey}`,
      `HostCertificate ${server.hostKey}-cert.pub`,
      `TrustedUserCAKeys ${ca}.pub`,
    ]);
    const authority = (await Deno.readTextFile(`${ca}.pub`)).trim();
    await Deno.writeTextFile(`${folder}/authority`, `@cert-authority * ${authority}\n`);
    const config = `${folder}/config`;
    await Deno.writeTextFile(
      config,
      `Host certified
  HostName 127.0.0.1
  Port ${certified.port}
  IdentityFile ${user}
  CertificateFile ${user}-cert.pub
  IdentitiesOnly yes
  HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com
  UserKnownHostsFile ${folder}/authority
`,
    );
    await using transport = await Popen(["echo", "certified"], {
      address: "certified",
      configFile: config,
      agent: false,
      useNative: true,
    });
    assertEquals(await textOf(transport.stdout), "certified\n");
    assert(/Accepted publickey .* CA ED25519/.test(certified.log()), certified.log());
  },
});

Deno.test("the client is the system's, unless something only this process can do is asked for", async () => {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.toObject();
  const address = "web1";
  const suffix = Deno.build.os === "windows" ? ".exe" : "";
  try {
    Deno.env.delete("PUSHY_NATIVE_SSH");
    Deno.env.set("PATH", folder);
    assertEquals(await chooseClient({ address }), undefined);
    await chooseClient({ address, useNative: true }).then(
      () => assert(false, "there is no client"),
      (error) => assertStringIncludes(error.message, "PUSHY_NATIVE_SSH"),
    );
    const putty = { program: `${folder}/plink${suffix}`, kind: "putty" } as const;
    await Deno.writeTextFile(putty.program, "");
    // PuTTY's was found to be slower, and so is not taken on Windows.
    assertEquals(
      await chooseClient({ address }),
      Deno.build.os === "windows" ? undefined : putty,
    );
    assertEquals(await chooseClient({ address, useNative: true }), putty);
    const openssh = { program: `${folder}/ssh${suffix}`, kind: "openssh" } as const;
    await Deno.writeTextFile(openssh.program, "");
    assertEquals(await chooseClient({ address }), openssh);
    for (const own of [{ password: "x" }, { privateKey: "x" }]) {
      assertEquals(await chooseClient({ address, ...own }), undefined);
    }
    assertEquals(await chooseClient({ address, password: "x", useNative: true }), openssh);
    assertEquals(await chooseClient({ address, useNative: false }), undefined);
    Deno.env.set("PUSHY_NATIVE_SSH", "/opt/putty/plink");
    assertEquals(await chooseClient({ address }), { program: "/opt/putty/plink", kind: "putty" });
  } finally {
    Deno.env.set("PATH", before.PATH!);
    if (before.PUSHY_NATIVE_SSH === undefined) Deno.env.delete("PUSHY_NATIVE_SSH");
    else Deno.env.set("PUSHY_NATIVE_SSH", before.PUSHY_NATIVE_SSH);
    await Deno.remove(folder, { recursive: true });
  }
});
