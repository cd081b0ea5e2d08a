import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AuthenticationError, ConnectionError } from "../../transport/errors.ts";
import { Popen, type SmbOptions, type SmbTransport } from "../../transport/smb.ts";
import { PASSWORD, Samba, SAMBA_MISSING, type SambaOptions, USER } from "./samba.ts";

const ignore = SAMBA_MISSING !== undefined;

function open(samba: Samba, options: Partial<SmbOptions> = {}): Promise<SmbTransport> {
  return Popen([], {
    address: `127.0.0.1:${samba.port}`,
    username: USER,
    password: PASSWORD,
    ...options,
  });
}

/** Bytes that tell where they are. */
function pattern(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + (i >> 16)) & 255;
  return bytes;
}

async function echoes(transport: SmbTransport, bytes: Uint8Array): Promise<void> {
  const writer = transport.stdin.getWriter();
  const written = writer.write(bytes);
  const reader = transport.stdout.getReader();
  let at = 0;
  while (at < bytes.length) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the end after ${at} of ${bytes.length} bytes`);
    for (let i = 0; i < value.length; i++) {
      if (value[i] !== bytes[at + i]) throw new Error(`a wrong byte at ${at + i}`);
    }
    at += value.length;
  }
  await written;
  writer.releaseLock();
  reader.releaseLock();
}

interface Row {
  name: string;
  settings?: Record<string, string>;
  options?: Partial<SmbOptions>;
  security: SmbTransport["security"];
}

const ROWS: readonly Row[] = [
  {
    name: "as it comes",
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: null },
  },
  {
    name: "signing disabled on the server",
    settings: { "server signing": "disabled" },
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: null },
  },
  {
    name: "signing mandatory",
    settings: { "server signing": "mandatory" },
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: null },
  },
  {
    name: "3.1.1 signed with AES-CMAC",
    settings: { "server smb3 signing algorithms": "AES-128-CMAC" },
    security: { dialect: "3.1.1", signing: "AES-CMAC", encryption: null },
  },
  {
    name: "3.1.1 signed with HMAC-SHA256",
    settings: { "server smb3 signing algorithms": "HMAC-SHA256" },
    security: { dialect: "3.1.1", signing: "HMAC-SHA256", encryption: null },
  },
  {
    name: "encryption mandatory",
    settings: { "server smb encrypt": "required" },
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: "AES-128-GCM" },
  },
  {
    name: "encryption asked for by the client",
    options: { encrypt: true },
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: "AES-128-GCM" },
  },
  ...["AES-128-CCM", "AES-256-GCM", "AES-256-CCM"].map((cipher): Row => ({
    name: `encryption with ${cipher}`,
    settings: { "server smb3 encryption algorithms": cipher },
    options: { encrypt: true },
    security: { dialect: "3.1.1", signing: "AES-GMAC", encryption: cipher },
  })),
  {
    name: "3.0.2",
    settings: { "server max protocol": "SMB3_02" },
    security: { dialect: "3.0.2", signing: "AES-CMAC", encryption: null },
  },
  {
    name: "3.0",
    settings: { "server max protocol": "SMB3_00" },
    security: { dialect: "3.0", signing: "AES-CMAC", encryption: null },
  },
  {
    name: "3.0 with encryption mandatory",
    settings: { "server max protocol": "SMB3_00", "server smb encrypt": "required" },
    security: { dialect: "3.0", signing: "AES-CMAC", encryption: "AES-128-CCM" },
  },
  {
    name: "2.1",
    settings: { "server max protocol": "SMB2_10" },
    security: { dialect: "2.1", signing: "HMAC-SHA256", encryption: null },
  },
  {
    name: "2.1 with signing mandatory",
    settings: { "server max protocol": "SMB2_10", "server signing": "mandatory" },
    security: { dialect: "2.1", signing: "HMAC-SHA256", encryption: null },
  },
  {
    name: "2.0.2",
    settings: { "server max protocol": "SMB2_02" },
    security: { dialect: "2.0.2", signing: "HMAC-SHA256", encryption: null },
  },
  {
    name: "the client speaks nothing newer than 3.0",
    options: { maxDialect: "3.0" },
    security: { dialect: "3.0", signing: "AES-CMAC", encryption: null },
  },
];

for (const { name, settings = {}, options, security } of ROWS) {
  Deno.test({
    name: `Samba: ${name}: small and large writes come back`,
    ignore,
    async fn() {
      await using samba = await Samba.start({ settings });
      await using transport = await open(samba, options);
      assertEquals(transport.security, security);
      await echoes(transport, pattern(1));
      await echoes(transport, pattern(3_000_001));
      assertEquals(await transport.close(), { code: null, signal: null });
      const [user] = samba.users;
      assertEquals([user?.account, user?.domain, user?.unixName, user?.authenticated], [
        USER,
        "PUSHYSRV",
        USER,
        true,
      ]);
    },
  });
}

/** A test that needs no settings of its own. */
function test(
  name: string,
  fn: (samba: Samba) => Promise<void>,
  options: SambaOptions = {},
): void {
  Deno.test({
    name: `Samba: ${name}`,
    ignore,
    async fn() {
      await using samba = await Samba.start(options);
      await fn(samba);
    },
  });
}

test("many small writes arrive in order and whole, through the channel", async (samba) => {
  await using transport = await open(samba);
  const channel = transport.channel!;
  const bytes = pattern(200_000);
  const reading = (async () => {
    const all = new Uint8Array(bytes.length);
    for (let at = 0; at < all.length;) {
      const n = await channel.read(all.subarray(at, at + 1000));
      if (n === null) throw new Error(`the end after ${at} bytes`);
      at += n;
    }
    return all;
  })();
  for (let at = 0; at < bytes.length; at += 77) await channel.write(bytes.subarray(at, at + 77));
  assertEquals(await reading, bytes);
});

test("a reader that is slow holds the writer back", async (samba) => {
  await using transport = await open(samba);
  const writer = transport.stdin.getWriter();
  const chunk = pattern(1 << 20);
  const most = 64;
  let written = 0;
  const writing = (async () => {
    for (; written < most; written++) await writer.write(chunk);
  })();
  // While nobody reads, round trips to the same server are the clock.
  for (let i = 0; i < 20; i++) await (await open(samba)).close();
  assert(written < most, `${written} MiB were taken with nobody reading`);
  let read = 0;
  for await (const bytes of transport.stdout) {
    read += bytes.length;
    if (read === most * chunk.length) break;
  }
  await writing;
});

test("the server's end of the pipe is the end of stdout", async (samba) => {
  await using transport = await open(samba);
  const reader = transport.stdout.getReader();
  assertEquals((await reader.read()).value, new TextEncoder().encode("b"));
  await transport.channel!.write(new Uint8Array(1));
  assertEquals((await reader.read()).done, true);
  assertEquals(await transport.status, { code: null, signal: null });
}, {
  serve: async (conn) => {
    await conn.write(new TextEncoder().encode("b"));
    await conn.read(new Uint8Array(1));
  },
});

test("closing stdin sends what was written first", async (samba) => {
  const transport = await open(samba);
  const writer = transport.stdin.getWriter();
  void writer.write(pattern(500_000));
  await writer.close();
  assertEquals(await transport.status, { code: null, signal: null });
  assertEquals(await received.promise, 500_000);
}, {
  serve: async (conn) => {
    let size = 0;
    for await (const bytes of conn.readable) size += bytes.length;
    received.resolve(size);
  },
});
const received = Promise.withResolvers<number>();

test("a transport is closed more than once, and stderr is at its end", async (samba) => {
  const transport = await open(samba);
  assertEquals(await new Response(transport.stderr).text(), "");
  const [a, b] = await Promise.all([transport.close(), transport.close()]);
  assertEquals(a, b);
  assertEquals(await transport.channel!.read(new Uint8Array(1)), null);
  await assertRejects(() => transport.channel!.write(new Uint8Array(1)), Error, "closed");
});

test("two transports are two pipes", async (samba) => {
  await using a = await open(samba);
  await using b = await open(samba);
  await Promise.all([echoes(a, pattern(100_000)), echoes(b, pattern(50_001))]);
});

test("an idle connection is kept alive by echoes", async (samba) => {
  await using transport = await open(samba, { echoInterval: 20 });
  const until = Date.now() + 300;
  while (Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  await echoes(transport, pattern(10));
});

test("a connection that is lost half way fails reads and writes with the reason", async (samba) => {
  await using transport = await open(samba);
  await echoes(transport, pattern(10));
  await samba.dropClients();
  const error = await assertRejects(() => transport.channel!.read(new Uint8Array(1)), Error);
  assertStringIncludes(error.message, "connection");
  await assertRejects(() => transport.channel!.write(new Uint8Array(1)), Error);
  const { reason } = await transport.status;
  assert(reason instanceof Error);
});

test("a wrong password is an AuthenticationError with the status's name", async (samba) => {
  for (const wrong of [{ password: "wrong" }, { username: "nobody-of-that-name" }]) {
    const error = await assertRejects(() => open(samba, wrong), AuthenticationError);
    assertEquals(error.code, "STATUS_LOGON_FAILURE");
    assertEquals(error.stage, "authenticate");
    assertStringIncludes(error.message, "password is wrong");
    assert(!error.message.includes(PASSWORD));
  }
});

test("a domain may be given in three ways", async (samba) => {
  for (const who of [{ domain: "PUSHYSRV" }, { username: `PUSHYSRV\\${USER}` }, { domain: "" }]) {
    await using transport = await open(samba, who);
    await echoes(transport, pattern(5));
  }
});

test("a pipe that nobody listens on is an error that names it", async (samba) => {
  const error = await assertRejects(() => open(samba, { pipe: "absent" }), ConnectionError);
  assertEquals(error.code, "STATUS_OBJECT_NAME_NOT_FOUND");
  assertStringIncludes(error.message, "absent");
  assertStringIncludes(error.message, "server running");
}, { silent: true });

test("a user who is not admitted is turned away", async (samba) => {
  const error = await assertRejects(() => open(samba), AuthenticationError);
  assertStringIncludes(error.message, "allowUsers");
  assertStringIncludes(error.message, "Is the Pushy server running there");
}, { admit: (user) => user.unixName !== USER });

test("a guest is refused unless asked for", async (samba) => {
  const stranger = { username: "stranger", password: "x" };
  const error = await assertRejects(() => open(samba, stranger), AuthenticationError);
  assertStringIncludes(error.message, "guest");
  await using transport = await open(samba, { ...stranger, guest: true });
  assertEquals(transport.security?.signing, null);
  await echoes(transport, pattern(100_000));
  assertEquals(samba.users.at(-1)?.authenticated, false);
  await assertRejects(
    () => open(samba, { ...stranger, guest: true, encrypt: true }),
    AuthenticationError,
    "encrypt",
  );
}, { settings: { "map to guest": "Bad User" } });

test("an anonymous login works where it is asked for", async (samba) => {
  await using transport = await open(samba, {
    username: undefined,
    password: undefined,
    anonymous: true,
  });
  await echoes(transport, pattern(1000));
  assertEquals(samba.users.at(-1)?.authenticated, false);
});

test("a server that is too old for the caller is refused", async (samba) => {
  const error = await assertRejects(() => open(samba, { minDialect: "3.0" }), ConnectionError);
  assertEquals(error.stage, "negotiate");
  const plain = await assertRejects(() => open(samba, { encrypt: true }), AuthenticationError);
  assertStringIncludes(plain.message, "cannot encrypt");
}, { settings: { "server max protocol": "SMB2_10" } });

test("an aborted start ends with the signal's reason", async (samba) => {
  const reason = new Error("changed my mind");
  const controller = new AbortController();
  const opening = open(samba, { signal: controller.signal });
  controller.abort(reason);
  assertEquals(await assertRejects(() => opening), reason);
});

test("a handshake that is never answered ends with the time limit", async (samba) => {
  const error = await assertRejects(() => open(samba, { connectTimeout: 1500 }), ConnectionError);
  assertEquals([error.code, error.stage], ["ETIMEDOUT", "open"]);
}, { admit: () => new Promise(() => {}) });
