/**
 * A second interpreter on this machine: what every other example does over a network.
 *
 * ```sh
 * deno run --allow-run=sh --allow-sys=hostname --allow-read=. --allow-write=. examples/local.ts
 * ```
 *
 * @module
 */

import { connect } from "../mod.ts";

console.log("here: ", Deno.hostname(), "process", Deno.pid);

await using con = await connect("local:");
const { os, process } = con.modules;
console.log("there:", await os.hostname(), "process", await process.pid);
console.log("its parent is this process:", await process.ppid === Deno.pid);

// An expression, evaluated there.
console.log("eval:", await con.eval("[1, 2, 3].map((n) => n * n)"));

// Statements: what they declare stays, in a scope of one's own.
const scope = con.scope({ x: 20 });
await con.execute("const y = x + 1; function twice(n) { return 2 * n }", scope);
console.log("execute:", await scope.twice!(scope.y));

// A function of this file, run wholly on the other side.
const countPrimes = await con.compile((limit: number) => {
  let count = 0;
  for (let n = 2; n < limit; n++) {
    let prime = true;
    for (let d = 2; d * d <= n && prime; d++) prime = n % d !== 0;
    if (prime) count++;
  }
  return count;
});
console.log("compile:", await countPrimes(10_000), "primes below 10000");

// A function of this side, called from the other.
const visit = await con.compile(async (names: string[], tell: (name: string) => void) => {
  for (const name of names) await tell(name.toUpperCase());
});
await visit(["ada", "grace"], (name) => console.log("callback:", name));

// A file, there and back.
await Deno.writeTextFile("example.txt", "copied twice\n");
await con.putfile("example.txt", "example.copy.txt");
await con.getfile("example.copy.txt", "example.back.txt");
console.log("files:", (await Deno.readTextFile("example.back.txt")).trim());
for (const name of ["example.txt", "example.copy.txt", "example.back.txt"]) await Deno.remove(name);
