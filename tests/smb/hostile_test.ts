import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AuthenticationError, ConnectionError } from "../../transport/errors.ts";
import { Popen, type SmbOptions, type SmbTransport } from "../../transport/smb.ts";
import { COMMAND, HEADER } from "../../transport/smb/messages.ts";
import { concat } from "../../transport/smb/cursor.ts";
import {
  challenge,
  ERROR_BODY,
  FAKE_PASSWORD,
  FAKE_USER,
  type FakeOptions,
  FakeServer,
  type Handler,
  mechanisms,
  OIDS,
  pack,
  readBody,
  type Reply,
  serverToken,
  setupBody,
  writeBody,
} from "./fake_server.ts";

function open(server: FakeServer, options: Partial<SmbOptions> = {}): Promise<SmbTransport> {
  return Popen([], {
    address: `127.0.0.1:${server.port}`,
    username: FAKE_USER,
    password: FAKE_PASSWORD,
    connectTimeout: 20_000,
    ...options,
  });
}

const text = (value: string) => new TextEncoder().encode(value);

async function echoes(transport: SmbTransport): Promise<void> {
  await transport.channel!.write(text("hello"));
  const buffer = new Uint8Array(100);
  const n = await transport.channel!.read(buffer);
  assertEquals(new TextDecoder().decode(buffer.subarray(0, n ?? 0)), "hello");
}

for (
  const [name, options] of Object.entries<FakeOptions>({
    "2.1": { dialect: 0x0210 },
    "3.0": { dialect: 0x0300 },
    "3.0, the session encrypted": { dialect: 0x0300, sessionFlags: 4 },
    "3.1.1": { dialect: 0x0311 },
    "3.1.1, the session encrypted": { dialect: 0x0311, sessionFlags: 4 },
    "3.1.1, the share encrypted": { dialect: 0x0311, shareFlags: 0x8000 },
    "3.1.1, with AES-256-GCM": { dialect: 0x0311, sessionFlags: 4, cipher: 4 },
  })
) {
  Deno.test(`a server in the test speaks ${name}, and is left politely`, async () => {
    await using server = new FakeServer(options);
    const transport = await open(server);
    await echoes(transport);
    assertEquals(await transport.close(), { code: null, signal: null });
    assertEquals(server.commands.slice(-3), [
      COMMAND.close,
      COMMAND.treeDisconnect,
      COMMAND.logoff,
    ]);
    assert(server.commands.includes(COMMAND.cancel));
  });
}

/** A start that has to fail, with what its message says. */
interface Failure {
  name: string;
  server?: FakeOptions;
  on?: FakeOptions["on"];
  options?: Partial<SmbOptions>;
  says: string;
  kind?: typeof ConnectionError;
  code?: string;
}

/** A handler that spoils the right answer. */
function spoiled(spoil: (reply: Reply) => Reply | Reply[]): Handler {
  return async (request, server) => spoil(await server.right(request));
}

/** Spoils the answer to the second round of the login. */
function lastAnswer(spoil: (reply: Reply) => Reply | Reply[]): Handler {
  return async (request, server) => {
    const reply = await server.right(request);
    return reply.status === 0xc0000016 ? reply : spoil(reply);
  };
}

/** Spoils the answer to the first round of the login. */
function firstAnswer(spoil: (reply: Reply) => Reply): Handler {
  return async (request, server) => {
    const reply = await server.right(request);
    return reply.status === 0xc0000016 ? spoil(reply) : reply;
  };
}

const flip = (at: number) => (message: Uint8Array) => {
  message[at]! ^= 1;
};

const FAILURES: readonly Failure[] = [
  {
    name: "a web server",
    on: { negotiate: () => ({ raw: text("HTTP/1.1 400 Bad Request\r\n\r\n") }) },
    says: "not an SMB server",
    code: "EPROTO",
  },
  {
    name: "an SMB 1 server",
    on: {
      negotiate: () => ({
        raw: concat(pack([4, 0x24000000]), pack([4, 0x424d53ff]), new Uint8Array(32)),
      }),
    },
    says: "SMB 1",
  },
  {
    name: "a message that is said to be 16 MB long",
    on: { negotiate: () => ({ raw: Uint8Array.of(0, 255, 255, 255, 1) }) },
    says: "larger than",
  },
  {
    name: "a message that ends early",
    on: { negotiate: () => ({ raw: Uint8Array.of(0, 0, 0, 200, 0xfe, 0x53), hangUp: true }) },
    says: "inside a message",
  },
  {
    name: "a message that is shorter than a header",
    on: { negotiate: () => ({ raw: Uint8Array.of(0, 0, 0, 6, 0xfe, 0x53, 0x4d, 0x42, 64, 0) }) },
    says: "shorter than its header",
  },
  {
    name: "an empty message",
    on: { negotiate: () => ({ raw: new Uint8Array(4) }) },
    says: "not an SMB server",
  },
  {
    name: "a server that hangs up",
    on: { negotiate: () => ({ hangUp: true }) },
    says: "closed the connection",
    code: "ECONNRESET",
  },
  {
    name: "a dialect that was not offered",
    on: { negotiate: (_, server) => ({ body: server.negotiateBody({ dialect: 0x0222 }) }) },
    says: "which was not offered",
  },
  {
    name: "a dialect below the caller's least",
    options: { minDialect: "3.0" },
    says: "which was not offered",
  },
  {
    name: "a security buffer past the end",
    on: { negotiate: (_, server) => ({ body: server.negotiateBody({ tokenLength: 60_000 }) }) },
    says: "60000 bytes at offset",
  },
  {
    name: "a server with Kerberos only",
    on: {
      negotiate: (_, server) => ({
        body: server.negotiateBody({ token: mechanisms(OIDS.kerberos) }),
      }),
    },
    says: "no NTLM",
    code: "EREFUSED",
  },
  {
    name: "a negotiation that the server refuses",
    on: { negotiate: () => ({ status: 0xc00000bb, body: ERROR_BODY }) },
    says: "STATUS_NOT_SUPPORTED",
    code: "STATUS_NOT_SUPPORTED",
  },
  {
    name: "a cipher that was not offered",
    server: { dialect: 0x0311 },
    on: {
      negotiate: spoiled((reply) => {
        const at = reply.body!.length - 16 - 8 + 2 + 8 - 8;
        const body = reply.body!.slice();
        body[at] = 9;
        return { ...reply, body };
      }),
    },
    says: "was not offered",
  },
  {
    name: "a server without pre-authentication integrity",
    server: { dialect: 0x0311 },
    on: {
      negotiate: spoiled((reply) => {
        const body = reply.body!.slice();
        body[6] = 0;
        return { ...reply, body };
      }),
    },
    says: "pre-authentication",
  },
  {
    name: "a login that ends before it begins",
    on: { sessionSetup: () => ({ body: setupBody(0, serverToken(0)) }) },
    says: "before it began",
  },
  {
    name: "a challenge with target information past its end",
    on: {
      sessionSetup: firstAnswer((reply) => {
        const token = challenge();
        token[44] = 200;
        return { ...reply, body: setupBody(0, serverToken(1, token)) };
      }),
    },
    says: "NTLM challenge",
  },
  {
    name: "a SPNEGO token that is cut off",
    on: {
      sessionSetup: firstAnswer((reply) => ({
        ...reply,
        body: setupBody(0, serverToken(1, challenge()).slice(0, 30)),
      })),
    },
    says: "SPNEGO",
  },
  {
    name: "a token past the end of its message",
    on: {
      sessionSetup: firstAnswer((reply) => {
        const body = reply.body!.slice();
        body[7] = 200;
        return { ...reply, body };
      }),
    },
    says: "Session setup response",
  },
  {
    name: "a last answer with a wrong signature",
    on: { sessionSetup: lastAnswer((reply) => ({ ...reply, tamper: flip(50) })) },
    says: "does not know the password",
  },
  {
    name: "a last answer that is changed on the way",
    on: { sessionSetup: lastAnswer((reply) => ({ ...reply, tamper: flip(HEADER + 2) })) },
    says: "guest",
    kind: AuthenticationError,
  },
  {
    name: "a last answer without a signature",
    on: { sessionSetup: lastAnswer((reply) => ({ ...reply, protect: "none" })) },
    says: "does not know the password",
  },
  {
    name: "a server that makes the user a guest",
    server: { sessionFlags: 1 },
    says: "guest",
    kind: AuthenticationError,
    code: "EREFUSED",
  },
  {
    name: "a server that makes the user nobody",
    server: { sessionFlags: 2 },
    says: "guest",
    kind: AuthenticationError,
  },
  {
    name: "a server that cannot encrypt, where that is asked for",
    server: { dialect: 0x0311, cipher: 0 },
    options: { encrypt: true },
    says: "cannot encrypt",
    kind: AuthenticationError,
  },
  {
    name: "a server that demands encryption and agreed on no cipher",
    server: { dialect: 0x0311, cipher: 0 },
    on: {
      sessionSetup: lastAnswer((reply) => ({
        ...reply,
        body: setupBody(4, reply.body!.slice(8)),
      })),
    },
    says: "no cipher",
    kind: AuthenticationError,
  },
  ...([
    [0xc000006d, "STATUS_LOGON_FAILURE", "password is wrong"],
    [0xc0000234, "STATUS_ACCOUNT_LOCKED_OUT", "locked"],
    [0xc0000193, "STATUS_ACCOUNT_EXPIRED", "expired"],
    [0xc0000072, "STATUS_ACCOUNT_DISABLED", "disabled"],
    [0xc0000071, "STATUS_PASSWORD_EXPIRED", "expired"],
    [0xc0000224, "STATUS_PASSWORD_MUST_CHANGE", "changed"],
    [0xc000015b, "STATUS_LOGON_TYPE_NOT_GRANTED", "over the network"],
    [0xc0000418, "STATUS_NTLM_BLOCKED", "NTLM"],
  ] as const).map(([status, code, says]): Failure => ({
    name: `a login that is answered with ${code}`,
    on: {
      sessionSetup: lastAnswer(() => ({ status, body: ERROR_BODY, protect: "none" })),
    },
    says,
    code,
    kind: AuthenticationError,
  })),
  {
    name: "a status without a name",
    on: {
      sessionSetup: lastAnswer(() => ({ status: 0xc0abcdef, body: ERROR_BODY, protect: "none" })),
    },
    says: "NTSTATUS 0xC0ABCDEF",
  },
  {
    name: "a tree whose answer has a wrong signature",
    on: { treeConnect: spoiled((reply) => ({ ...reply, tamper: flip(55) })) },
    says: "wrong signature",
  },
  {
    name: "a tree whose answer was changed",
    on: { treeConnect: spoiled((reply) => ({ ...reply, tamper: flip(HEADER + 4) })) },
    says: "wrong signature",
  },
  {
    name: "a tree whose answer is not signed",
    on: { treeConnect: spoiled((reply) => ({ ...reply, protect: "none" })) },
    says: "not signed",
  },
  {
    name: "an unsigned refusal",
    on: { treeConnect: () => ({ status: 0xc0000022, body: ERROR_BODY, protect: "none" }) },
    says: "STATUS_ACCESS_DENIED) is not signed",
  },
  {
    name: "an answer that comes twice",
    on: { treeConnect: spoiled((reply) => [reply, reply]) },
    says: "sent twice",
  },
  {
    name: "an answer to nothing",
    on: { treeConnect: spoiled((reply) => ({ ...reply, messageId: 99n })) },
    says: "unsolicited",
  },
  {
    name: "a notification that nobody asked for",
    on: { treeConnect: spoiled((reply) => ({ ...reply, messageId: 0xffffffffffffffffn })) },
    says: "unsolicited",
  },
  {
    name: "an answer to another command",
    on: { treeConnect: spoiled((reply) => ({ ...reply, command: COMMAND.create })) },
    says: "answers no request",
  },
  {
    name: "a compounded answer",
    on: { treeConnect: spoiled((reply) => ({ ...reply, nextCommand: 80 })) },
    says: "compounded",
  },
  {
    name: "a request instead of an answer",
    on: { treeConnect: spoiled((reply) => ({ ...reply, flags: 0 })) },
    says: "not a response",
  },
  {
    name: "an answer of another session",
    on: { treeConnect: spoiled((reply) => ({ ...reply, sessionId: 5n })) },
    says: "another session",
  },
  {
    name: "an answer of another tree",
    on: { create: spoiled((reply) => ({ ...reply, treeId: 8 })) },
    says: "another tree",
  },
  {
    name: "an answer with an id that no interim response has given",
    on: { create: spoiled((reply) => ({ ...reply, flags: 3, asyncId: 4n })) },
    says: "never put off",
  },
  {
    name: "a final answer under another id than the interim one",
    on: {
      create: spoiled((reply) => [
        { status: 0x103, body: ERROR_BODY, flags: 3, asyncId: 4n },
        { ...reply, flags: 3, asyncId: 5n },
      ]),
    },
    says: "never put off",
  },
  {
    name: "a share that is no pipe share",
    on: { treeConnect: () => ({ body: pack([2, 16], [1, 1], [1, 0], [4, 0], [4, 0], [4, 0]) }) },
    says: "not a pipe share",
  },
  {
    name: "an answer with a wrong structure size",
    on: { treeConnect: () => ({ body: pack([2, 17], [1, 2], [1, 0], [4, 0], [4, 0], [4, 0]) }) },
    says: "structure size",
  },
  {
    name: "a handle that is cut off",
    on: { create: () => ({ body: pack([2, 89], [8, 0]) }) },
    says: "Create response",
  },
  {
    name: "a server that grants no credits",
    server: { credits: 0 },
    says: "no credits",
  },
  {
    name: "a negotiation that was changed on the way",
    server: { dialect: 0x0300 },
    on: { ioctl: (_, server) => ({ body: server.validateBody(0x0302) }) },
    says: "downgrade",
  },
  {
    name: "a validation of the negotiation that is denied",
    server: { dialect: 0x0210 },
    on: { ioctl: () => ({ status: 0xc0000022, body: ERROR_BODY }) },
    says: "downgrade",
  },
  {
    name: "a pipe that is not there",
    on: { create: () => ({ status: 0xc0000034, body: ERROR_BODY }) },
    says: "server running",
    code: "STATUS_OBJECT_NAME_NOT_FOUND",
  },
  {
    name: "a pipe that is denied",
    on: { create: () => ({ status: 0xc0000022, body: ERROR_BODY }) },
    says: "access is denied",
    code: "STATUS_ACCESS_DENIED",
    kind: AuthenticationError,
  },
  {
    name: "plain text in an encrypted session",
    server: { dialect: 0x0311, sessionFlags: 4 },
    on: { treeConnect: spoiled((reply) => ({ ...reply, protect: "sign" })) },
    says: "not encrypted",
  },
  {
    name: "a forged message in an encrypted session",
    server: { dialect: 0x0311, sessionFlags: 4 },
    on: { treeConnect: spoiled((reply) => ({ ...reply, tamper: flip(60) })) },
    says: "does not decrypt",
  },
  {
    name: "an encrypted message of another session",
    server: { dialect: 0x0311, sessionFlags: 4 },
    on: { treeConnect: spoiled((reply) => ({ ...reply, tamper: flip(44) })) },
    says: "another session",
  },
  {
    name: "an encrypted message that lies about its size",
    server: { dialect: 0x0311, sessionFlags: 4 },
    on: { treeConnect: spoiled((reply) => ({ ...reply, tamper: flip(36) })) },
    says: "header",
  },
  {
    name: "an encrypted message where there is no key",
    on: {
      negotiate: () => ({
        raw: concat(Uint8Array.of(0, 0, 0, 60, 0xfd, 0x53, 0x4d, 0x42), new Uint8Array(56)),
      }),
    },
    says: "no key",
  },
];

for (const { name, server: fake, on, options, says, kind = ConnectionError, code } of FAILURES) {
  Deno.test(`refused: ${name}`, async () => {
    await using server = new FakeServer({ ...fake, ...(on === undefined ? {} : { on }) });
    const error = await assertRejects(() => open(server, options), kind);
    assertStringIncludes(error.message, says);
    assert(error.code !== "ETIMEDOUT");
    if (code !== undefined) assertEquals(error.code, code);
    assert(error.cause instanceof Error);
    assert(!error.message.includes(FAKE_PASSWORD));
  });
}

/** An open pipe that has to break, and what its end says. */
const BREAKS: Readonly<Record<string, { read?: Handler; write?: Handler; says: string }>> = {
  "data past the end of its message": {
    read: () => ({ body: readBody(text("abc"), { length: 4 }) }),
    says: "Read response",
  },
  "more data than was asked for": {
    read: () => ({ body: readBody(new Uint8Array(0x10001)) }),
    says: "were asked for",
  },
  "data that begins inside the header": {
    read: () => ({ body: readBody(text("abc"), { offset: 40 }) }),
    says: "inside its header",
  },
  "data with a wrong signature": {
    read: () => ({ body: readBody(text("abc")), tamper: flip(HEADER + 17) }),
    says: "wrong signature",
  },
  "data without a signature": {
    read: () => ({ body: readBody(text("abc")), protect: "none" }),
    says: "not signed",
  },
  "large data with a wrong signature": {
    read: () => ({ body: readBody(new Uint8Array(60_000)), tamper: flip(50_000) }),
    says: "wrong signature",
  },
  "data that comes twice": {
    read: () => [{ body: readBody(text("abc")) }, { body: readBody(text("abc")) }],
    says: "sent twice",
  },
  "a connection that ends": { read: () => ({ hangUp: true }), says: "connection" },
  "a status that is no end": {
    read: () => ({ status: 0xc00000e5, body: ERROR_BODY }),
    says: "STATUS_INTERNAL_ERROR",
  },
  "more written than was sent": {
    write: () => ({ body: writeBody(6) }),
    says: "6 of 5 bytes",
  },
  "less written than was sent": {
    write: () => ({ body: writeBody(4) }),
    says: "4 of 5 bytes",
  },
};

for (const [name, { read, write, says }] of Object.entries(BREAKS)) {
  Deno.test(`an open pipe breaks: ${name}`, async () => {
    await using server = new FakeServer({
      dialect: 0x0311,
      on: { ...(read && { read }), ...(write && { write }) },
    });
    await using transport = await open(server);
    await transport.channel!.write(text("hello")).catch(() => {});
    const buffer = new Uint8Array(0x20000);
    const error = await assertRejects(async () => {
      while (await transport.channel!.read(buffer) !== null);
    }, Error);
    assertStringIncludes(error.message, says);
    assertEquals((await transport.status).reason, error);
    await assertRejects(async () => {
      for (;;) await transport.channel!.write(text("x"));
    }, Error);
  });
}

Deno.test("a status on a write fails the writes, and the pipe can still be read", async () => {
  await using server = new FakeServer({
    on: { write: () => ({ status: 0xc0000022, body: ERROR_BODY }) },
  });
  await using transport = await open(server);
  await assertRejects(
    async () => {
      for (;;) await transport.channel!.write(text("x"));
    },
    Error,
    "STATUS_ACCESS_DENIED",
  );
  server.feed(text("still"));
  const buffer = new Uint8Array(10);
  assertEquals(await transport.channel!.read(buffer), 5);
});

Deno.test("interim responses are waited for, and a message that is too large comes in parts", async () => {
  let reads = 0;
  await using server = new FakeServer({
    on: {
      read: async (request, server) => {
        const interim = { status: 0x103, body: ERROR_BODY, flags: 3, asyncId: BigInt(++reads) };
        await server.send(request, { ...interim, protect: "none" });
        await server.send(request, { ...interim, credits: 0 });
        const reply = await server.right(request);
        return { ...reply, flags: 3, asyncId: interim.asyncId, status: reply.status ?? 0x80000005 };
      },
    },
  });
  await using transport = await open(server);
  await echoes(transport);
  await echoes(transport);
});

Deno.test("an empty message of the pipe is not its end", async () => {
  let first = true;
  await using server = new FakeServer({
    on: {
      read: (request, server) => {
        if (!first) return server.right(request);
        first = false;
        return { body: readBody(new Uint8Array(0)) };
      },
    },
  });
  await using transport = await open(server);
  await echoes(transport);
});

for (const status of [0xc000014b, 0xc00000b0, 0xc0000011, 0xc00000b1]) {
  Deno.test(`0x${status.toString(16)} is the end of the pipe, not an error`, async () => {
    await using server = new FakeServer({ on: { read: () => ({ status, body: ERROR_BODY }) } });
    await using transport = await open(server);
    assertEquals(await new Response(transport.stdout).text(), "");
    assertEquals(await transport.status, { code: null, signal: null });
  });
}

for (const [name, wait] of Object.entries({ "can": 0, "cannot": 0xc0000010 })) {
  Deno.test(`a busy pipe is waited for on a server that ${name} wait`, async () => {
    let tries = 0;
    const waits: Uint8Array[] = [];
    await using server = new FakeServer({
      dialect: 0x0311,
      on: {
        create: (request, server) =>
          ++tries < 3 ? { status: 0xc00000ae, body: ERROR_BODY } : server.right(request),
        ioctl: (request) => {
          waits.push(request.body);
          if (wait !== 0) return { status: wait, body: ERROR_BODY };
          return {
            body: concat(
              pack([2, 49], [2, 0], [4, 0x00110018]),
              new Uint8Array(16).fill(255),
              pack([4, 0], [4, 0], [4, 0], [4, 0], [4, 0], [4, 0]),
            ),
          };
        },
      },
    });
    await using transport = await open(server);
    await echoes(transport);
    assertEquals(tries, 3);
    assertEquals(waits.length, wait === 0 ? 2 : 1);
    const name = new TextDecoder("utf-16le").decode(waits[0]!.subarray(56 + 14));
    assertEquals(name, "pushy");
  });
}

Deno.test("a pipe that stays busy ends with the time limit", async () => {
  await using server = new FakeServer({
    on: {
      create: () => ({ status: 0xc00000ae, body: ERROR_BODY }),
      ioctl: (request, server) =>
        server.commands.includes(COMMAND.create)
          ? { status: 0xc0000010, body: ERROR_BODY }
          : server.right(request),
    },
  });
  const error = await assertRejects(() => open(server, { connectTimeout: 300 }), ConnectionError);
  assertEquals([error.code, error.stage], ["ETIMEDOUT", "open"]);
});

for (const stage of ["negotiate", "authenticate", "open"] as const) {
  Deno.test(`a server that falls silent is left after the time limit (${stage})`, async () => {
    const command = {
      negotiate: "negotiate",
      authenticate: "sessionSetup",
      open: "create",
    } as const;
    await using server = new FakeServer({ on: { [command[stage]]: () => ({}) } });
    const error = await assertRejects(() => open(server, { connectTimeout: 200 }), ConnectionError);
    assertEquals([error.code, error.stage], ["ETIMEDOUT", stage]);
  });
}

Deno.test("a silent connection is asked for an echo, and is lost without an answer", async () => {
  let echoes = 0;
  await using server = new FakeServer({
    on: {
      echo: (request, server) => ++echoes < 4 ? server.right(request) : {},
    },
  });
  await using transport = await open(server, { echoInterval: 20 });
  const { reason } = await transport.status;
  assertStringIncludes(reason!.message, "silent");
  assertEquals(echoes, 4);
});

Deno.test("a server that does not answer the farewell is left all the same", async () => {
  await using server = new FakeServer({ on: { logoff: () => ({}), close: () => ({}) } });
  const transport = await open(server);
  assertEquals(await transport.close(), { code: null, signal: null });
});

Deno.test("options that are wrong are refused before anything is sent", async () => {
  await using server = new FakeServer();
  for (
    const wrong of [
      { address: "" },
      { address: "-oProxy" },
      { address: "host:0" },
      { address: "host:99999" },
      { address: "host\\share" },
      { address: "\\\\host\\share\\x" },
      { address: "me@host" },
      { address: "host name" },
      { address: "127.0.0.1", port: 0 },
      { pipe: "" },
      { pipe: "a/b" },
      { username: "me\0" },
      { username: "A\\me", domain: "B" },
      { anonymous: true },
      { anonymous: true, username: undefined, password: undefined, encrypt: true },
      { minDialect: "3.1.1", maxDialect: "2.1" } as const,
      { native: true },
    ]
  ) {
    await assertRejects(() => open(server, wrong), TypeError, undefined, JSON.stringify(wrong));
  }
  const error = await assertRejects(
    () => open(server, { password: undefined }),
    AuthenticationError,
  );
  assertStringIncludes(error.message, "no password");
  assertEquals(server.commands, []);
});

Deno.test("a port that is closed and a name that is unknown say so", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const who = { username: "u", password: "p" };
  const refused = await assertRejects(
    () => Popen([], { address: `127.0.0.1:${port}`, ...who }),
    ConnectionError,
  );
  assertEquals([refused.code, refused.stage], ["ECONNREFUSED", "connect"]);
  const unknown = await assertRejects(
    () => Popen([], { address: "no-such-host.invalid", ...who }),
    ConnectionError,
  );
  assertEquals([unknown.code, unknown.stage], ["ENOTFOUND", "connect"]);
});
