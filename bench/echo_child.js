// The floor: a process that sends back what it reads, as an agent would read and write.
const [mode, size] = Deno.args;
const total = Number(size ?? 0);
if (mode === "echo") {
  const { Socket } = await import("node:net");
  const socket = new Socket({ fd: 0, readable: true, writable: false });
  socket.on("data", (bytes) => {
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  });
} else if (mode === "first") {
  const buffer = new Uint8Array(64);
  const length = Deno.stdin.readSync(buffer);
  Deno.stdout.writeSync(buffer.subarray(0, length));
  Deno.stdin.readSync(buffer);
} else if (mode === "send") {
  const buffer = new Uint8Array(64 << 10).fill(7);
  await Deno.stdin.read(buffer.subarray(0, 1));
  for (let sent = 0; sent < total;) sent += await Deno.stdout.write(buffer);
  await Deno.stdin.read(buffer);
} else if (mode === "sink") {
  const buffer = new Uint8Array(64 << 10);
  for (let read = 0; read < total;) read += await Deno.stdin.read(buffer);
  await Deno.stdout.write(buffer.subarray(0, 1));
  await Deno.stdin.read(buffer);
}
