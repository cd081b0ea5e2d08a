/**
 * Functions go both ways: the other side calls what is passed to it.
 *
 *     deno run -A examples/callbacks.ts [target]
 */

import { byRef, connect } from "../mod.ts";

await using con = await connect(Deno.args[0] ?? "local:");

// A function at any depth of an argument can be called there, for as long as it is held.
const search = await con.compile(
  async (options: { from: number; to: number; found: (n: number) => unknown }) => {
    for (let n = options.from; n < options.to; n++) {
      let isPrime = n > 1;
      for (let d = 2; d * d <= n; d++) if (n % d === 0) isPrime = false;
      if (isPrime) await options.found(n);
    }
  },
);
const primes: number[] = [];
await search({ from: 10, to: 30, found: (n: number) => primes.push(n) });
console.log("primes:", primes.join(" "));

// An instance of a class goes by reference: its public methods can be called there, and nothing else of it.
class Meter {
  #total = 0;
  add(amount: number): number {
    return this.#total += amount;
  }
}
const use = await con.compile(async (meter: Meter) => {
  await meter.add(40);
  return await meter.add(2);
});
console.log("meter:", await use(new Meter()));

// Fields are closed, unless they are opened by name.
const options = { verbose: false };
const turnOn = await con.compile((o: { verbose: boolean }) => {
  o.verbose = true;
});
await turnOn(byRef(options, { fields: true, writable: true }));
console.log("verbose:", options.verbose);
