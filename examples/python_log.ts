/**
 * Looks through a compressed log on another host, where nothing but Python is installed, and shows what matches as it is
 * found. The log itself stays there.
 *
 * ```text
 * deno run -A examples/python_log.ts ssh:web1 /var/log/syslog.1.gz 'error|fail'
 * ```
 *
 * @module
 */

import { connect } from "../mod.ts";

const [target = "local:", path = "/var/log/syslog.1.gz", pattern = "error"] = Deno.args;

await using host = await connect(target, { runtime: "python" });
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
