import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { BaseTransport } from "../../transport/popen.ts";
import { AuthenticationError, ConnectionError, HostKeyError } from "../../transport/errors.ts";
import { Popen, type SshOptions } from "../../transport/ssh.ts";
import {
  freePort,
  lacking,
  makeAccount,
  processesWith,
  reach,
  run,
  startSshd,
  textOf,
  WAYS,
} from "./servers.ts";

const NEEDS = ["sshd", "ssh", "ssh-keygen"];

// The error of a start, wherever it shows: rejected, or as the status's reason.
async function failure(
  options: SshOptions,
  command: string[] = ["cat"],
): Promise<ConnectionError & { message: string }> {
  let transport: BaseTransport;
  try {
    transport = await Popen(command, options);
  } catch (error) {
    return error as ConnectionError;
  }
  await using open = transport;
  const [{ reason }] = await Promise.all([open.status, textOf(open.stdout)]);
  return reason as ConnectionError;
}

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: each failure to connect is its own error, with a hint`,
    ignore: lacking(...NEEDS),
    fn: async (t) => {
      await using server = await startSshd(["PasswordAuthentication no"]);
      const good = { ...reach(server), useNative };
      const check = async (
        name: string,
        options: SshOptions,
        type: typeof ConnectionError,
        code: string,
        stage: string,
      ) => {
        await t.step(name, async () => {
          const error = await failure(options);
          assertEquals([error.constructor, error.code, error.stage], [type, code, stage]);
          assert((error.hint ?? "").length > 20, "there is a hint");
        });
      };
      await check(
        "name not found",
        { ...good, address: "no-such-host.invalid" },
        ConnectionError,
        "ENOTFOUND",
        "resolve",
      );
      await check(
        "refused",
        { ...good, address: `127.0.0.1:${freePort()}` },
        ConnectionError,
        "ECONNREFUSED",
        "connect",
      );
      await check(
        "host key unknown",
        { ...good, knownHosts: "/dev/null" },
        HostKeyError,
        "EHOSTKEYUNKNOWN",
        "hostkey",
      );
      const [, blob] = (await Deno.readTextFile(`${server.key}.pub`)).split(" ");
      const changed = `${server.folder}/changed`;
      await Deno.writeTextFile(changed, `[127.0.0.1]:${server.port} ssh-ed25519 ${blob}\n`);
      for (const missingHostKeyPolicy of ["reject", "autoadd", "warning"] as const) {
        await check(
          `host key changed, ${missingHostKeyPolicy}`,
          { ...good, knownHosts: changed, missingHostKeyPolicy },
          HostKeyError,
          "EHOSTKEYCHANGED",
          "hostkey",
        );
      }
      await t.step("a changed host key is told with both fingerprints", async () => {
        const error = await failure({ ...good, knownHosts: changed });
        const sent = /SHA256:\S+/.exec(await run("ssh-keygen", "-lf", `${server.hostKey}.pub`))![0];
        const known = /SHA256:\S+/.exec(await run("ssh-keygen", "-lf", `${server.key}.pub`))![0];
        assertStringIncludes(error.message, sent);
        assertStringIncludes(error.message, known);
      });
      const revoked = `${server.folder}/revoked`;
      const hostKey = (await Deno.readTextFile(`${server.hostKey}.pub`)).trim();
      await Deno.writeTextFile(revoked, `@revoked * ${hostKey}\n`);
      await check(
        "host key revoked",
        { ...good, knownHosts: revoked, missingHostKeyPolicy: "autoadd" },
        HostKeyError,
        "EHOSTKEYREVOKED",
        "hostkey",
      );
      await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${server.folder}/other`);
      await check(
        "not let in",
        { ...good, identityFile: `${server.folder}/other` },
        AuthenticationError,
        "EAUTH",
        "authenticate",
      );
      await t.step("a refused login says what the server takes", async () => {
        const error = await failure({ ...good, identityFile: `${server.folder}/other` });
        assertStringIncludes(error.message, "publickey");
      });
    },
  });

  Deno.test({
    name: `${way}: a host that accepts and says nothing is a time limit`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const accepted = listener.accept();
      const error = await failure({
        address: `127.0.0.1:${listener.addr.port}`,
        configFile: "none",
        useNative,
        connectTimeout: 1000,
      });
      (await accepted).close();
      assertEquals([error.constructor, error.code], [ConnectionError, "ETIMEDOUT"]);
    },
  });

  Deno.test({
    name: `${way}: what is no SSH daemon is said to be none`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const served = (async () => {
        using connection = await listener.accept();
        await connection.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n"));
      })();
      const error = await failure({
        address: `127.0.0.1:${listener.addr.port}`,
        configFile: "none",
        useNative,
      });
      await served;
      assert(error instanceof ConnectionError);
    },
  });

  Deno.test({
    name: `${way}: a connection that is lost in the middle says by whom`,
    ignore: lacking(...NEEDS),
    fn: async () => {
      await using server = await startSshd();
      // $PPID of the command is the daemon's process for this connection.
      await using transport = await Popen(["sh", "-c", "echo $PPID; exec cat"], {
        ...reach(server),
        useNative,
      });
      const reader = transport.stdout.getReader();
      const { value } = await reader.read();
      Deno.kill(Number(new TextDecoder().decode(value)), "SIGKILL");
      const status = await transport.status;
      assertEquals([status.code, status.signal], [null, null]);
      const reason = status.reason as ConnectionError;
      assertEquals([reason.constructor, reason.code, reason.stage], [
        ConnectionError,
        "ECONNRESET",
        "session",
      ]);
      await reader.read();
      reader.releaseLock();
      const writer = transport.stdin.getWriter();
      await assertRejects(async () => {
        // The pipe to the client may take a little before it breaks.
        for (let i = 0; i < 100; i++) await writer.write(new Uint8Array(65536));
      });
    },
  });

  Deno.test({
    name: `${way}: a command's own end is told as it was, and is no error`,
    ignore: lacking(...NEEDS),
    fn: async (t) => {
      await using server = await startSshd();
      const options = { ...reach(server), useNative };
      await t.step("exit status", async () => {
        await using transport = await Popen(["sh", "-c", "echo oops >&2; exit 3"], options);
        assertEquals(await transport.status, { code: 3, signal: null });
        assertEquals(await textOf(transport.stderr), "oops\n");
      });
      await t.step("a status of 255 of its own", async () => {
        await using transport = await Popen(["sh", "-c", "echo x; exit 255"], options);
        assertEquals((await transport.status).code, 255);
      });
      await t.step("a program that is not there", async () => {
        const error = await failure(options, ["no-such-program-here", "x"]);
        assertEquals([error.constructor, error.code, error.stage], [
          ConnectionError,
          "ENOENT",
          "start",
        ]);
        assertStringIncludes(error.message, "has no no-such-program-here");
      });
      await t.step("one that is not there, within sh -c exec", async () => {
        const error = await failure(options, ["sh", "-c", "exec no-such-program-here 3<&0"]);
        assertStringIncludes(error.message, "has no no-such-program-here");
      });
      await t.step("values of env are in no message", async () => {
        const env = { TOKEN: "s3cret" };
        const error = await failure({ ...options, env }, ["no-such-program-here"]);
        assertStringIncludes(error.command!, "no-such-program-here");
        assert(!Deno.inspect(error, { depth: 9 }).includes("s3cret"));
      });
      await t.step("one that may not be run", async () => {
        const error = await failure(options, ["/etc/passwd"]);
        assertEquals(error.code, "EACCES");
      });
    },
  });

  Deno.test({
    name: `${way}: odd accounts end well, or in an error that says what they are`,
    ignore: lacking("root", "useradd", "openssl", ...NEEDS),
    fn: async (t) => {
      await using server = await startSshd();
      await t.step("nologin", async () => {
        await using account = await makeAccount("/usr/sbin/nologin");
        const error = await failure({ ...reach(server, account.name), useNative });
        assertEquals([error.code, error.stage], ["ENOLOGIN", "start"]);
      });
      for (
        const [shell, file, text] of [
          ["/bin/bash", ".bashrc", "echo noise\n"],
          ["/bin/bash", ".bashrc", "sleep 1; echo noise >&2\n"],
          ["/usr/bin/tcsh", ".cshrc", "echo noise\n"],
        ] as const
      ) {
        if (lacking(shell.split("/").pop()!)) continue;
        await t.step(`${shell} whose ${file} has ${JSON.stringify(text)}`, async () => {
          await using account = await makeAccount(shell);
          await Deno.writeTextFile(`${account.home}/${file}`, text);
          await using transport = await Popen(["cat"], {
            ...reach(server, account.name),
            useNative,
          });
          const writer = transport.stdin.getWriter();
          await writer.write(new TextEncoder().encode("data"));
          await writer.close();
          assertStringIncludes(await textOf(transport.stdout), "data");
          assertEquals((await transport.status).code, 0);
        });
      }
    },
  });

  Deno.test({
    name: `${way}: a forced command and a banner`,
    ignore: lacking(...NEEDS),
    fn: async (t) => {
      const banner = await Deno.makeTempFile();
      await Deno.writeTextFile(banner, "Authorized \x1b[31muse\x1b[0m only\n");
      await using server = await startSshd([`Banner ${banner}`]);
      const options = { ...reach(server), useNative };
      await t.step("banner", async () => {
        await using transport = await Popen(["echo", "x"], options);
        assertEquals(await textOf(transport.stdout), "x\n");
        assertEquals(await transport.status, { code: 0, signal: null });
      });
      await t.step("forced command", async () => {
        const key = await Deno.readTextFile(`${server.key}.pub`);
        await Deno.writeTextFile(server.authorizedKeys, `command="echo forced; exit 4" ${key}`);
        await using transport = await Popen(["cat"], options);
        assertEquals(await textOf(transport.stdout), "forced\n");
        assertEquals((await transport.status).code, 4);
      });
      await Deno.remove(banner);
    },
  });

  Deno.test({
    name: `${way}: close ends what runs there, and leaves no process here or there`,
    ignore: Deno.build.os !== "linux" || lacking(...NEEDS),
    fn: async (t) => {
      await using server = await startSshd();
      const options = { ...reach(server), useNative };
      const mark = `pushy-mark-${crypto.randomUUID()}`;
      await t.step("a command that ends with its input", async () => {
        const transport = await Popen(["sh", "-c", `cat; : ${mark}`], options);
        // Both streams stay locked and unread, as a connection holds them.
        transport.stdin.getWriter();
        transport.stdout.getReader();
        assertEquals(await transport.close(), { code: 0, signal: null });
        assertEquals(await transport.close(), { code: 0, signal: null });
      });
      await t.step("a command that writes without end", async () => {
        const transport = await Popen(["sh", "-c", `cat; yes; : ${mark}`], options);
        await transport.close();
      });
      await t.step("a command that does not listen", async () => {
        const transport = await Popen(
          ["sh", "-c", `trap '' TERM HUP; while echo up; do sleep 1; done; : ${mark}`],
          options,
        );
        const reader = transport.stdout.getReader();
        await reader.read();
        await transport.close();
        reader.releaseLock();
      });
      assertEquals(processesWith(`ssh -T`).filter((line) => line.includes(mark)), []);
    },
  });
}

Deno.test({
  name: "native: a client that is killed is told as such",
  ignore: Deno.build.os !== "linux" || lacking(...NEEDS),
  fn: async () => {
    await using server = await startSshd();
    const transport = await Popen(["cat"], { ...reach(server), useNative: true });
    Deno.kill((transport as unknown as { pid: number }).pid, "SIGKILL");
    const status = await transport.close();
    assertEquals([status.code, status.signal], [null, null]);
    assertEquals((status.reason as ConnectionError).code, "ECLIENT");
  },
});
