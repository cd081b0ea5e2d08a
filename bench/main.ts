/**
 * The benches: `deno task bench [name…]`, one after another, each in a process of its own.
 *
 * `latency` runs with both processes on one CPU where `taskset` is there: over two, the figures say how fast an idle
 * CPU wakes up.
 *
 * @module
 */

import * as hugePages from "../runtime/huge_pages.ts";

interface Bench {
  file: string;
  args?: string[];
  pinned?: boolean;
  env?: Record<string, string>;
  /** Is the garbage of one of its works collected before the next? That makes calls slower for a while. */
  collects?: boolean;
}

/** What an agent is started with (`runtime/huge_pages.ts`), for this side too. */
const HUGE_PAGES = { [hugePages.NAME]: hugePages.VALUE };

const BENCHES: Record<string, Bench> = {
  latency: { file: "local.ts", args: ["--latency"], pinned: true },
  throughput: { file: "local.ts", collects: true },
  arrays: { file: "local.ts", args: ["--arrays"], env: HUGE_PAGES, collects: true },
  bulk: { file: "bulk.ts" },
  link: { file: "link.ts" },
  memory: { file: "memory.ts" },
  python: { file: "python.ts" },
  ssh: { file: "ssh.ts" },
  "daemon latency": { file: "daemon.ts", args: ["--latency"], pinned: true },
  daemon: { file: "daemon.ts", collects: true },
  files: { file: "files.ts" },
  smb: { file: "smb.ts" },
};

const names = Deno.args.length > 0 ? Deno.args : Object.keys(BENCHES);
for (const name of names) {
  const bench = BENCHES[name];
  if (!bench) {
    console.error(`There is no bench "${name}": ${Object.keys(BENCHES).join(", ")}`);
    Deno.exit(2);
  }
  const file = decodeURIComponent(new URL(bench.file, import.meta.url).pathname);
  const command = [
    Deno.execPath(),
    "run",
    "-A",
    ...bench.collects ? ["--v8-flags=--expose-gc"] : [],
    file,
    ...bench.args ?? [],
  ];
  if (bench.pinned && Deno.build.os === "linux") command.unshift("taskset", "-c", "0");
  const { success } = await new Deno.Command(command[0]!, {
    args: command.slice(1),
    env: bench.env ?? {},
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  if (!success) Deno.exit(1);
}
