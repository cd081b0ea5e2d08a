/**
 * Who comes in, and what those learn who do not.
 */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AuthenticationError, ConnectionError, HostKeyError } from "../../mod.ts";
import { run } from "../../server/run.ts";
import { parseAddress } from "../../transport/daemon/address.ts";
import { Popen } from "../../transport/daemon.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { daemon, Home, listener, makeCertificates, reach, say } from "./servers.ts";

Deno.test("addresses", () => {
  assertEquals(parseAddress("host"), { kind: "tcp", host: "host", port: 10101 });
  assertEquals(parseAddress("host", 7), { kind: "tcp", host: "host", port: 7 });
  assertEquals(parseAddress("host:5", 7), { kind: "tcp", host: "host", port: 5 });
  assertEquals(parseAddress("[::1]:5"), { kind: "tcp", host: "::1", port: 5 });
  assertEquals(parseAddress("[fe80::1%eth0]"), { kind: "tcp", host: "fe80::1%eth0", port: 10101 });
  assertEquals(parseAddress("::1"), { kind: "tcp", host: "::1", port: 10101 });
  assertEquals(parseAddress("/run/pushy.sock"), { kind: "unix", path: "/run/pushy.sock" });
  for (const wrong of ["", ":5", "host:", "host:0", "host:65536", "host:x", "-o", "a b", "[::1"]) {
    try {
      parseAddress(wrong);
    } catch (error) {
      assert(error instanceof TypeError, wrong);
      continue;
    }
    throw new Error(`${wrong} was taken`);
  }
});

Deno.test("the same user on the same machine needs no option", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  await using server = await daemon();
  const file = home.path(`pushy/daemon-${server.port}.token`);
  assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
  assertEquals((await Deno.stat(home.path("pushy"))).mode! & 0o777, 0o700);
  for (const host of ["127.0.0.1", "localhost"]) {
    await using con = await reach(`${host}:${server.port}`);
    assertEquals(await con.eval("6 * 7"), 42);
    assertEquals(con.interpreter.pid, Deno.pid);
  }
  await server.server.shutdown();
  // The port was any: nobody looks for its token again.
  await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
});

Deno.test("a token of a fixed port stays, and is used again", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  let port: number;
  {
    await using server = await daemon();
    port = server.port;
  }
  {
    await using _server = await daemon({ port });
  }
  const token = await Deno.readTextFile(home.path(`pushy/daemon-${port}.token`));
  await using server = await daemon({ port });
  assertEquals(await Deno.readTextFile(home.path(`pushy/daemon-${port}.token`)), token);
  await using con = await reach(port);
  assertEquals(await con.eval("1"), 1);
  await using again = await reach(port, { token: token.trim() });
  assertEquals(await again.eval("1"), 1);
  assert(!JSON.stringify(server.log).includes(token.trim()));
});

Deno.test("a wrong token, and none", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "the right one" });
  const wrong = await assertRejects(
    () => reach(server.port, { token: "the wrong one" }),
    AuthenticationError,
    `Cannot log in to daemon:127.0.0.1:${server.port}: the token is wrong`,
  );
  assertEquals(wrong.code, "EAUTH");
  await assertRejects(
    () => reach(server.port),
    AuthenticationError,
    "the server asks for a token, and there is none here",
  );
  await using con = await reach(server.port, { token: "the right one" });
  assertEquals(await con.eval("1"), 1);
  const text = JSON.stringify(server.log);
  assertStringIncludes(text, "wrong token");
  assert(!text.includes("the right one") && !text.includes("the wrong one"));
});

Deno.test("tokens from files and from the environment", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  const file = home.path("token");
  await Deno.writeTextFile(file, "a token in a file\n", { mode: 0o600 });
  await using server = await daemon({ tokenFile: file });
  await using con = await reach(server.port, { tokenFile: file });
  assertEquals(await con.eval("1"), 1);
  Deno.env.set("PUSHY_TOKEN_FILE", file);
  try {
    await using con = await reach(server.port);
    assertEquals(await con.eval("1"), 1);
  } finally {
    Deno.env.delete("PUSHY_TOKEN_FILE");
  }
  Deno.env.set("PUSHY_TOKEN", "a token in a file");
  try {
    await using con = await reach(server.port);
    assertEquals(await con.eval("1"), 1);
  } finally {
    Deno.env.delete("PUSHY_TOKEN");
  }
  await Deno.chmod(file, 0o644);
  const error = await assertRejects(
    () => reach(server.port, { tokenFile: file }),
    ConnectionError,
    "other users can read or change it (its mode is 0644)",
  );
  assertStringIncludes(error.message, `chmod 600 ${file}`);
  await assertRejects(() => daemon({ tokenFile: file }), ConnectionError, "other users can read");
  await assertRejects(() => daemon({ token: "" }), TypeError, "empty token");
  await assertRejects(
    () => reach(server.port, { token: "a", tokenFile: file }),
    TypeError,
    "name one of them",
  );
});

Deno.test("a server that cannot prove that it knows the token is not trusted", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  const answer = (line: (hello: string) => string) =>
    listener(async (conn) => {
      const buffer = new Uint8Array(512);
      let said = 0;
      for (;;) {
        const length = await conn.read(buffer);
        if (length === null) return;
        const text = said++ === 0
          ? line(new TextDecoder().decode(buffer.subarray(0, length)))
          : `PUSHY-DAEMON/1 welcome ${"0".repeat(64)}\n`;
        await conn.write(new TextEncoder().encode(text));
      }
    });
  await using impostor = answer(() => `PUSHY-DAEMON/1 challenge ${"1".repeat(64)}\n`);
  await assertRejects(
    () => reach(impostor.port, { token: "t" }),
    AuthenticationError,
    "the server does not know the token",
  );
  await using open = answer(() => "PUSHY-DAEMON/1 open\n");
  await assertRejects(
    () => reach(open.port, { token: "t" }),
    AuthenticationError,
    "it asks for no token, and so does not prove that it is the right server",
  );
  await using old = answer(() => "PUSHY-DAEMON/0 hello\n");
  await assertRejects(
    () => reach(old.port, { token: "t" }),
    ConnectionError,
    "the server speaks version 0 of the handshake, not 1",
  );
  await using refusing = answer(() => "PUSHY-DAEMON/1 refused version\n");
  await assertRejects(
    () => reach(refusing.port, { token: "t" }),
    ConnectionError,
    "the server does not speak version 1 of the handshake",
  );
});

Deno.test("a conversation that is passed on from another address is not accepted", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  await using server = await daemon();
  // Somebody who listens on another port, whose token this user happens to know as well.
  await using relay = listener(async (conn) => {
    using onward = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    await Promise.all([
      conn.readable.pipeTo(onward.writable).catch(() => {}),
      onward.readable.pipeTo(conn.writable).catch(() => {}),
    ]);
  });
  await Deno.copyFile(
    home.path(`pushy/daemon-${server.port}.token`),
    home.path(`pushy/daemon-${relay.port}.token`),
  );
  await assertRejects(() => reach(relay.port), AuthenticationError, "the token is wrong");
});

Deno.test("what is there is named exactly: nothing, silence, something else", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  const { port } = listenAndClose();
  const closed = await assertRejects(() => reach(port), ConnectionError, "the port is closed");
  assertEquals(closed.code, "ECONNREFUSED");
  await using ssh = listener(async (conn) => {
    await conn.write(new TextEncoder().encode("SSH-2.0-OpenSSH_9.2p1\r\n"));
    await conn.read(new Uint8Array(100));
  });
  await assertRejects(
    () => reach(ssh.port),
    ConnectionError,
    'what answers there is not a Pushy server (it said "SSH-2.0-',
  );
  await using mute = listener(async (conn) => {
    await conn.read(new Uint8Array(100));
    await conn.read(new Uint8Array(100));
  });
  const silent = await assertRejects(
    () => reach(mute.port, { connectTimeout: 300 }),
    ConnectionError,
    "it accepted the connection and said nothing for 240 ms",
  );
  assertEquals(silent.code, "ETIMEDOUT");
  assertStringIncludes(silent.message, "busy with a call that does not give way");
  await using rude = listener((conn) => {
    conn.close();
    return Promise.resolve();
  });
  await assertRejects(() => reach(rude.port), ConnectionError, "closed the connection without");
  await assertRejects(
    () => reach("no-such-host.invalid", { tls: false }),
    ConnectionError,
    "the name no-such-host.invalid is not known",
  );
  await assertRejects(() => reach("/nowhere/pushy.sock"), ConnectionError, "no such socket");
});

function listenAndClose(): { port: number } {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { port: listener.addr.port };
}

Deno.test("the transport alone, by its streams", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  const transport = await Popen([], { address: `localhost:${server.port}` });
  assertEquals(transport.address, `localhost:${server.port}`);
  assertEquals(await new Response(transport.stderr).text(), "");
  const reader = transport.stdout.getReader();
  const { value } = await reader.read();
  assertStringIncludes(new TextDecoder().decode(value), "\nPUSHY/1 {");
  const writer = transport.stdin.getWriter();
  await writer.write(new Uint8Array(12));
  await transport.close();
  assertEquals(await transport.status, { code: null, signal: null });
  assertEquals((await reader.read().catch(() => ({ done: true }))).done, true);
  await writer.close().catch(() => {});
});

Deno.test("aborting ends the attempt", async () => {
  await using _guard = leakGuard();
  await using mute = listener(async (conn) => {
    await conn.read(new Uint8Array(100));
    await conn.read(new Uint8Array(100));
  });
  const reason = new Error("changed my mind");
  const controller = new AbortController();
  const attempt = reach(mute.port, { signal: controller.signal });
  setTimeout(() => controller.abort(reason), 50);
  assertEquals(await assertRejects(() => attempt), reason);
});

Deno.test("a Unix socket is for this user alone", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  const path = home.path("pushy.sock");
  {
    await using server = await daemon({ unix: path });
    assertEquals(server.server.addr, { transport: "unix", path });
    assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
    await using con = await reach(path);
    assertEquals(await con.eval("1 + 1"), 2);
    await assertRejects(() => daemon({ unix: path }), Error, "another server does");
  }
  await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
  // What a server that was killed leaves behind is no hindrance.
  const script = `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} });` +
    `Deno.kill(Deno.pid, "SIGKILL")`;
  await new Deno.Command(Deno.execPath(), { args: ["eval", "--no-config", script] }).output();
  await assertRejects(() => reach(path), ConnectionError, "no server listens on the socket");
  await using _server = await daemon({ unix: path });
  await using con = await reach(path);
  assertEquals(await con.eval("1 + 1"), 2);
  await Deno.writeTextFile(home.path("file"), "precious");
  await assertRejects(() => daemon({ unix: home.path("file") }), TypeError, "something else");
});

Deno.test("what would let anybody in is refused", async () => {
  await using _guard = leakGuard();
  await using home = new Home();
  for (const hostname of ["0.0.0.0", "::"]) {
    await assertRejects(
      () => run({ hostname, port: 0, quiet: true }),
      TypeError,
      `Cannot listen on ${hostname}: without TLS everybody on the way could read`,
    );
    await assertRejects(
      () => run({ hostname, port: 0, quiet: true, token: "secret" }),
      TypeError,
      "without TLS",
    );
    await assertRejects(
      () => run({ hostname, port: 0, quiet: true, tls: { cert: "c", key: "k" } }),
      TypeError,
      "everybody could run anything here",
    );
  }
  await using server = await daemon({ hostname: "0.0.0.0", allowInsecure: true });
  assert(server.log.some(({ event }) => event === "insecure"));
  await using con = await reach(server.port);
  assertEquals(await con.eval("1"), 1);
  await using _con = await reach(`127.0.0.1:${server.port}`, { tls: false });
  for (
    const options of [
      { unix: home.path("a"), port: 1 },
      { unix: home.path("a"), tls: { cert: "", key: "" } },
      { permissions: { read: true } },
      { isolate: "thread" as "process" },
      { port: 65536 },
      { maxConnections: 0 },
      { stdio: true, token: "t" },
      { allowUsers: ["me"] },
    ]
  ) await assertRejects(() => run({ quiet: true, ...options }), TypeError);
});

Deno.test({
  name: "TLS with a token",
  ...requires("openssl"),
  async fn() {
    await using _guard = leakGuard();
    await using home = new Home();
    const { ca, cert, key, strangerCa } = await makeCertificates(home.folder);
    await using server = await daemon({ tls: { cert, key }, token: "over TLS" });
    const token = "over TLS";
    const { port } = server;
    {
      await using con = await reach(`localhost:${port}`, { token, tls: { caCerts: [ca] } });
      assertEquals(await con.eval("'x'.repeat(100_000).length"), 100_000);
      const long = "y".repeat(3_000_000);
      assertEquals(await con.compile((text: string) => text.length).then((f) => f(long)), 3e6);
    }
    {
      const caCerts = await Deno.readTextFile(ca);
      const tls = { caCerts, serverName: "named.example" };
      await using con = await reach(port, { token, tls });
      assertEquals(await con.eval("1"), 1);
    }
    const untrusted = await assertRejects(
      () => reach(port, { token, tls: true }),
      HostKeyError,
      "its certificate comes from no authority that is trusted here",
    );
    assertEquals(untrusted.code, "ECERT");
    await assertRejects(
      () => reach(port, { token, tls: { caCerts: [strangerCa] } }),
      HostKeyError,
      "no authority that is trusted",
    );
    await assertRejects(
      () => reach(port, { token, tls: { caCerts: [ca], serverName: "other.example" } }),
      HostKeyError,
      "its certificate is not for the name other.example",
    );
    await assertRejects(
      () => reach(port, { token: "wrong", tls: { caCerts: [ca] } }),
      AuthenticationError,
      "the token is wrong",
    );
    // There is no way from TLS to plain TCP.
    await assertRejects(() => reach(port, { token }), ConnectionError, "TLS");
    await using plain = await daemon({ token });
    await assertRejects(
      () => reach(plain.port, { token, tls: { caCerts: [ca] } }),
      ConnectionError,
      "it does not speak TLS",
    );
    assertEquals(
      (await plain.logged(({ event }) => event === "refused")).reason,
      "it speaks TLS, and this port does not",
    );
    await assertRejects(
      () => reach(port, { tls: { cert } }),
      TypeError,
      "a certificate without its key",
    );
    await Deno.chmod(key, 0o644);
    await assertRejects(() => daemon({ tls: { cert, key } }), ConnectionError, "other users");
  },
});

Deno.test({
  name: "TLS on the loopback finds the token by itself",
  ...requires("openssl"),
  async fn() {
    await using _guard = leakGuard();
    await using home = new Home();
    const { ca, cert, key } = await makeCertificates(home.folder);
    await using server = await daemon({ tls: { cert, key } });
    await using con = await reach(`localhost:${server.port}`, { tls: { caCerts: ca } });
    assertEquals(await con.eval("1"), 1);
  },
});

Deno.test({
  name: "TLS with certificates of clients",
  ...requires("openssl"),
  async fn() {
    await using _guard = leakGuard();
    await using home = new Home();
    const all = await makeCertificates(home.folder);
    const { ca, cert, key, clientCert, clientKey, strangerCert, strangerKey } = all;
    await using server = await daemon({
      hostname: "0.0.0.0",
      tls: { cert, key, clientCa: ca },
    });
    const { port } = server;
    const client = { caCerts: [ca], cert: clientCert, key: clientKey };
    {
      await using con = await reach(`localhost:${port}`, { tls: client });
      assertEquals(await con.eval("1 + 1"), 2);
      const long = "y".repeat(3_000_000);
      assertEquals(
        await con.compile((text: string) => text + text).then((f) => f(long)),
        long + long,
      );
    }
    {
      await using con = await reach(port, { tls: { ...client, serverName: "named.example" } });
      assertEquals(await con.eval("1 + 1"), 2);
    }
    await assertRejects(
      () => reach(port, { tls: { caCerts: [ca] } }),
      AuthenticationError,
      "it asks for a certificate",
    );
    await assertRejects(
      () => reach(port, { tls: { ...client, cert: strangerCert, key: strangerKey } }),
      AuthenticationError,
      "it does not accept this client's certificate",
    );
    await assertRejects(
      () => reach(port, { tls: { ...client, serverName: "other.example" } }),
      HostKeyError,
      "its certificate is not for the name other.example",
    );
    await assertRejects(
      () => reach(port, { tls: { ...client, caCerts: [all.strangerCa] } }),
      HostKeyError,
      "no authority that is trusted",
    );
    await assertRejects(
      () => reach(listenAndClose().port, { tls: client }),
      ConnectionError,
      "the port is closed",
    );
    await Deno.chmod(clientKey, 0o640);
    await assertRejects(
      () => reach(port, { tls: client }),
      ConnectionError,
      "other users can read",
    );
  },
});

Deno.test("a sign of life needs no token, and tells nothing", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "t" });
  assertEquals(await say(server.port, "PUSHY-DAEMON/1 health\n"), "PUSHY-DAEMON/1 healthy\n");
});
