/**
 * The smb transport through a real smbd on this machine: the time of an echo of 64 bytes, and the
 * rate at which bytes come back, signed and encrypted, beside Impacket's.
 *
 *     deno run -A bench/smb.ts
 *
 * It needs Samba and root; Impacket is measured where it is installed.
 *
 * @module
 */

import { acceptSambaPipe } from "../server/samba_pipe.ts";
import { findImpacket, runImpacket } from "../tests/smb/impacket.ts";
import { echo, PASSWORD, Samba, SAMBA_MISSING, USER } from "../tests/smb/samba.ts";
import type { ByteChannel } from "../transport/popen.ts";
import { Popen, type SmbOptions } from "../transport/smb.ts";

const ECHOES = 3000;
const BYTES = 256 << 20;

/** What is behind the pipe, in a process of its own so that both clients meet the same. */
async function serve(socket: string): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: socket });
  await Deno.stdout.write(new Uint8Array(1));
  for await (const conn of listener) {
    acceptSambaPipe(conn, { admit: () => true }).then(({ conn }) => echo(conn)).catch(() => {});
  }
}

async function echoTime(channel: ByteChannel): Promise<number> {
  const message = new Uint8Array(64);
  const buffer = new Uint8Array(64);
  const times: number[] = [];
  for (let i = 0; i < ECHOES; i++) {
    const begin = performance.now();
    await channel.write(message);
    for (let got = 0; got < 64;) got += (await channel.read(buffer)) ?? 64;
    times.push((performance.now() - begin) * 1000);
  }
  return times.sort((a, b) => a - b)[ECHOES / 2]!;
}

async function rate(channel: ByteChannel): Promise<number> {
  const chunk = new Uint8Array(1 << 20);
  const buffer = new Uint8Array(1 << 20);
  const begin = performance.now();
  const writing = (async () => {
    for (let sent = 0; sent < BYTES; sent += chunk.length) await channel.write(chunk);
  })();
  for (let got = 0; got < BYTES;) {
    const n = await channel.read(buffer);
    if (n === null) throw new Error("The pipe ended");
    got += n;
  }
  await writing;
  return BYTES / 1000 / (performance.now() - begin);
}

async function measure(samba: Samba, name: string, options: Partial<SmbOptions>): Promise<void> {
  await using transport = await Popen([], {
    address: `127.0.0.1:${samba.port}`,
    username: USER,
    password: PASSWORD,
    ...options,
  });
  const channel = transport.channel!;
  await echoTime(channel);
  print(name, await echoTime(channel), await rate(channel));
}

function print(name: string, p50: number, rate: number): void {
  console.log(
    `${name.padEnd(34)} echo p50 ${p50.toFixed(0).padStart(6)} µs   ${
      rate.toFixed(0).padStart(5)
    } MB/s`,
  );
}

async function main(): Promise<void> {
  if (SAMBA_MISSING !== undefined) return;
  await using samba = await Samba.start({ silent: true });
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename!, "--serve", samba.socket],
    stdout: "piped",
  }).spawn();
  try {
    await child.stdout.getReader().read();
    await measure(samba, "3.1.1 signed (AES-GMAC)", {});
    await measure(samba, "3.0 signed (AES-CMAC)", { maxDialect: "3.0" });
    await measure(samba, "2.1 signed (HMAC-SHA256)", { maxDialect: "2.1" });
    await measure(samba, "3.1.1 encrypted (AES-128-GCM)", { encrypt: true });
    await measure(samba, "3.0 encrypted (AES-128-CCM)", { encrypt: true, maxDialect: "3.0" });
    const impacket = await findImpacket();
    if ("missing" in impacket) return console.log(`Impacket: ${impacket.missing}`);
    const { p50, rate } = await runImpacket(impacket.python, samba.port, USER, PASSWORD, {
      echoes: 500,
      blobs: 400,
    });
    print("Impacket", p50!, rate!);
  } finally {
    child.kill("SIGTERM");
    await child.status;
  }
}

if (import.meta.main) {
  if (Deno.args[0] === "--serve") await serve(Deno.args[1]!);
  else await main();
}
