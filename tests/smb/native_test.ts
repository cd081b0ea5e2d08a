import { connect } from "node:net";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { openNativePipe } from "../../transport/smb/native.ts";
import { nativeTransport } from "../../transport/smb/native.ts";
import { ConnectionError } from "../../transport/errors.ts";

/** A socket of `node:net` on a listener that `serve` serves; a pipe by path is one on Windows. */
async function withSocket(
  serve: (conn: Deno.Conn) => Promise<void>,
  use: (transport: ReturnType<typeof nativeTransport>) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/pipe`;
    using listener = Deno.listen({ transport: "unix", path });
    const served = listener.accept().then(async (conn) => {
      using open = conn;
      await serve(open);
    });
    const socket = connect(path);
    await new Promise((resolve) => socket.once("connect", resolve));
    await using transport = nativeTransport("host", socket);
    await use(transport);
    await transport.close();
    await served;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a pipe opened by path: bytes go both ways, and its end is the end", async () => {
  await withSocket(async (conn) => {
    const buffer = new Uint8Array(100);
    const n = await conn.read(buffer);
    await conn.write(buffer.subarray(0, n!));
  }, async (transport) => {
    const writer = transport.stdin.getWriter();
    await writer.write(new TextEncoder().encode("hello"));
    assertEquals(await new Response(transport.stdout).text(), "hello");
    assertEquals(await new Response(transport.stderr).text(), "");
    assertEquals(transport.security, null);
    assertEquals(await transport.close(), { code: null, signal: null });
  });
});

Deno.test("a pipe that is not there is an error that names its path", async () => {
  if (Deno.build.os === "windows") return;
  const error = await assertRejects(
    () => openNativePipe({ address: "host" }, "host", "absent"),
    ConnectionError,
    "\\\\host\\pipe\\absent",
  );
  assert(error.message.includes("server running"));
});

Deno.test("a pipe opened by path takes no other user, and cannot be asked to encrypt", async () => {
  for (
    const wrong of [{ username: "u" }, { password: "p" }, { anonymous: true }, { encrypt: true }]
  ) {
    await assertRejects(() => openNativePipe({ address: "h", ...wrong }, "h", "p"), TypeError);
  }
});
