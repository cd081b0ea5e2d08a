/**
 * Ends the client programs that would outlive this one.
 *
 * OpenSSH's client takes the end of its input for the end of a file, and waits for the remote
 * command. Should this program be killed, a command that never looks at its input would keep the
 * client and itself alive. So one shell beside all of them waits for the end of its own input,
 * which only this program holds, and then ends those that are left: the host's daemon sees the
 * connection go, and the agent's watchdog sees the daemon's process go.
 *
 * @module
 */

// Reads "+ pid" and "- pid". A Ctrl-C is the program's, which may survive it.
const SCRIPT = `trap '' INT HUP
l=
while read -r c p; do
case $c in
+) l="$l $p" ;;
-) n=; for q in $l; do [ "$q" = "$p" ] || n="$n $q"; done; l=$n ;;
esac
done
[ -z "$l" ] || kill $l`;

let guard: Guard | undefined;

class Guard {
  users = 0;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor() {
    this.#child = new Deno.Command("sh", {
      args: ["-c", SCRIPT],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child.unref();
    this.#writer = this.#child.stdin.getWriter();
    this.#writer.closed.catch(() => {
      // Somebody ended the shell: what is guarded ends by itself, in all but the worst case.
    });
  }

  tell(line: string): void {
    this.#writer.write(new TextEncoder().encode(`${line}\n`)).catch(() => {});
  }

  async end(): Promise<void> {
    // Whoever waits for this has nothing else that holds the program.
    this.#child.ref();
    await this.#writer.close().catch(() => {});
    await this.#child.status;
  }
}

/**
 * Ends process `pid` should this program die first. Where there is no `sh`, or it may not be run,
 * nothing is done.
 *
 * @returns what is to be called when the process has ended
 */
export function endWithProgram(pid: number): () => Promise<void> {
  const nothing = () => Promise.resolve();
  if (Deno.build.os === "windows") return nothing;
  // Nobody is to be asked for it.
  const { state } = Deno.permissions.querySync({ name: "run", command: "sh" });
  if (state !== "granted") return nothing;
  try {
    guard ??= new Guard();
  } catch {
    return nothing;
  }
  const mine = guard;
  mine.users++;
  mine.tell(`+ ${pid}`);
  return async () => {
    mine.tell(`- ${pid}`);
    if (--mine.users > 0) return;
    if (guard === mine) guard = undefined;
    await mine.end();
  };
}
