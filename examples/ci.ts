/**
 * What a script in CI does: deploys a file, runs a check where it was deployed, and fails with the error from there.
 *
 *     deno run -A examples/ci.ts [target]
 *
 * The exit status is 1 if the check fails, and the log shows where on the other machine.
 */

import { connect, RemoteError } from "../mod.ts";

const target = Deno.args[0] ?? "local:";
const config = Deno.args[1] ?? '{ "port": 8080 }';

// A runner must not wait for ever: neither for the host, nor for the check.
await using con = await connect(target, { connectTimeout: 20_000 });
const checked = con.with({ timeout: 30_000 });

const local = await Deno.makeTempFile();
await Deno.writeTextFile(local, config);
const remote = await con.eval<string>("Deno.makeTempFileSync()");
await con.putfile(local, remote, { checksum: "sha256" });
await Deno.remove(local);

// A promise of a function can be called as it is; its calls have the time limit of what made it.
const check = checked.compile((path: string) => {
  const { port } = JSON.parse(Deno.readTextFileSync(path));
  if (!(port > 0)) throw new RangeError(`The port is ${port}`);
  return port as number;
});

let status = 0;
try {
  console.log(`deployed, port ${await check(remote)}`);
} catch (error) {
  if (!(error instanceof RemoteError)) throw error;
  console.error(`the check failed on ${target}: ${error.stack}`);
  status = 1;
}
await con.globals.Deno.remove(remote);
await con.close();
Deno.exit(status);
