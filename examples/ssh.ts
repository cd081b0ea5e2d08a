/**
 * Looks after another machine: what it is, what is full, and one file that has to be there.
 *
 *     deno run -A examples/ssh.ts web1                     # an alias, or [user@]host[:port]
 *     deno run -A examples/ssh.ts web1 node                # where there is no Deno, but Node or Bun
 *
 * The host needs an SSH daemon and that interpreter. Nothing is installed there.
 */

import { AuthenticationError, connect, HostKeyError, type RuntimeName } from "../mod.ts";

const [host, runtime = "deno"] = Deno.args;
if (host === undefined) {
  console.error("Name a host: deno run -A examples/ssh.ts web1");
  Deno.exit(2);
}

await using con = await connect(`ssh:${host}`, { runtime: runtime as RuntimeName }).catch(
  (error) => {
    // The message says what was tried and what to do about it; a program can tell the reasons apart.
    if (error instanceof HostKeyError) console.error("The host is not the one that was known:");
    if (error instanceof AuthenticationError) console.error("Nobody was let in:");
    console.error(error.message);
    Deno.exit(1);
  },
);

// Many questions, asked at once: they travel together.
const { fs, os, path } = con.modules;
const [name, system, memory, cores] = await Promise.all([
  os.hostname(),
  os.release(),
  os.totalmem(),
  os.cpus().length,
]);
console.log(`${name}: release ${system}, ${cores} cores, ${Math.round(memory / 2 ** 30)} GiB`);

// A function of this file that runs wholly there: one round trip, however much it looks at.
const usage = await con.compile(async (folders: string[]) => {
  const { statfs } = await import("node:fs/promises");
  const found: [folder: string, used: number][] = [];
  for (const folder of folders) {
    const { blocks, bfree } = await statfs(folder);
    found.push([folder, Math.round(100 * (1 - bfree / Math.max(1, blocks)))]);
  }
  return found;
});
for (const [folder, used] of await usage(["/", "/tmp"])) console.log(`${folder} is ${used}% full`);

// A file goes there as a whole or not at all.
const note = await Deno.makeTempFile();
await Deno.writeTextFile(note, "all is well\n");
const there = await path.join(os.tmpdir(), `pushy-note-${crypto.randomUUID()}`);
await con.putfile(note, there);
console.log("the note says:", (await fs.readFileSync(there, "utf8")).trim());
await fs.unlinkSync(there);
await Deno.remove(note);
