/**
 * `pushy repl TARGET`: a live prompt in the remote interpreter.
 *
 * @module
 */

import { createInterface, type Interface } from "node:readline";
import process from "node:process";
import { Command } from "./libraries.ts";
import { connect, type Connection, type ConnectOptions } from "../mod.ts";
import { describeError, Exit, Interrupted, interruptible } from "./failure.ts";
import { History } from "./repl_history.ts";
import { type Language, languageOf, lastPath } from "./repl_languages.ts";
import { connectOptions, type SharedOptions, withSharedOptions } from "./shared_options.ts";
import { isColoured, note, print } from "./terminal.ts";
import { explained } from "./typed_source.ts";

/** The command. */
export function replCommand(): Command {
  return withSharedOptions(new Command("repl"))
    .summary("a prompt in the remote interpreter")
    .description(
      "Opens a prompt in a remote interpreter. Input that is not complete goes on in the next line, await may be used " +
        "anywhere, _ is the last value, and Tab completes the names that the remote side has. Ctrl-C stops what is " +
        "running and keeps the session. JavaScript that loops without waiting can only be ended with its interpreter: " +
        "that is offered, but not where other clients use it too. Ctrl-D leaves. JavaScript has no types.",
    )
    .argument("<target>", 'where: "local:", "ssh:web1", "daemon:localhost"')
    .addHelpText(
      "after",
      `
Examples:
  pushy repl local:
  pushy repl ssh:web1 --runtime python
  pushy repl daemon:localhost
  echo 'Deno.hostname()' | pushy repl ssh:web1`,
    )
    .action(run);
}

async function run(target: string, shared: SharedOptions): Promise<void> {
  const options = await connectOptions(target, shared);
  if (!Deno.stdin.isTerminal()) return await runPiped(target, options);
  const session = new Prompt(target, options);
  await session.run();
}

/** Without a terminal: what is read is run, values are printed, and the first error ends it. */
async function runPiped(target: string, options: ConnectOptions): Promise<void> {
  const text = await new Response(Deno.stdin.readable).text();
  await interruptible(async (signal) => {
    await using con = await connect(target, { ...options, signal });
    const language = languageOf(con, false);
    let source = "";
    for (const line of [...text.split("\n"), ""]) {
      source += source === "" ? line : `\n${line}`;
      if (source.trim() === "") {
        source = "";
        continue;
      }
      let result;
      try {
        result = await language.run(con, source, signal);
      } catch (error) {
        const status = language.leaves(error);
        if (status === undefined) throw explained(error, source);
        throw new Exit(status);
      }
      if (result === "incomplete") continue;
      source = "";
      if (result.text !== undefined) print(result.text + "\n");
    }
    if (source !== "") throw new SyntaxError("Cannot run the input: it ends too early");
  });
}

/** A peer that says nothing for so long after Ctrl-C is told to be busy, in milliseconds. */
const PATIENCE = 2000;

/** A prompt on a terminal. */
class Prompt {
  readonly #target: string;
  readonly #options: ConnectOptions;
  #con!: Connection;
  #language!: Language;
  #history!: History;
  #reader!: Interface;
  #source = "";
  #running: AbortController | undefined;
  /** Ctrl-C came between a line and its evaluation. */
  #stopped = false;
  #lost: Error | undefined;
  /** Resolves once the remote side gives way again, while it does not. */
  #busy: Promise<void> | undefined;
  #asking = false;
  #left = false;
  /** The names of a path, until the next line is run. */
  #names = new Map<string, Promise<string[]>>();
  #lines: ((line: string | null) => void)[] = [];
  #typed: string[] = [];

  constructor(target: string, options: ConnectOptions) {
    this.#target = target;
    this.#options = options;
  }

  async run(): Promise<void> {
    await this.#connect();
    this.#history = new History(this.#language.name);
    const history = await this.#history.load();
    const reader = this.#reader = createInterface(
      {
        input: process.stdin,
        output: process.stdout,
        terminal: true,
        history,
        historySize: 1000,
        removeHistoryDuplicates: true,
        completer: (line: string, done: (error: unknown, result: [string[], string]) => void) => {
          this.#complete(line).then((result) => done(null, result), () => done(null, [[], line]));
        },
      } as Parameters<typeof createInterface>[0],
    );
    reader.on("line", (line) => {
      const next = this.#lines.shift();
      if (next) next(line);
      else this.#typed.push(line);
    });
    reader.on("close", () => {
      this.#left = true;
      for (const next of this.#lines.splice(0)) next(null);
    });
    reader.on("SIGINT", () => this.#interrupt());
    try {
      await this.#loop();
    } finally {
      const lines = (reader as Interface & { history?: string[] }).history ?? [];
      reader.close();
      await this.#history.save(lines);
      await this.#con.close();
    }
  }

  async #connect(): Promise<void> {
    this.#lost = undefined;
    this.#busy = undefined;
    const con = this.#con = await interruptible((signal) =>
      connect(this.#target, {
        ...this.#options,
        signal,
        stdout: this.#output(1),
        stderr: this.#output(2),
      })
    );
    this.#language = languageOf(con, isColoured(Deno.stdout));
    const { runtime, version, platform } = con.interpreter;
    note(`${runtime} ${version} on ${platform}, ${this.#target} — Ctrl-D leaves\n`);
    con.closed.then((reason) => {
      if (this.#left || this.#con !== con) return;
      this.#lost = reason;
      if (this.#running) return this.#running.abort(reason);
      // Whoever waits for a line is told at once; what was typed of it is no answer to what comes.
      this.#dropLine();
      note(`\r\x1b[K`);
      for (const next of this.#lines.splice(0)) next(null);
    });
  }

  /** What the remote prints appears above the line that is being typed. */
  #output(descriptor: 1 | 2): WritableStream<Uint8Array> {
    const decoder = new TextDecoder();
    return new WritableStream({
      write: (bytes) => {
        const text = decoder.decode(bytes, { stream: true });
        const typing = this.#lines.length > 0 && !this.#asking;
        if (typing) print("\r\x1b[K");
        if (descriptor === 1) print(text);
        else note(text);
        if (typing) {
          if (!text.endsWith("\n")) print("\n");
          this.#reader.prompt(true);
        }
      },
    });
  }

  #line(prompt: string): Promise<string | null> {
    if (this.#left) return Promise.resolve(null);
    const typed = this.#typed.shift();
    if (typed !== undefined) return Promise.resolve(typed);
    this.#stopped = false;
    return new Promise((resolve) => {
      this.#lines.push(resolve);
      this.#reader.setPrompt(prompt);
      this.#reader.prompt();
    });
  }

  async #loop(): Promise<void> {
    for (;;) {
      if (this.#lost && !await this.#reconnect()) throw new Exit(1);
      const line = await this.#line(this.#source === "" ? this.#language.prompt : "... ");
      if (this.#lost) continue;
      if (line === null) {
        note("\n");
        return;
      }
      this.#source += this.#source === "" ? line : `\n${line}`;
      if (this.#source.trim() === "") {
        this.#source = "";
        continue;
      }
      await this.#evaluate();
    }
  }

  async #evaluate(): Promise<void> {
    if (this.#stopped) {
      this.#source = "";
      note("Interrupted\n");
      return;
    }
    if (this.#busy) {
      note("The line before is still running there: this one waits. Ctrl-C gives it up\n");
    }
    const running = this.#running = new AbortController();
    const source = this.#source;
    try {
      const result = await this.#language.run(this.#con, source, running.signal);
      if (result === "incomplete") return;
      this.#source = "";
      if (result.text !== undefined) print(result.text + "\n");
    } catch (error) {
      this.#source = "";
      if (error instanceof Interrupted) {
        note("Interrupted\n");
        this.#running = undefined;
        await this.#checkBusy();
      } else if (error !== this.#lost) {
        const status = this.#language.leaves(error);
        if (status !== undefined) throw new Exit(status);
        note(`${describeError(explained(error, source)).trimEnd()}\n`);
      }
    } finally {
      this.#running = undefined;
      this.#names.clear();
    }
  }

  #interrupt(): void {
    if (this.#running) {
      this.#running.abort(new Interrupted());
      return;
    }
    this.#dropLine();
    if (this.#lines.length === 0) {
      this.#stopped = true;
      return;
    }
    note("\n");
    if (this.#asking) {
      this.#lines.shift()!("n");
      return;
    }
    this.#source = "";
    this.#reader.setPrompt(this.#language.prompt);
    this.#reader.prompt();
  }

  /** Forgets what was typed of a line. */
  #dropLine(): void {
    const reader = this.#reader as unknown as { line: string; cursor: number } | undefined;
    if (reader) Object.assign(reader, { line: "", cursor: 0 });
  }

  /**
   * A loop that never waits cannot be stopped from outside: then only the interpreter as a whole can be ended, if no other
   * client uses it.
   */
  async #checkBusy(): Promise<void> {
    const con = this.#con;
    if (!this.#busy) {
      const over = () => {
        if (this.#busy === busy) this.#busy = undefined;
      };
      const busy = this.#busy = con.eval("0").then(over, over);
    }
    const patience = Promise.withResolvers<void>();
    const timer = setTimeout(patience.resolve, PATIENCE);
    await Promise.race([this.#busy, patience.promise]);
    clearTimeout(timer);
    if (!this.#busy || this.#lost) return;
    if (con.interpreter.shared) {
      note(
        "The remote side is still busy with it, and nobody can be served there until it ends. All clients of that " +
          "server share its interpreter: only a restart of the server ends it. (With --isolate each client has its " +
          "own.) Ctrl-D leaves.\n",
      );
      return;
    }
    const again = await this.#question(
      "The remote side is still busy with it. End that interpreter, and start another? [y/N] ",
    );
    if (!/^y/i.test(again ?? "")) return;
    await this.#connect();
    await con.close();
  }

  async #question(text: string): Promise<string | null> {
    this.#asking = true;
    try {
      const answer = await this.#line(text);
      // An answer is no line of the language.
      if (answer) (this.#reader as Interface & { history?: string[] }).history?.shift();
      return answer;
    } finally {
      this.#asking = false;
    }
  }

  async #reconnect(): Promise<boolean> {
    this.#source = "";
    for (;;) {
      note(`${describeError(this.#lost).trimEnd()}\n`);
      const answer = await this.#question("Connect again? [Y/n] ");
      if (answer === null || /^n/i.test(answer)) return false;
      try {
        await this.#connect();
        return true;
      } catch (error) {
        this.#lost = error as Error;
      }
    }
  }

  async #complete(line: string): Promise<[string[], string]> {
    // Where nothing stands yet, Tab indents.
    if (line.trim() === "") return [[`${line}    `], line];
    const found = this.#asking || this.#running ? undefined : lastPath(line);
    if (!found) return [[], line];
    const { path, part } = found;
    let names = this.#names.get(path);
    if (!names) {
      names = this.#language.names(this.#con.with({ timeout: PATIENCE }), path);
      this.#names.set(path, names);
    }
    const fitting = [...new Set(await names)].filter((name) => name.startsWith(part)).sort();
    // Names that begin with _ are seldom meant unless they are asked for.
    const plain = part === "" ? fitting.filter((name) => !name.startsWith("_")) : fitting;
    return [plain.length > 0 ? plain : fitting, part];
  }
}
