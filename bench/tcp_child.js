// The other end of the floors over TCP: what the first byte asks for, without any protocol.
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);

async function writeAll(conn, bytes) {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

async function serve(conn) {
  conn.setNoDelay(true);
  const buffer = new Uint8Array(128 << 10);
  await conn.read(buffer.subarray(0, 1));
  const size = 64 << 20;
  if (buffer[0] === 101) {
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      await writeAll(conn, buffer.subarray(0, n));
    }
  } else if (buffer[0] === 115) {
    const piece = new Uint8Array(64 << 10);
    for (let sent = 0; sent < size; sent += piece.length) await writeAll(conn, piece);
  } else if (buffer[0] === 100) {
    let got = 0;
    for await (const bytes of conn.readable) {
      got += bytes.length;
      if (got < size) continue;
      await conn.write(new Uint8Array(1));
      break;
    }
  } else {
    for (let got = 0; got < size;) got += await conn.read(buffer);
    await conn.write(new Uint8Array(1));
  }
}

for await (const conn of listener) {
  serve(conn).catch(() => {}).finally(() => {
    try {
      conn.close();
    } catch {
      // Its stream has closed it.
    }
  });
}
