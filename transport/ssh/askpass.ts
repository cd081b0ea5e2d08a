/**
 * Secrets for the system's own client, which asks for them through a program, `SSH_ASKPASS`.
 *
 * The program is a shell script in a private folder (mode 0700). It holds no secret: it passes the
 * question on through one named pipe and reads the answer from another, with the shell's built-in
 * `printf` and `read`. So a secret is in no argv, in no environment and on no disk; it exists in
 * this process, in a kernel pipe that only this user can open, and in the client that asked.
 *
 * A ProxyJump starts further clients, which inherit the script. A password is for the host that
 * was named and not for one on the way, so the script also says whether the client that asks is
 * the one that was started here.
 *
 * @module
 */

import type { PromptCallback, SshPrompt } from "./options.ts";

const SCRIPT = `#!/bin/sh
d=\${0%/*}
[ "$SSH_ASKPASS_PROMPT" = none ] && exit 0
[ -p "$d/ask" ] || exit 1
w=other
[ "$PPID" = "$PUSHY_ASKPASS_OWNER" ] && w=target
umask 077
mkfifo "$d/$$" || exit 1
printf '%s\\n%s\\n%s\\0' "$$" "$w" "$1" > "$d/ask"
IFS= read -r a < "$d/$$" || exit 1
case $a in
+*) printf '%s\\n' "\${a#+}" ;;
*) exit 1 ;;
esac
`;

// Runs a client whose process id the script can compare with that of the client that asks.
const LAUNCH = 'PUSHY_ASKPASS_OWNER=$$; export PUSHY_ASKPASS_OWNER; exec "$@"';

/** What may be answered, and by whom. */
export interface AskpassAnswers {
  password?: string | undefined;
  passphrase?: string | undefined;
  prompt?: PromptCallback | undefined;
}

/** Guesses what a client's or a server's question is about. */
export function promptKind(message: string): SshPrompt["kind"] {
  if (/\(yes\/no/.test(message)) return "hostkey";
  if (/passphrase/i.test(message)) return "passphrase";
  if (/password/i.test(message)) return "password";
  return "other";
}

/** A private folder with the script, and whoever answers it. */
export class Askpass implements AsyncDisposable {
  readonly #folder: string;
  readonly #answers: AskpassAnswers;
  readonly #replies: Deno.FsFile[] = [];
  readonly #given = new Set<string>();
  readonly #asked: Deno.FsFile;
  readonly #serving: Promise<void>;
  #closed: Promise<void> | undefined;
  /** What the prompt callback threw: the reason why the login failed. */
  failure: unknown;

  private constructor(folder: string, asked: Deno.FsFile, answers: AskpassAnswers) {
    this.#folder = folder;
    this.#asked = asked;
    this.#answers = answers;
    this.#serving = this.#serve();
  }

  /** Makes the folder. @throws {Deno.errors.NotSupported} on Windows, which has no named pipes of that kind. */
  static async open(answers: AskpassAnswers): Promise<Askpass> {
    if (Deno.build.os === "windows") {
      throw new Deno.errors.NotSupported(
        "Cannot give a password or an answer to the native ssh client on Windows. " +
          "Use useNative: false.",
      );
    }
    const folder = await Deno.makeTempDir({ prefix: "pushy-askpass-" });
    try {
      await Deno.chmod(folder, 0o700);
      await Deno.writeTextFile(`${folder}/askpass`, SCRIPT, { mode: 0o700, createNew: true });
      await makeFifo(`${folder}/ask`);
      // Opened both ways, so that opening does not wait for a writer, nor end with one.
      const asked = await Deno.open(`${folder}/ask`, { read: true, write: true });
      return new Askpass(folder, asked, answers);
    } catch (error) {
      await Deno.remove(folder, { recursive: true });
      throw error;
    }
  }

  /** What the client's environment needs. */
  get env(): Record<string, string> {
    return {
      SSH_ASKPASS: `${this.#folder}/askpass`,
      SSH_ASKPASS_REQUIRE: "force",
      // Clients older than 8.4 ask through the program only where there is a display.
      DISPLAY: Deno.env.get("DISPLAY") ?? ":0",
    };
  }

  /** The command that runs `program` so that it is known as the client of the named host. */
  launch(program: string, args: readonly string[]): { program: string; args: string[] } {
    return { program: "sh", args: ["-c", LAUNCH, "sh", program, ...args] };
  }

  async #serve(): Promise<void> {
    const decoder = new TextDecoder();
    const chunk = new Uint8Array(4096);
    let text = "";
    while (!this.#closed) {
      const count = await this.#asked.read(chunk);
      if (count === null) return;
      text += decoder.decode(chunk.subarray(0, count), { stream: true });
      const messages = text.split("\0");
      text = messages.pop()!;
      for (const message of messages) {
        const match = /^(\d+)\n(target|other)\n([^]*)$/.exec(message);
        if (match && !this.#closed) await this.#reply(match[1]!, match[2] === "target", match[3]!);
      }
    }
  }

  async #reply(id: string, ours: boolean, message: string): Promise<void> {
    let answer: string | undefined;
    try {
      answer = await this.#answer(ours, message);
    } catch (error) {
      this.failure = error;
    }
    if (this.#closed) return;
    // Both ways again; it stays open until the end, lest the answer be lost before it is read.
    const reply = await Deno.open(`${this.#folder}/${id}`, { read: true, write: true });
    this.#replies.push(reply);
    const ok = answer !== undefined && !/[\r\n\0]/.test(answer);
    await reply.write(new TextEncoder().encode(ok ? `+${answer}\n` : "-\n"));
  }

  async #answer(ours: boolean, message: string): Promise<string | undefined> {
    const kind = promptKind(message);
    const known = kind === "password"
      ? this.#answers.password
      : kind === "passphrase"
      ? this.#answers.passphrase
      : undefined;
    // Asked the same again, the answer was wrong.
    if (ours && known !== undefined && !this.#given.has(message)) {
      this.#given.add(message);
      return known;
    }
    return await this.#answers.prompt?.({
      // deno-lint-ignore no-control-regex
      message: message.replace(/\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, ""),
      echo: kind === "hostkey",
      kind,
    });
  }

  /** Ends the answering and removes the folder. May be called more than once. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    // In a turn of its own, so that #closed is set when the reader wakes.
    await Promise.resolve();
    const waker = await Deno.open(`${this.#folder}/ask`, { write: true });
    await waker.write(new Uint8Array(1));
    waker.close();
    try {
      await this.#serving;
    } catch (error) {
      this.failure ??= error;
    }
    this.#asked.close();
    for (const reply of this.#replies) reply.close();
    await Deno.remove(this.#folder, { recursive: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Makes a named pipe that only this user can open. */
export async function makeFifo(path: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("mkfifo", {
    args: ["-m", "600", path],
    stdin: "null",
    stdout: "null",
  }).output();
  if (!success) {
    throw new Error(`Cannot make a named pipe: ${new TextDecoder().decode(stderr).trim()}`);
  }
}
