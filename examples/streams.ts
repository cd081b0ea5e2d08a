/**
 * Follows a log file of another machine, line by line, until enough was seen.
 *
 *     deno run -A examples/streams.ts [target [path]]
 */

import { connect } from "../mod.ts";

await using con = await connect(Deno.args[0] ?? "local:");
const path = Deno.args[1] ?? await con.eval<string>("Deno.makeTempFileSync()");

// Runs there: gives what is in the file, and then what is added to it.
const follow = await con.compile(async function* (path: string) {
  using file = await Deno.open(path);
  const buffer = new Uint8Array(4096);
  const decoder = new TextDecoder();
  for (;;) {
    const length = await file.read(buffer);
    if (length !== null) yield decoder.decode(buffer.subarray(0, length), { stream: true });
    else await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

// Something that writes to the log, so that there is something to see.
if (Deno.args[1] === undefined) {
  await con.execute(`
    let requests = 0;
    const writing = setInterval(() => Deno.writeTextFileSync(${
    JSON.stringify(path)
  }, "request " + ++requests + "\\n", { append: true }), 20);
  `);
}

let lines = 0;
// Leaving the loop ends the generator there: its file is closed.
for await (const text of follow(path)) {
  for (const line of String(text).trimEnd().split("\n")) {
    console.log(line);
    lines++;
  }
  if (lines >= 3) break;
}

if (Deno.args[1] === undefined) {
  await con.eval("clearInterval(writing)");
  await con.globals.Deno.remove(path);
}
