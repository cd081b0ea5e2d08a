/**
 * Looks through a compressed log on another host, where nothing but Python is installed, and shows what matches as it is
 * found. The log itself stays there.
 *
 *     deno run -A examples/python.ts ssh:web1 /var/log/syslog.1.gz 'error|fail'
 *
 * Without a log to look through, it makes one.
 */

import { connect, kwargs } from "../mod.ts";
import { item } from "../python.ts";

const [target = "local:", log, pattern = "error"] = Deno.args;

await using host = await connect(target, { runtime: "python" });
const { gzip, os, platform, tempfile } = host.modules;
console.log("Python", await platform.python_version());

let path = log;
if (path === undefined) {
  // What a call gives can be an argument before it is there: all of this is on its way at once.
  path = await os.path.join(tempfile.mkdtemp(), "log.gz") as string;
  await using file = await gzip.open(path, "wt", kwargs({ encoding: "utf-8" }));
  await file.write("started\nerror: no such user\nstopped\nError: disk full\n");
}

// A generator there is iterated over here. Leaving the loop would end it, and close the file.
const matches = await host.compile(`
  def matches(path, pattern):
      import gzip, re
      wanted = re.compile(pattern, re.I)
      opened = gzip.open if path.endswith(".gz") else open
      with opened(path, "rt", errors="replace") as log:
          for number, line in enumerate(log, 1):
              if wanted.search(line):
                  yield number, line.rstrip()
`);
for await (const [number, line] of matches(path, pattern)) console.log(`${number}: ${line}`);

if (log === undefined) {
  // Square brackets have a name here.
  console.log("cleared away:", await item(os.path.split(path), 1));
  await host.modules.shutil.rmtree(os.path.dirname(path));
}
