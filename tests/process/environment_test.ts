import { assertEquals } from "@std/assert";
import { capability, type Peer, type Row } from "../matrix.ts";

const NAME = "GLIBC_TUNABLES";
// Only Linux tells what a process was started with.
const rows = (_: Row) => Deno.build.os === "linux";

/** The variable as the agent was started with it, as its code sees it, and as the programs do that it starts. */
function variable({ con, code }: Peer): Promise<string[]> {
  return con.eval(code({
    js: `(async () => {
      const { readFileSync } = await import("node:fs");
      const { execFileSync } = await import("node:child_process");
      const line = (text) => text.split(/[\\0\\n]/).find((line) => line.startsWith("${NAME}=")) ?? "";
      return [
        line(readFileSync("/proc/self/environ", "utf8")),
        "${NAME}" in process.env ? "${NAME}=" + process.env.${NAME} : "",
        line(execFileSync("env", { encoding: "utf8" })),
      ];
    })()`,
    py: `import os, re, subprocess
def line(lines): return next((l for l in re.split("[\\0\\n]", lines) if l.startswith("${NAME}=")), "")
[
  line(open("/proc/self/environ").read()),
  "${NAME}=" + os.environ["${NAME}"] if "${NAME}" in os.environ else "",
  line(subprocess.check_output(["env"]).decode()),
]`,
  }));
}

capability("huge pages are asked for by the agent, and not by what it starts", async (peer) => {
  assertEquals(await variable(peer), [`${NAME}=glibc.malloc.hugetlb=1`, "", ""]);
}, { needs: ["own process"], rows });

const theirs = `${NAME}=glibc.malloc.arena_max=2`;

capability("who asks for something else of his memory gets that", async (peer) => {
  assertEquals(await variable(peer), [theirs, theirs, theirs]);
}, {
  needs: ["own process"],
  rows,
  connect: { env: { [NAME]: theirs.slice(NAME.length + 1) } },
});
