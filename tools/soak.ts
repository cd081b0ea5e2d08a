/**
 * A long run of mixed load over a connection of each runtime: `deno task soak [minutes] [runtime…]`, by default ten
 * minutes of Deno and Python at once. Prints memory and references as it goes; at the end both should be where they
 * began.
 *
 * @module
 */

import { connect, release, type RuntimeName } from "../mod.ts";

const JAVASCRIPT = `({
  thing: (n) => new (class Thing { constructor(n) { this.n = n } twice() { return 2 * this.n } })(n),
  count: function* (n) { for (let i = 0; i < n; i++) yield { i }; },
  back: async (callback, n) => { for (let i = 0; i < n; i++) await callback(i); return n },
  make: (n) => new ReadableStream({ start(c) { for (let i = 0; i < n; i++) c.enqueue(new Uint8Array(10000)); c.close(); } }),
  echo: (x) => x,
  fail: (m) => { throw new TypeError(m) },
  memory: () => process.memoryUsage().rss / 2 ** 20,
})`;

const PYTHON = `
import threading
class Thing:
    def __init__(self, n): self.n = n
    def twice(self): return 2 * self.n
def thing(n): return Thing(n)
def count(n):
    for i in range(n): yield {"i": i}
def back(callback, n):
    for i in range(n): callback(i)
    return n
def make(n):
    for i in range(n): yield bytes(10000)
def echo(x): return x
def fail(m): raise TypeError(m)
def wait():
    while True: threading.Event().wait(0.01)
def memory():
    with open("/proc/self/statm") as f: return int(f.read().split()[1]) / 256
`;

// What remote code makes has no types here.
// deno-lint-ignore no-explicit-any
type Anything = any;

const minutes = Number(Deno.args[0] ?? 10);
const runtimes = (Deno.args.length > 1 ? Deno.args.slice(1) : ["deno", "python"]) as RuntimeName[];
const end = performance.now() + minutes * 60_000;
await Promise.all(runtimes.map(soak));

async function soak(runtime: RuntimeName): Promise<void> {
  await using con = await connect("local:", { runtime }) as Anything;
  const it = runtime === "python" ? con.scope() : await con.eval(JAVASCRIPT);
  if (runtime === "python") await con.execute(PYTHON, it);

  const work: Record<string, () => Promise<unknown>> = {
    calls: () =>
      Promise.all(Array.from({ length: 200 }, (_, i) => it.echo({ i, text: "x".repeat(i) }))),
    references: async () => {
      for (let i = 0; i < 50; i++) {
        const thing = await it.thing(i);
        if (await thing.twice() !== 2 * i) throw new Error("a wrong answer");
        if (i % 2) release(thing);
      }
    },
    callbacks: () => it.back((n: number) => n, 100),
    iteration: async () => {
      let n = 0;
      for await (const _ of it.count(5000)) if (++n === 4000) break;
    },
    streams: async () => {
      let n = 0;
      for await (const bytes of await it.make(100)) n += bytes.length;
      if (n !== 1_000_000) throw new Error(`a stream of ${n} bytes`);
    },
    errors: () => it.fail("on purpose").catch(() => {}),
    cancelled: () => {
      const quick = con.with({ timeout: 5 });
      return (runtime === "python" ? quick.eval("wait()", it) : quick.eval("new Promise(() => {})"))
        .catch(() => {});
    },
    large: async () => {
      const bytes = await it.echo(new Uint8Array(3_000_000)) as Uint8Array;
      if (bytes.length !== 3_000_000) throw new Error("bytes were lost");
    },
  };

  const report = async (rounds: number) => {
    const here = Math.round(Deno.memoryUsage().rss / 2 ** 20);
    const there = Math.round(await it.memory());
    const { localRefs, remoteRefs, pending } = con.stats;
    console.log(JSON.stringify({ runtime, rounds, here, there, localRefs, remoteRefs, pending }));
  };

  let rounds = 0;
  let next = 0;
  while (performance.now() < end) {
    await Promise.all(Object.values(work).map((one) => one()));
    rounds++;
    if (performance.now() > next) {
      next = performance.now() + minutes * 60_000 / 10;
      await report(rounds);
    }
  }
  await report(rounds);
}
