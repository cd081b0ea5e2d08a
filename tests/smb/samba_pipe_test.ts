import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  acceptSambaPipe,
  isAllowed,
  NotAdmittedError,
  readSambaRequest,
  sambaReply,
  type SambaUser,
} from "../../server/samba_pipe.ts";
import { concat, MalformedError } from "../../transport/smb/cursor.ts";
import { hex } from "./hex.ts";

/** What smbd 4.17 said of the user root; the session key is blanked. */
const RECORDED = hex(`
  000002d94e50414d07000000070000000100000000000200040002008ad40000080002000c0002007d5f000010000200
  030000000000000003000000766d00000a000000000000000a0000003132372e302e302e310000000300000000000000
  03000000766d00000a000000000000000a0000003132372e302e302e310000001400020000000000180002001c000200
  200002002400020000000000100000000000000000000000000000000000000000000000eac49d74505ec44384bcd818
  04393ffa000000000800000008000000010500000000000515000000d509bc25a324e2ba2973695ae803000001050000
  0000000515000000d509bc25a324e2ba2973695a01020000010200000000001602000000000000000101000000000001
  0000000001010000000000050200000001010000000000050b0000000102000000000016010000000000000001020000
  000000162485a97900000000000000000000000000000000000000000100000000000000000000000000000000000000
  010000000000000000000000000000002800020000000000000000002c00020000000000300002003400020038000200
  3c00020040000200440002000000000000000000ffffffffffffff7fffffffffffffff7f80d826d7817add0180d826d7
  817add01ffffffffffffff7f000000001000000001000000050000000000000005000000726f6f740000000009000000
  0000000009000000505553485953525600000000050000000000000005000000726f6f74000000000100000000000000
  01000000000000001800000000000000180000005c5c50555348595352565c726f6f745c70726f66696c650010000000
  00000000100000005c5c50555348595352565c726f6f7400010000000000000001000000000000000900000000000000
  09000000505553485953525600000000480002004c000200050000000000000005000000726f6f740000000005000000
  0000000005000000726f6f7400
`);

const ROOT: SambaUser = {
  account: "root",
  domain: "PUSHYSRV",
  unixName: "root",
  sid: "S-1-5-21-633080277-3135382691-1516860201-1000",
  authenticated: true,
  clientAddress: "127.0.0.1",
};

/** The recording as level 8 has it: claims and devices in the token. */
function level8(claims = 0): Uint8Array<ArrayBuffer> {
  const request = RECORDED.slice();
  // The token's rights end at 0x16c; the number of groups follows, then what is aligned to 8 bytes.
  const token = new Uint8Array(4 * 4 + 4 * 4 + 4);
  token[0] = claims;
  token[32] = 1;
  const all = concat(
    request.subarray(0, 0x16c),
    token,
    request.subarray(0x16c, 0x170),
    new Uint8Array(4),
    request.subarray(0x170),
  );
  const view = new DataView(all.buffer);
  view.setUint32(0, all.length - 4);
  view.setUint32(8, 8, true);
  view.setUint32(12, 8, true);
  return all;
}

Deno.test("the handshake of smbd names the user", () => {
  assertEquals(readSambaRequest(RECORDED), ROOT);
});

Deno.test("a handshake that is cut off or is none is refused", () => {
  for (let size = 0; size < RECORDED.length - 30; size++) {
    assertThrows(() => readSambaRequest(RECORDED.slice(0, size)), MalformedError);
  }
  for (const at of [4, 8, 12]) {
    const request = RECORDED.slice();
    request[at]! ^= 0x11;
    assertThrows(() => readSambaRequest(request), MalformedError);
  }
});

Deno.test("a handshake with any byte changed ends in a user or in an error, at once", () => {
  for (let at = 0; at < RECORDED.length; at++) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const request = RECORDED.slice();
      request[at] = value;
      try {
        readSambaRequest(request);
      } catch (error) {
        assert(error instanceof MalformedError);
      }
    }
  }
});

Deno.test("level 8 of the handshake is read too, without claims", () => {
  assertEquals(readSambaRequest(level8()), ROOT);
  assertThrows(() => readSambaRequest(level8(1)), MalformedError, "claims");
});

Deno.test("a user is allowed by name, by domain and name, and by identifier", () => {
  for (const name of ["root", "PUSHYSRV\\root", "pushysrv\\ROOT", ROOT.sid]) {
    assert(isAllowed(ROOT, ["other", name]), name);
  }
  for (const name of ["", "Root", "OTHER\\root", "\\root", "S-1-5-21-1", "PUSHYSRV"]) {
    assert(!isAllowed(ROOT, [name]), name);
  }
  assert(!isAllowed(ROOT, []));
  assert(!isAllowed({ ...ROOT, authenticated: false }, ["root"]));
  // Another domain's account of that name, which this system knows under another one.
  assert(!isAllowed({ ...ROOT, domain: "X", unixName: "X\\root" }, ["root"]));
});

/** Both ends of a Unix socket. */
async function pair(): Promise<
  { here: Deno.Conn; there: Deno.Conn; [Symbol.asyncDispose](): Promise<void> }
> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/np`;
  using listener = Deno.listen({ transport: "unix", path });
  const [here, there] = await Promise.all([
    listener.accept(),
    Deno.connect({ transport: "unix", path }),
  ]);
  return {
    here,
    there,
    async [Symbol.asyncDispose]() {
      for (const conn of [here, there]) {
        try {
          conn.close();
        } catch {
          // The code under test has closed it.
        }
      }
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function readAll(conn: Deno.Conn): Promise<number> {
  let size = 0;
  const buffer = new Uint8Array(1000);
  try {
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) size += n;
  } catch {
    // A reset is an end too.
  }
  return size;
}

Deno.test("an admitted user gets an answer, and then the bytes", async () => {
  await using ends = await pair();
  const { here, there } = ends;
  // In pieces, as a stream may deliver it, and with the first bytes of the pipe behind it.
  const sending = (async () => {
    for (let at = 0; at < RECORDED.length; at += 100) {
      await there.write(RECORDED.subarray(at, at + 100));
    }
    await there.write(Uint8Array.of(42));
  })();
  const { user, conn } = await acceptSambaPipe(here, {
    admit: (user) => isAllowed(user, ["root"]),
  });
  await sending;
  assertEquals(user, ROOT);
  const reply = new Uint8Array(36);
  assertEquals(await there.read(reply), 36);
  assertEquals(reply, sambaReply(7));
  assertEquals(
    reply,
    hex("000000204e50414d07000000070000000100ff05000000000010000000000000" + "00000000"),
  );
  const first = new Uint8Array(8);
  assertEquals(await conn.read(first), 1);
  assertEquals(first[0], 42);
});

Deno.test("a user who is not admitted gets no answer", async () => {
  await using ends = await pair();
  const { here, there } = ends;
  await there.write(RECORDED);
  const error = await assertRejects(
    () => acceptSambaPipe(here, { admit: () => Promise.resolve(false) }),
    NotAdmittedError,
  );
  assertEquals(error.user, ROOT);
  assertEquals(await readAll(there), 0);
});

Deno.test("level 8 is answered with level 8", async () => {
  await using ends = await pair();
  const { here, there } = ends;
  await there.write(level8());
  await acceptSambaPipe(here, { admit: () => true });
  const reply = new Uint8Array(36);
  await there.read(reply);
  assertEquals([reply[8], reply[12]], [8, 8]);
});

for (
  const [name, bytes] of Object.entries({
    "a length of 2 GB": Uint8Array.of(127, 255, 255, 255),
    "a length of nothing": new Uint8Array(8),
    "another protocol": new TextEncoder().encode("\0\0\0\x10GET / HTTP/1.1\r\n"),
  })
) {
  Deno.test(`the server's end refuses ${name}`, async () => {
    await using ends = await pair();
    await ends.there.write(bytes);
    await assertRejects(() => acceptSambaPipe(ends.here, { admit: () => true }), MalformedError);
    assertEquals(await readAll(ends.there), 0);
  });
}

Deno.test("a handshake that ends early, or does not go on, is an error", async () => {
  {
    await using ends = await pair();
    await ends.there.write(RECORDED.subarray(0, 50));
    ends.there.close();
    await assertRejects(() => acceptSambaPipe(ends.here, { admit: () => true }), Error, "ended");
  }
  await using ends = await pair();
  await ends.there.write(RECORDED.subarray(0, 50));
  await assertRejects(
    () => acceptSambaPipe(ends.here, { admit: () => true, timeout: 50 }),
    Error,
    "not complete after 50 ms",
  );
  assertEquals(await readAll(ends.there), 0);
});
