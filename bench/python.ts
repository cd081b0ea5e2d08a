/**
 * What a Python peer costs, with the floors measured in the same run:
 *
 * ```text
 * deno run -A bench/python.ts            connect, bulk, throughput, iteration
 * taskset -c 0 deno run -A bench/python.ts --latency    one call after the other, on one processor
 * ```
 *
 * `--python=/path` names the interpreter. Numbers are medians; only those of one run can be compared.
 *
 * @module
 */

import { connect, type Connection } from "../mod.ts";
import { agentBytes, agentRest } from "../runtime/bootstrap.ts";
import { runtimeOf } from "../runtime/runtimes.ts";

const interpreter = Deno.args.find((arg) => arg.startsWith("--python="))?.slice(9) ??
  "/usr/bin/python3";
const MIB64 = 64 << 20;

const ECHO = `import os
while True:
 b = os.read(0, 65536)
 if not b: break
 os.write(1, b)`;
const SEND = `import os
os.read(0, 1)
b = b"x" * 65536
s = 0
while s < ${MIB64}: s += os.write(1, b)
os.read(0, 1)`;
const SINK = `import os
s = 0
while s < ${MIB64}: s += len(os.read(0, 65536))
os.write(1, b"k")
os.read(0, 1)`;

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

function row(what: string, floor: string, here: string): void {
  console.log(`| ${what} | ${floor} | ${here} |`);
}

async function time(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function times(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < count; i++) all.push(await time(work));
  return all;
}

function raw(code: string): Deno.ChildProcess {
  return new Deno.Command(interpreter, {
    args: ["-c", code],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
}

async function end(child: Deno.ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await child.status;
}

const open = (): Promise<Connection<"python">> =>
  connect("local:", { runtime: "python", interpreter });

async function latency(): Promise<void> {
  const child = raw(ECHO);
  const writer = child.stdin.getWriter();
  const reader = child.stdout.getReader({ mode: "byob" });
  const bytes = new Uint8Array(32);
  let buffer = new Uint8Array(4096);
  const echo = async () => {
    await writer.write(bytes);
    buffer = (await reader.read(buffer)).value as typeof buffer;
    buffer = new Uint8Array(buffer.buffer);
  };
  const py = await open();
  const identity = await py.eval("lambda x: x");
  const many = await py.eval("lambda f, n: [f(i) for i in range(n)] and None");
  const callback = (x: number) => x;
  await times(3000, echo);
  await times(3000, () => identity(1));
  await many(callback, 3000);
  const floor: number[] = [];
  const call: number[] = [];
  const back: number[] = [];
  // In turns, so that whatever else the machine does meets both.
  for (let round = 0; round < 20; round++) {
    floor.push(median(await times(500, echo)));
    call.push(median(await times(500, () => identity(1))));
    back.push(await time(() => many(callback, 500)) / 500);
  }
  const us = (numbers: number[]) =>
    `${(median(numbers) * 1000).toFixed(1)} µs (best ${(Math.min(...numbers) * 1000).toFixed(1)})`;
  row("call, one after the other, p50", us(floor), us(call));
  row("callback", us(floor), us(back));
  await py.close();
  await end(child);
}

async function connecting(): Promise<void> {
  const floor: number[] = [];
  const here: number[] = [];
  for (let i = 0; i < 21; i++) {
    floor.push(
      await time(async () => {
        const child = raw("import os;os.write(1, b'x')");
        await child.stdout.getReader().read();
        await child.status;
        await child.stdin.close();
      }),
    );
    let py!: Connection<"python">;
    here.push(
      await time(async () => {
        py = await open();
        await py.eval("1 + 1");
      }),
    );
    await py.close();
  }
  const ms = (n: number) => `${n.toFixed(1)} ms`;
  row("connect and first result", ms(median(floor)), ms(median(here)));
  const packed = agentBytes(runtimeOf("python"), true);
  row("agent on the wire, compressed", "", `${packed.length} bytes`);
  const rest = agentRest(runtimeOf("python"), true)[1];
  row("what follows when it is first needed, in base64", "", `${rest.length} bytes`);
}

async function bulk(): Promise<void> {
  const py = await open();
  const identity = await py.eval("lambda x: x");
  const calls = () => Promise.all(Array.from({ length: 10_000 }, (_, i) => identity(i)));
  await calls();
  const rate = 1e7 / median(await times(7, calls));
  row("10,000 calls at once", "", `${Math.round(rate).toLocaleString("en")} /s`);

  const mb = (ms: number) => `${Math.round(MIB64 / 1e3 / ms)} MB/s`;
  const bytes = new Uint8Array(MIB64);
  const floorIn = await times(5, async () => {
    const child = raw(SINK);
    const writer = child.stdin.getWriter();
    for (let at = 0; at < MIB64; at += 65536) await writer.write(bytes.subarray(at, at + 65536));
    await child.stdout.getReader().read();
    await end(child);
  });
  const floorOut = await times(5, async () => {
    const child = raw(SEND);
    await child.stdin.getWriter().write(new Uint8Array(1));
    const reader = child.stdout.getReader({ mode: "byob" });
    let buffer = new Uint8Array(256 << 10);
    for (let size = 0; size < MIB64;) {
      const { value } = await reader.read(buffer);
      size += value!.length;
      buffer = new Uint8Array(value!.buffer);
    }
    await end(child);
  });
  const length = await py.builtins.len;
  await py.execute(`B = bytes(${MIB64})`);
  const give = await py.eval("lambda: B");
  row(
    "64 MiB of bytes to Python",
    mb(median(floorIn)),
    mb(median(await times(5, () => length(bytes)))),
  );
  row(
    "64 MiB of bytes from Python",
    mb(median(floorOut)),
    mb(median(await times(5, () => give()))),
  );

  const iteration = (source: string) =>
    times(5, async () => {
      let count = 0;
      for await (const _ of py.eval(source)) count++;
      if (count !== 500_000) throw new Error(`${count} items came`);
    });
  const items = (ms: number[]) => `${Math.round(5e8 / median(ms)).toLocaleString("en")} items/s`;
  row("iteration over a range", "", items(await iteration("range(500000)")));
  row("iteration over a generator", "", items(await iteration("(i for i in range(500000))")));
  await py.close();
}

console.log(`| ${interpreter} | floor | here |\n|---|---|---|`);
if (Deno.args.includes("--latency")) {
  await latency();
} else {
  await connecting();
  await bulk();
}
