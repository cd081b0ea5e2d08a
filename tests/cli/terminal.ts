/**
 * A terminal of a test's own, by tmux: keys go in, and the screen is looked at.
 *
 * @module
 */

import { program } from "../support/requirement.ts";

const POLL_MS = 30;
/** What does not appear on the screen within so many milliseconds does not come. */
const LATE_MS = 20_000;

/** The file of the command line. */
export const CLI = new URL("../../cli.ts", import.meta.url).pathname;

/** The command line, as a shell runs it. */
export const PUSHY = `'${Deno.execPath()}' run -A --quiet '${
  new URL("../../cli.ts", import.meta.url).pathname
}'`;

/** One terminal with a command in it. */
export class Terminal implements AsyncDisposable {
  readonly #socket: string;
  readonly #env: Record<string, string>;

  constructor(socket: string, env: Record<string, string>) {
    this.#socket = socket;
    this.#env = env;
  }

  /** Starts `command` by sh. Its end leaves "[ended N]" on the screen. `folder` is the test's own. */
  static async start(
    command: string,
    folder: string,
    env: Record<string, string> = {},
    size = { columns: 100, rows: 40 },
  ): Promise<Terminal> {
    const terminal = new Terminal(`${folder}/tmux_${crypto.randomUUID().slice(0, 8)}`, env);
    // The shell outlives Ctrl-C, and the command: so its last screen can be looked at.
    const script = `trap : INT; ${command}; echo "[ended $?]"; trap '' INT; exec cat`;
    await terminal.#tmux(
      "new-session",
      "-d",
      "-x",
      String(size.columns),
      "-y",
      String(size.rows),
      "sh",
      "-c",
      script,
    );
    return terminal;
  }

  async #tmux(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command(program("tmux"), {
      args: ["-f", "/dev/null", "-S", this.#socket, ...args],
      env: { ...this.#env, TERM: "xterm-256color", LANG: "C.UTF-8", TMUX: "" },
    }).output();
    if (!success) throw new Error(`tmux ${args[0]}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await this.#tmux("send-keys", "-l", text);
  }

  /** Presses keys by their tmux names: "Enter", "Tab", "C-c", "Up". */
  async press(...keys: string[]): Promise<void> {
    await this.#tmux("send-keys", ...keys);
  }

  /** Types a line, and Enter. */
  async line(text: string): Promise<void> {
    await this.type(text);
    await this.press("Enter");
  }

  /** What is on the screen, without the blanks at the ends of lines. */
  async screen(): Promise<string> {
    const text = await this.#tmux("capture-pane", "-p", "-J");
    return text.split("\n").map((line) => line.trimEnd()).join("\n").trimEnd();
  }

  /** The same with escapes for colours, each line as wide as it was written. */
  async coloured(): Promise<string> {
    return (await this.#tmux("capture-pane", "-p", "-e")).trimEnd();
  }

  /** Waits until the screen is as it should be. */
  async until(what: string | RegExp): Promise<string> {
    const end = performance.now() + LATE_MS;
    for (;;) {
      const screen = await this.screen();
      if (typeof what === "string" ? screen.includes(what) : what.test(screen)) return screen;
      if (performance.now() > end) {
        throw new Error(`${what} did not appear. The screen is:\n${screen}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Changes the size. */
  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux("resize-window", "-x", String(columns), "-y", String(rows));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("kill-server");
  }
}

/** Runs the command line without a terminal. */
export async function pushy(
  args: readonly string[],
  options: { stdin?: string; env?: Record<string, string>; cwd?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", CLI, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: options.env,
    cwd: options.cwd,
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(options.stdin ?? "")).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
