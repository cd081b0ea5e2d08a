/**
 * The terminal, if there is one: questions, colours, and lines that are drawn over.
 *
 * @module
 */

const encoder = new TextEncoder();

/** May what goes to this stream be coloured? */
export function isColoured(stream: { isTerminal(): boolean }): boolean {
  return stream.isTerminal() && !Deno.env.get("NO_COLOR") && Deno.env.get("TERM") !== "dumb";
}

/** Writes all of a text to standard error. Where that is closed, nobody is there to be told, and the work goes on. */
export function note(text: string): void {
  try {
    writeAll(Deno.stderr, text);
  } catch {
    // A terminal that was closed, or a reader that has gone.
  }
}

/** Writes all of a text to standard output. */
export function print(text: string): void {
  writeAll(Deno.stdout, text);
}

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}

/** Whether somebody can be asked. */
export function canAsk(): boolean {
  return Deno.stdin.isTerminal() && Deno.stderr.isTerminal();
}

/**
 * Asks for a line. What is typed is shown only with `echo`. Resolves to `undefined` where nobody can be asked, and when
 * the question is broken off with Ctrl-C or Ctrl-D.
 */
export async function ask(question: string, echo: boolean): Promise<string | undefined> {
  if (!canAsk()) return undefined;
  note(question);
  Deno.stdin.setRaw(true);
  const decoder = new TextDecoder();
  let answer = "";
  try {
    const buffer = new Uint8Array(1024);
    for (;;) {
      const length = await Deno.stdin.read(buffer);
      if (length === null) return undefined;
      for (const char of decoder.decode(buffer.subarray(0, length), { stream: true })) {
        if (char === "\r" || char === "\n") return answer;
        if (char === "\x03" || char === "\x04") return undefined;
        if (char === "\x7f" || char === "\b") {
          if (echo && answer !== "") note("\b \b");
          answer = [...answer].slice(0, -1).join("");
        } else if (char >= " ") {
          answer += char;
          if (echo) note(char);
        }
      }
    }
  } finally {
    Deno.stdin.setRaw(false);
    note("\n");
  }
}

/** How wide the terminal is, in characters. */
export function columns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}
