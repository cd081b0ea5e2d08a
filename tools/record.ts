/**
 * Records the terminal session that the README shows, `docs/session.svg`: `deno task record`.
 *
 * The command line runs in a terminal of tmux's, against an SSH daemon on the loopback with an account of its own, so that
 * what is seen is what happens, and neither this machine nor its user is. That needs root, sshd and tmux.
 *
 * @module
 */

import { Terminal } from "../tests/cli/terminal.ts";
import { startHost } from "../tests/support/ssh_host.ts";
import { root } from "./command.ts";
import { picture, type Screen } from "./terminal_picture.ts";

const SIZE = { columns: 92, rows: 21 };
/** How long a screen is looked at, in milliseconds: a line that is being typed, what it gave, the end. */
const TYPED = 700;
const SEEN = 1600;
const END = 6000;
const MOVING = 250;

const PROMPT = /(^|\n)\$$/;
const PYTHON = /\n>>>$/;

/** A terminal that keeps its screens. */
class Recording {
  readonly screens: Screen[] = [];
  readonly #terminal: Terminal;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  async keep(duration: number): Promise<void> {
    this.screens.push({ text: await this.#terminal.coloured(), duration });
  }

  /** Types a line, and waits for what comes. */
  async line(text: string, until: RegExp): Promise<void> {
    await this.#terminal.type(text);
    await this.#typed(text);
    await this.#terminal.press("Enter");
    await this.#terminal.until(until);
    await this.keep(SEEN);
  }

  /** Types the beginning of a word, and lets Tab do the rest. */
  async completed(text: string, whole: string): Promise<void> {
    await this.#terminal.type(text);
    await this.#typed(text);
    await this.#terminal.press("Tab");
    await this.#terminal.until(whole);
    await this.keep(TYPED);
  }

  /** Types a line whose screen changes until it ends. */
  async moving(text: string, until: RegExp): Promise<void> {
    await this.#terminal.type(text);
    await this.#typed(text);
    await this.#terminal.press("Enter");
    do {
      await new Promise((resolve) => setTimeout(resolve, MOVING));
      await this.keep(MOVING);
    } while (!until.test(await this.#terminal.screen()));
    await this.keep(SEEN);
  }

  async press(key: string, until: RegExp): Promise<void> {
    await this.#terminal.press(key);
    await this.#terminal.until(until);
  }

  async #typed(text: string): Promise<void> {
    await this.#terminal.until(text);
    await this.keep(TYPED);
  }
}

/** What the host has, and what is to be copied there. */
async function prepare(folder: string, home: string): Promise<void> {
  const lines = Array.from({ length: 1200 }, (_, i) => {
    const status = i % 400 === 7 ? 500 : i % 60 === 3 ? 404 : 200;
    return `10.0.0.${i % 250} "GET /${i % 12}.html" ${status} ${512 + i}\n`;
  });
  await Deno.writeTextFile(`${home}/access.log`, lines.join(""));
  await Deno.mkdir(`${folder}/desk/site/video`, { recursive: true });
  await Deno.writeTextFile(`${folder}/desk/site/index.html`, "<h1>Hello</h1>\n");
  using file = await Deno.open(`${folder}/desk/site/video/tour.mp4`, { create: true, write: true });
  await file.truncate(480_000_000);
  await Deno.mkdir(`${folder}/bin`);
  const script = `#!/bin/sh\nexec '${Deno.execPath()}' run -A --quiet '${root}/cli.ts' "$@"\n`;
  await Deno.writeTextFile(`${folder}/bin/pushy`, script, { mode: 0o755 });
}

async function record(): Promise<Screen[]> {
  const folder = await Deno.makeTempDir({ prefix: "pushy_record_" });
  await using made = new AsyncDisposableStack();
  made.defer(() => Deno.remove(folder, { recursive: true }));
  const host = made.use(await startHost("web1", { account: true }));
  await prepare(folder, host.account!.home);
  const env = {
    PATH: `${folder}/bin:${host.env.PATH}`,
    HOME: folder,
    XDG_STATE_HOME: `${folder}/state`,
    DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`,
    PS1: "\\[\\e[92m\\]$\\[\\e[0m\\] ",
  };
  const shell = `cd '${folder}/desk' && clear && exec bash --norc --noprofile`;
  const terminal = made.use(await Terminal.start(shell, folder, env, SIZE));
  await terminal.until(PROMPT);
  const recording = new Recording(terminal);
  await recording.line("pushy eval ssh:web1 'Deno.version'", /}\n\$$/);
  await recording.line("pushy repl ssh:web1 --runtime python", PYTHON);
  await recording.line("from collections import Counter", PYTHON);
  await recording.line('statuses = (line.split()[-2] for line in open("access.log"))', PYTHON);
  await recording.line("Counter(statuses).most_common()", /\)\]\n>>>$/);
  await recording.line("import os", PYTHON);
  await recording.completed("os.path.getsi", "os.path.getsize");
  await recording.line('("access.log")', /\d\n>>>$/);
  await recording.press("C-d", PROMPT);
  await recording.moving("pushy cp -r --checksum site ssh:web1:www", PROMPT);
  await recording.line(
    `pushy eval ssh:web1 --runtime python 'open("/etc/shadow")'`,
    /PermissionError[^]*\n\$$/,
  );
  const { text } = recording.screens.at(-1)!;
  return [...recording.screens.slice(0, -1), { text, duration: END }];
}

if (import.meta.main) {
  const drawn = picture(await record(), { title: "pushy", ...SIZE });
  await Deno.writeTextFile(`${root}/docs/session.svg`, drawn);
  console.log(`docs/session.svg: ${drawn.length} bytes`);
}
