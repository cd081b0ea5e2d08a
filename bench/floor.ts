/**
 * The floors: raw bytes between this process and a child, without any protocol.
 *
 * @module
 */

import { latencies, percentile, rate } from "./measure.ts";

const child = decodeURIComponent(new URL("./echo_child.js", import.meta.url).pathname);

/** A raw child, and its streams. */
export function spawnRaw(...args: string[]) {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", child, ...args],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  const reader = process.stdout.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(128 << 10);
  return {
    write: (bytes: Uint8Array) => writer.write(bytes),
    /** `keep` gets the bytes, which are valid during its call. */
    async read(keep?: (bytes: Uint8Array) => unknown): Promise<number> {
      const { value } = await reader.read(new Uint8Array(buffer));
      buffer = value!.buffer as ArrayBuffer;
      keep?.(value!);
      return value!.length;
    },
    async end(): Promise<void> {
      process.kill("SIGKILL");
      await process.status;
      await reader.cancel().catch(() => {});
      await writer.abort().catch(() => {});
    },
  };
}

/** Milliseconds from the spawn to the first echo. */
export async function firstEcho(): Promise<number> {
  const start = performance.now();
  const raw = spawnRaw("first");
  void raw.write(new Uint8Array(32));
  await raw.read();
  const time = performance.now() - start;
  await raw.end();
  return time;
}

/** The median of a 32-byte echo, in microseconds, and echoes a second if 10,000 are sent at once. */
export async function echo(): Promise<{ p50: number; atOnce: number }> {
  const raw = spawnRaw("echo");
  const bytes = new Uint8Array(32);
  const times = await latencies(async () => {
    void raw.write(bytes);
    await raw.read();
  });
  const start = performance.now();
  const writing = (async () => {
    for (let i = 0; i < 10_000; i++) await raw.write(bytes);
  })();
  for (let read = 0; read < 320_000;) read += await raw.read();
  await writing;
  const atOnce = 10_000 / (performance.now() - start) * 1e3;
  await raw.end();
  return { p50: percentile(times, 50), atOnce };
}

/**
 * Bytes from the child, in MB/s. Whoever uses them needs them in memory of their own: each piece, or all of them in one
 * array.
 */
export async function receive(size: number, kept?: "pieces" | "whole"): Promise<number> {
  const raw = spawnRaw("send", String(size));
  await new Promise((resolve) => setTimeout(resolve, 200));
  const start = performance.now();
  await raw.write(new Uint8Array(1));
  let read = 0;
  const whole = kept === "whole" ? new Uint8Array(size) : undefined;
  const keep = kept && ((bytes: Uint8Array) => whole ? whole.set(bytes, read) : bytes.slice());
  while (read < size) read += await raw.read(keep);
  const speed = rate(size, performance.now() - start);
  await raw.end();
  return speed;
}

/** Bytes to the child, in MB/s. */
export async function send(size: number): Promise<number> {
  const raw = spawnRaw("sink", String(size));
  await new Promise((resolve) => setTimeout(resolve, 200));
  const piece = new Uint8Array(256 << 10);
  const start = performance.now();
  for (let sent = 0; sent < size; sent += piece.length) await raw.write(piece);
  await raw.read();
  const speed = rate(size, performance.now() - start);
  await raw.end();
  return speed;
}
