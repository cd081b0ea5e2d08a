/**
 * Copies a folder to another machine and back, with progress and checksums.
 *
 *     deno run -A examples/files.ts [target]        # "local:" if none is given; "ssh:web1"
 */

import { connect, CopyError } from "../mod.ts";

const folder = await Deno.makeTempDir();
await Deno.mkdir(`${folder}/site/images`, { recursive: true });
await Deno.writeTextFile(`${folder}/site/index.html`, "<h1>Hello</h1>\n");
await Deno.writeFile(`${folder}/site/images/dot.raw`, new Uint8Array(2_000_000));

await using con = await connect(Deno.args[0] ?? "local:");
const there = await con.eval<string>("Deno.makeTempDirSync()");

// A folder that is new appears at once, when it is complete; with `resume` a copy that was broken off goes on.
let copied = 0;
await con.putfile(`${folder}/site`, `${there}/site`, {
  recursive: true,
  resume: true,
  checksum: "sha256",
  onProgress: ({ bytes }) => copied = bytes,
});
console.log(copied, "bytes are there");

await con.getfile(`${there}/site/index.html`, `${folder}/index.html`);
console.log((await Deno.readTextFile(`${folder}/index.html`)).trim());

try {
  await con.getfile(`${there}/none`, `${folder}/none`);
} catch (error) {
  if (!(error instanceof CopyError)) throw error;
  console.log(error.code, "on the", error.side, "side");
}

await con.globals.Deno.remove(there, { recursive: true });
await Deno.remove(folder, { recursive: true });
