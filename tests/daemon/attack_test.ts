/**
 * Clients that mean no good, and the others meanwhile.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { AuthenticationError, ConnectionError, ConnectionLostError } from "../../mod.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { daemon, Home, makeCertificates, reach, readAll, say } from "./servers.ts";

const HELLO = `PUSHY-DAEMON/1 hello ${"a".repeat(64)}\n`;

Deno.test("garbage is dropped at once, without an answer", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  await using con = await reach(server.port);
  const noise = crypto.getRandomValues(new Uint8Array(60_000));
  noise[0] = 0;
  for (
    const bytes of [
      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "SSH-2.0-scanner\r\n",
      "\n",
      "\0",
      "PUSHY-DAEMON/1 hello short\n",
      "PUSHY-DAEMON/1 " + "x".repeat(100_000),
      "PUSHY-DAEMON/1 open\n",
      noise,
      new Uint8Array([0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
      // A frame of the protocol: a call of eval.
      new Uint8Array([12, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 91, 91, 50]),
    ]
  ) assertEquals(await say(server.port, bytes), "");
  assertEquals(
    await say(server.port, "PUSHY-DAEMON/9 hello x\n"),
    "PUSHY-DAEMON/1 refused version\n",
  );
  assertEquals(await con.eval("1"), 1);
  assertEquals(server.server.connections, 1);
});

Deno.test("frames before the proof are not looked at", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "t" });
  const text = `[[2,1,0,["eval"],1,["globalThis.broken = true"]]]`;
  const frame = new Uint8Array(12 + text.length);
  new DataView(frame.buffer).setUint32(0, text.length, true);
  new DataView(frame.buffer).setUint32(8, text.length, true);
  frame.set(new TextEncoder().encode(text), 12);
  const hello = new TextEncoder().encode(HELLO);
  const answer = await say(server.port, new Uint8Array([...hello, ...frame]));
  assert(/^PUSHY-DAEMON\/1 challenge [0-9a-f]{64}\n$/.test(answer), answer);
  assertEquals((globalThis as Record<string, unknown>)["broken"], undefined);
});

Deno.test("the silent, the slow and the half-open are dropped; the others do not wait", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "t", handshakeTimeout: 400 });
  const dial = () => Deno.connect({ hostname: "127.0.0.1", port: server.port });
  const silent = await Promise.all(Array.from({ length: 100 }, dial));
  const halfOpen = await Promise.all(Array.from({ length: 20 }, dial));
  for (const conn of halfOpen) await conn.closeWrite();
  const stuck = await Promise.all(Array.from({ length: 20 }, dial));
  for (const conn of stuck) await conn.write(new TextEncoder().encode(HELLO));
  const slow = await dial();
  let dropped = false;
  const dripping = (async () => {
    for (const byte of new TextEncoder().encode(HELLO)) {
      try {
        await slow.write(new Uint8Array([byte]));
      } catch {
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (dropped) break;
    }
  })();
  await using con = await reach(server.port, { token: "t" });
  assertEquals(await con.eval("1"), 1);
  // Each of them ends: the server has dropped it.
  await Promise.all([...silent, ...halfOpen, ...stuck].map(readAll));
  await readAll(slow);
  dropped = true;
  await dripping;
  for (const conn of [...silent, ...halfOpen, ...stuck, slow]) conn.close();
  assertEquals(await con.eval("1"), 1);
  assertEquals(server.server.connections, 1);
  const late = server.log.filter(({ reason }) =>
    reason === "the handshake was not complete after 400 ms"
  );
  assert(late.length >= 121, `${late.length}`);
});

Deno.test("a scan of the port costs nothing", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon();
  await using con = await reach(server.port);
  for (let i = 0; i < 300; i++) {
    (await Deno.connect({ hostname: "127.0.0.1", port: server.port })).close();
  }
  assertEquals(await con.eval("1"), 1);
  await using more = await reach(server.port);
  assertEquals(await more.eval("1"), 1);
});

Deno.test("guessers wait longer each time; who knows the token does not", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ token: "the token", handshakeTimeout: 1000 });
  const guesses = Array.from({ length: 30 }, (_, i) =>
    assertRejects(
      () => reach(server.port, { token: `guess ${i}` }),
      AuthenticationError,
      "the token is wrong",
    ));
  const first = guesses[0]!.then(() => "guess");
  // It comes in while all of them wait.
  const known = reach(server.port, { token: "the token" });
  const who = await Promise.race([first, known.then(() => "known")]);
  assertEquals(who, "known");
  await using con = await known;
  await Promise.all(guesses);
  assertEquals(await con.eval("1"), 1);
  const refused = server.log.filter(({ event, reason }) =>
    event === "refused" && reason === "wrong token"
  );
  assertEquals(refused.length, 30);
  assertEquals(refused.at(-1)!.failed, 30);
});

Deno.test("beyond maxConnections there is a polite refusal", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ maxConnections: 2 });
  const attempts = await Promise.allSettled(Array.from({ length: 6 }, () => reach(server.port)));
  const connected = attempts.filter((attempt) => attempt.status === "fulfilled");
  assertEquals(connected.length, 2);
  for (const attempt of attempts) {
    if (attempt.status === "fulfilled") continue;
    assert(attempt.reason instanceof ConnectionError);
    assert(attempt.reason.message.includes("the server has as many connections as it may"));
    assertEquals(attempt.reason.code, "EBUSY");
  }
  assertEquals(server.server.connections, 2);
  await connected[0]!.value.close();
  await server.logged(({ event }) => event === "disconnected");
  await using next = await reach(server.port);
  assertEquals(await next.eval("1"), 1);
  await connected[1]!.value.close();
});

Deno.test("a client's death, and a flood, do not touch the others", async () => {
  await using guard = leakGuard();
  await using home = new Home();
  await using server = await daemon();
  await using con = await reach(server.port);
  const script = `
    import { connect } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
    const con = await connect("daemon:127.0.0.1:${server.port}");
    const f = await con.eval("(x) => x");
    for (let i = 0; i < 20_000; i++) f({ some: "value", i }).catch(() => {});
    await f(1);
    console.log("flooding");
    for (;;) { for (let i = 0; i < 1000; i++) f(i).catch(() => {}); await f(0); }
  `;
  const file = home.path("flood.ts");
  await Deno.writeTextFile(file, script);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", file],
    env: guard.env,
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  for (let i = 0; i < 20; i++) assertEquals(await con.eval("1 + 1"), 2);
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  await server.logged(({ event }) => event === "disconnected");
  assertEquals(await con.eval("1 + 1"), 2);
});

Deno.test("who does not read is not read, and a flood of output ends its client alone", async () => {
  await using _guard = leakGuard({ grace: 3000 });
  await using _home = new Home();
  await using server = await daemon({ allowInsecure: true });
  await using con = await reach(server.port);
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  await conn.write(new TextEncoder().encode(HELLO));
  const text =
    `[[2,1,0,["eval"],1,["(async () => { while (!globalThis.stopFlood) { console.log('x'.repeat(100000)); ` +
    `await new Promise((r) => setImmediate(r)); } })()"]]]`;
  const frame = new Uint8Array(12 + text.length);
  new DataView(frame.buffer).setUint32(0, text.length, true);
  new DataView(frame.buffer).setUint32(8, text.length, true);
  frame.set(new TextEncoder().encode(text), 12);
  await conn.write(frame);
  const { reason } = await server.logged(({ event }) => event === "disconnected");
  assertEquals(reason, "The client does not read what its program prints");
  conn.close();
  assertEquals(await con.eval("1 + 1"), 2);
  await con.eval(
    "(async () => { globalThis.stopFlood = true; await new Promise((r) => setTimeout(r, 10)); delete globalThis.stopFlood; })()",
  );
});

Deno.test({
  name: "TLS: silence, plain text and downgrades are dropped, and old versions refused",
  ...requires("openssl"),
  async fn() {
    await using _guard = leakGuard();
    await using home = new Home();
    const { ca, cert, key, clientCert, clientKey } = await makeCertificates(home.folder);
    for (const clientCa of [undefined, ca]) {
      await using server = await daemon({
        tls: { cert, key, clientCa },
        token: "t",
        handshakeTimeout: 400,
      });
      const tls = { caCerts: [ca], ...(clientCa ? { cert: clientCert, key: clientKey } : {}) };
      const silent = await Promise.all(
        Array.from(
          { length: 20 },
          () => Deno.connect({ hostname: "127.0.0.1", port: server.port }),
        ),
      );
      await using con = await reach(server.port, { token: "t", tls });
      assertEquals(await con.eval("1"), 1);
      for (const bytes of [HELLO, "GET / HTTP/1.0\r\n\r\n"]) {
        assert(!(await say(server.port, bytes)).includes("PUSHY"));
      }
      const old = await new Deno.Command("openssl", {
        args: [
          "s_client",
          "-connect",
          `127.0.0.1:${server.port}`,
          "-tls1_1",
          "-cipher",
          "ALL:@SECLEVEL=0",
        ],
        stdin: "null",
      }).output();
      assert(old.code !== 0);
      await Promise.all(silent.map(readAll));
      for (const conn of silent) conn.close();
      assertEquals(await con.eval("1"), 1);
    }
  },
});

Deno.test("a client that is told why it must go", async () => {
  await using _guard = leakGuard();
  await using _home = new Home();
  await using server = await daemon({ idleTimeout: 200 });
  await using con = await reach(server.port);
  assertEquals(await con.eval("1"), 1);
  const reason = await con.closed;
  assert(reason instanceof ConnectionLostError);
  assertEquals(
    reason.message.split("\n")[0],
    "The remote side ended the connection: The client made no call for 200 ms (idleTimeout)",
  );
});
