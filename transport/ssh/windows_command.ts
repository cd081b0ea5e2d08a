/**
 * The command line for a host that runs Windows, where the login shell is cmd.exe or PowerShell.
 *
 * The daemon runs `cmd.exe /c "<line>"`, which takes off the first and the last quotation mark and
 * reads what is between them as it stands, 8191 characters at most; or `powershell.exe -c` with the
 * line as one argument. Inside quotation marks cmd.exe still expands `%`, and PowerShell `$` and the
 * grave accent; outside of them PowerShell cuts words at commas, semicolons and, behind a dash, at full
 * stops, and a command that begins with a quotation mark is only a text to it.
 *
 * So the first word is never quoted, all others are unless they are plain, and what has no form that
 * both read alike is refused.
 *
 * @module
 */

/** How long cmd.exe lets a command line be, in characters. */
const MAX_LENGTH = 8191;

const PROGRAM = /^[\p{L}\p{N}\\/:._~+][\p{L}\p{N}\\/:._~+@-]*$/u;
const PLAIN = /^[A-Za-z0-9/_-]+$/;
const QUOTABLE = /^[\p{L}\p{N}\\/:._~+=,;@?()[\] -]*$/u;
// cmd.exe reads these once more, without quotation marks.
const WORD = /^[\p{L}\p{N}\\/:._~+=,;@?()[\]-]+$/u;
const NAME = /^[\p{L}\p{N}_]+$/u;

/**
 * Makes the command line for `command`, run in `cwd` with `env` added.
 *
 * With either, an inner cmd.exe sets them.
 *
 * @throws {TypeError} for what cannot be said to both shells.
 */
export function windowsCommandLine(
  command: readonly string[],
  { cwd, env = {} }: { cwd?: string | undefined; env?: Record<string, string> | undefined } = {},
): string {
  const [program, ...words] = command;
  if (program === undefined || !PROGRAM.test(program)) {
    throw refusal("program", program ?? "", "put its folder on the PATH, or give its short name");
  }
  const variables = Object.entries(env);
  const inner = cwd !== undefined || variables.length > 0;
  for (const [i, word] of words.entries()) {
    // A backslash takes away the meaning of a quotation mark behind it.
    const quoted = !inner || i === words.length - 1;
    if (word === "" || !(inner ? WORD : QUOTABLE).test(word) || (quoted && word.endsWith("\\"))) {
      throw refusal("word", word);
    }
  }
  const line = inner
    ? `cmd /c "${[...steps(cwd, variables), command.join(" ")].join("&&")}"`
    : [program, ...words.map((word) => PLAIN.test(word) ? word : `"${word}"`)].join(" ");
  if (line.length > MAX_LENGTH) {
    throw new TypeError(
      `Cannot run ${program} on Windows: the command line has ${line.length} characters, and ` +
        `cmd.exe takes ${MAX_LENGTH}`,
    );
  }
  return line;
}

function steps(cwd: string | undefined, variables: [name: string, value: string][]): string[] {
  const list: string[] = [];
  if (cwd !== undefined) {
    if (!QUOTABLE.test(cwd)) throw refusal("working folder", cwd);
    list.push(`cd /d ${cwd}`);
  }
  for (const [name, value] of variables) {
    if (!NAME.test(name)) throw refusal("variable", name);
    // Its value is not told: it may be a secret.
    if (!QUOTABLE.test(value)) throw refusal("value of the variable", name);
    // Without a blank before what follows, which would belong to the value.
    list.push(`set ${name}=${value}`);
  }
  return list;
}

function refusal(what: string, text: string, hint = "set it by the connection instead"): TypeError {
  return new TypeError(
    `Cannot use the ${what} ${JSON.stringify(text)} on Windows: neither cmd.exe nor PowerShell ` +
      `is sure to read it as it is; ${hint}`,
  );
}
