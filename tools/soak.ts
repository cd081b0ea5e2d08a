/**
 * A long run of mixed load over one connection: `deno task soak [minutes]`. Prints memory and references as it goes;
 * at the end both should be where they began.
 *
 * @module
 */

import { connect, release } from "../mod.ts";

const minutes = Number(Deno.args[0] ?? 10);
const end = performance.now() + minutes * 60_000;
await using con = await connect("local:");
await con.execute(`
  class Thing { constructor(n) { this.n = n } twice() { return 2 * this.n } }
  const thing = (n) => new Thing(n);
  function* count(n) { for (let i = 0; i < n; i++) yield { i }; }
  const back = async (callback, n) => { for (let i = 0; i < n; i++) await callback(i); return n };
  const make = (n) => new ReadableStream({ start(c) { for (let i = 0; i < n; i++) c.enqueue(new Uint8Array(10000)); c.close(); } });
  const echo = (x) => x;
  const fail = (m) => { throw new TypeError(m) };
  const forever = () => new Promise(() => {});
`);
// deno-lint-ignore no-explicit-any
const it = await con.eval("({ thing, count, back, make, echo, fail, forever })") as any;

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
    for await (const _ of await it.make(100) as ReadableStream);
  },
  errors: () => it.fail("on purpose").catch(() => {}),
  cancelled: async () => {
    const quick = con.with({ timeout: 5 });
    await quick.eval("new Promise(() => {})").catch(() => {});
  },
  large: async () => {
    const bytes = await it.echo(new Uint8Array(3_000_000)) as Uint8Array;
    if (bytes.length !== 3_000_000) throw new Error("bytes were lost");
  },
};

const report = async (rounds: number) => {
  const here = Math.round(Deno.memoryUsage().rss / 2 ** 20);
  const there = await con.eval<number>("Math.round(Deno.memoryUsage().rss / 2 ** 20)");
  const { localRefs, remoteRefs, pending } = con.stats;
  console.log(JSON.stringify({ rounds, here, there, localRefs, remoteRefs, pending }));
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
