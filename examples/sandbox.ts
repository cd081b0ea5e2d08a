/**
 * Runs code that is not trusted in a Deno that may do nothing but what is named, and no longer than it may.
 *
 *     deno run -A examples/sandbox.ts [target]
 */

import { connect, RemoteError } from "../mod.ts";

await using con = await connect(Deno.args[0] ?? "local:", {
  permissions: { read: ["/etc/hostname"], net: false },
  // What it prints is nobody's business here.
  stdout: "null",
  stderr: "null",
});

async function attempt(what: string, code: string): Promise<void> {
  try {
    const value = await con.with({ timeout: 2000 }).eval(code);
    console.log(`${what}: ${value}`);
  } catch (error) {
    const name = error instanceof RemoteError ? error.type : (error as Error).name;
    console.log(`${what}: refused, ${name}`);
  }
}

await attempt("to calculate", "[1, 2, 3].reduce((a, b) => a + b)");
await attempt("to read a password file", 'Deno.readTextFileSync("/etc/shadow")');
await attempt("to reach the network", "Deno.connect({ port: 1 })");
await attempt("to run a program", 'new Deno.Command("id").outputSync().code');
await attempt("to look at the environment", "Deno.env.toObject()");
await attempt("to wait for ever", "new Promise(() => {})");
