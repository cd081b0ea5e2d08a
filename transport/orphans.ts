/**
 * Ends the processes that would outlive this program.
 *
 * A process that never looks at its input does not notice that this program was killed: an interpreter that spins,
 * and OpenSSH's client, which takes the end of its input for the end of a file and waits for the remote command. So one
 * shell beside all of them waits for the end of its own input, which only this program holds. Then it gives them a
 * moment to end by themselves, and kills the groups of those that are left.
 *
 * @module
 */

/**
 * Reads "+ pid signal" and "- pid". What is sent to this program's group, or to all of its service, is none of its
 * business. A group that was seen to end is not looked at again: its number may be somebody else's by then.
 */
const SCRIPT = `trap '' HUP INT TERM
l=
drop() { n=; for e in $l; do case $e in $1:*) ;; *) n="$n $e" ;; esac; done; l=$n; }
while read -r c p s; do
case $c in
+) l="$l $p:$s" ;;
-) drop $p ;;
esac
done
for e in $l; do kill -\${e#*:} \${e%:*}; done
for i in 1 2 3 4 5 6 7 8 9 10; do
for e in $l; do kill -0 -\${e%:*} || drop \${e%:*}; done
[ "$l" ] || exit
sleep 0.1 || sleep 1
done
for e in $l; do kill -9 -\${e%:*}; done`;

/** What is guarded: the leaders of process groups, and the signal that each gets at once. */
const guarded = new Map<number, string>();

/**
 * Whoever ends this program's group must not end what looks after its end. To leave the group takes a program on
 * Linux; Deno could do it too, but forks for that, which holds it up for several times as long as a plain start.
 */
const LEAVE = 'command -v setsid && exec setsid sh -c "$1"; eval "$1"';
const LINUX = Deno.build.os === "linux";

let guard: Guard | undefined;

class Guard {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;

  constructor() {
    this.#child = new Deno.Command("sh", {
      args: LINUX ? ["-c", LEAVE, "sh", SCRIPT] : ["-c", SCRIPT],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
      detached: !LINUX,
    }).spawn();
    this.#child.unref();
    this.#writer = this.#child.stdin.getWriter();
    this.#writer.closed.catch(() => {
      // Somebody ended the shell.
    });
    for (const [pid, signal] of guarded) this.tell(`+ ${pid} ${signal}`);
    this.#child.status.then(({ signal }) => {
      if (guard !== this) return;
      guard = undefined;
      // One that ends by itself would do so again.
      if (signal !== null && guarded.size > 0) start();
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

function start(): void {
  try {
    guard = new Guard();
  } catch {
    // There is no shell here: the end of their input has to do.
  }
}

/**
 * Ends the group that process `pid` leads, should this program die first. Where there is no `sh`, or it may not be
 * run, nothing is done.
 *
 * @param signal what the process itself is told at once, before the moment that all have: `"0"` is nothing
 * @returns what is to be called when the process has ended
 */
export function endWithProgram(pid: number, signal: "TERM" | "0"): () => Promise<void> {
  const nothing = () => Promise.resolve();
  if (Deno.build.os === "windows") return nothing;
  // Nobody is to be asked for it.
  const { state } = Deno.permissions.querySync({ name: "run", command: "sh" });
  if (state !== "granted") return nothing;
  guarded.set(pid, signal);
  if (guard) guard.tell(`+ ${pid} ${signal}`);
  else start();
  return async () => {
    guarded.delete(pid);
    const told = guard;
    told?.tell(`- ${pid}`);
    if (guarded.size > 0) return;
    guard = undefined;
    await told?.end();
  };
}
