/**
 * Makes Python source smaller without changing what it does: without comments, docstrings and spaces that say nothing, and
 * with short names for what is only used inside.
 *
 * It works on tokens, and keeps its hands off whatever it is not sure of: a name that is ever an attribute, a keyword
 * argument, part of an import, or a word in a string stays as it is.
 *
 * @module
 */

interface Token {
  readonly kind: "name" | "number" | "string" | "operator" | "newline" | "indent" | "dedent";
  readonly text: string;
  /** How deep in brackets it stands. */
  readonly nesting: number;
}

const STRING =
  /(?:[rRbBuUfF]{0,2})("""[^]*?"""|'''[^]*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')/y;
const NAME = /[A-Za-z_]\w*/y;
const NUMBER = /(?:0[xX][\da-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/y;
const OPERATOR =
  /(?:\*\*=|\/\/=|>>=|<<=|\.\.\.|->|\*\*|\/\/|>>|<<|[-+*/%&|^@=!<>]=|[-+*/%&|^~@=<>()[\]{},:;.])/y;

const KEYWORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except finally for from global if " +
    "import in is lambda nonlocal not or pass raise return try while with yield").split(" "),
);

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  const indents = [0];
  let nesting = 0;
  let at = 0;
  const add = (kind: Token["kind"], text: string) => tokens.push({ kind, text, nesting });
  while (at < source.length) {
    if (nesting === 0 && (at === 0 || source[at - 1] === "\n")) {
      const width = /^ */.exec(source.slice(at, at + 200))![0].length;
      const next = source[at + width];
      if (next === "\n" || next === "#" || next === undefined) {
        const end = source.indexOf("\n", at);
        at = end < 0 ? source.length : end + 1;
        continue;
      }
      if (width > indents.at(-1)!) {
        indents.push(width);
        add("indent", "");
      }
      while (width < indents.at(-1)!) {
        indents.pop();
        add("dedent", "");
      }
      at += width;
    }
    const char = source[at]!;
    if (char === "\n") {
      if (nesting === 0 && tokens.at(-1)?.kind !== "newline") add("newline", "\n");
      at++;
      continue;
    }
    if (char === " ") {
      at++;
      continue;
    }
    if (char === "#") {
      const end = source.indexOf("\n", at);
      at = end < 0 ? source.length : end;
      continue;
    }
    const string = match(STRING, source, at);
    const name = string ?? match(NAME, source, at);
    const number = name ?? match(NUMBER, source, at);
    const text = number ?? match(OPERATOR, source, at);
    if (text === undefined) {
      throw new SyntaxError(
        `Cannot read the Python source at ${JSON.stringify(source.slice(at, at + 40))}`,
      );
    }
    if (/^[)\]}]$/.test(text)) nesting--;
    add(string ? "string" : name ? "name" : number ? "number" : "operator", text);
    if (/^[([{]$/.test(text)) nesting++;
    at += text.length;
  }
  while (indents.length > 1) {
    indents.pop();
    add("dedent", "");
  }
  return tokens;
}

/** A statement that is nothing but a string says nothing. */
function withoutDocstrings(tokens: Token[]): Token[] {
  const kept: Token[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const before = kept.at(-1)?.kind ?? "newline";
    const alone = tokens[i]!.kind === "string" && tokens[i + 1]?.kind === "newline" &&
      (before === "newline" || before === "indent" || before === "dedent");
    if (!alone) {
      kept.push(tokens[i]!);
    } else if (before === "indent" && tokens[i + 2]?.kind === "dedent") {
      kept.push({ kind: "name", text: "pass", nesting: 0 });
    } else {
      i++;
    }
  }
  return kept;
}

/** Short names for those that are defined here and used nowhere where another would know them. */
function shortNames(tokens: readonly Token[]): Map<string, string> {
  const count = new Map<string, number>();
  const defined = new Set<string>();
  // The loader calls this one.
  const fixed = new Set<string>(["start"]);
  let importing = false;
  // What stands directly in the body of a class is an attribute.
  const inClass: boolean[] = [];
  let first: Token | undefined;
  for (let i = 0; i < tokens.length; i++) {
    const { kind, text, nesting } = tokens[i]!;
    const before = tokens[i - 1]?.text;
    const after = tokens[i + 1]?.text;
    if (kind === "indent") inClass.push(first?.text === "class");
    if (kind === "dedent") inClass.pop();
    if (
      tokens[i - 1]?.kind !== "name" &&
      (i === 0 || /newline|indent|dedent/.test(tokens[i - 1]!.kind))
    ) {
      if (kind !== "indent" && kind !== "dedent") first = tokens[i];
    }
    if (kind === "newline") importing = false;
    if (kind === "string") {
      for (const word of text.match(/[A-Za-z_]\w*/g) ?? []) fixed.add(word);
    }
    if (kind !== "name") continue;
    if (text === "import" || text === "from" && tokens[i - 1]?.kind !== "name") importing = true;
    if (KEYWORDS.has(text)) continue;
    count.set(text, (count.get(text) ?? 0) + 1);
    if (inClass.at(-1) && nesting === 0 && (before === "def" || after === "=")) fixed.add(text);
    // The names of classes are shown to users.
    if (importing || before === "class" || before === "." || nesting > 0 && after === "=" || text.startsWith("__")) {
      fixed.add(text);
    }
    const parameter = nesting > 0;
    if (
      before === "def" || before === "class" || before === "for" || before === "as" ||
      before === "global" || before === "lambda" || after === "=" || parameter || before === ","
    ) {
      defined.add(text);
    }
  }
  // What is never assigned in a way that was seen is a builtin.
  const assigned = new Set<string>();
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i]!.kind !== "name") continue;
    const before = tokens[i - 1]?.text;
    if (before === "def" || before === "class") assigned.add(tokens[i]!.text);
    if (before === "def") {
      for (let j = i + 2; tokens[j]!.nesting > tokens[i]!.nesting; j++) {
        if (tokens[j]!.kind === "name" && tokens[j]!.nesting === tokens[i]!.nesting + 1) {
          if (/^[(,*]+$/.test(tokens[j - 1]!.text)) assigned.add(tokens[j]!.text);
        }
      }
    }
    if (before === "for" || before === "as") assigned.add(tokens[i]!.text);
    if (tokens[i + 1]?.text === "=" && tokens[i]!.nesting === 0 && before !== ".") {
      assigned.add(tokens[i]!.text);
    }
  }
  const names = [...defined].filter((name) =>
    assigned.has(name) && !fixed.has(name) && name.length > 2
  ).sort((a, b) => count.get(b)! * b.length - count.get(a)! * a.length || (a < b ? -1 : 1));
  const taken = new Set([...count.keys(), ...fixed, ...KEYWORDS]);
  const short = new Map<string, string>();
  const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  let number = 0;
  for (const name of names) {
    let made: string;
    do {
      made = "";
      for (let n = number++;; n = Math.floor(n / letters.length) - 1) {
        made = letters[n % letters.length] + made;
        if (n < letters.length) break;
      }
    } while (taken.has(made));
    if (made.length < name.length) short.set(name, made);
  }
  return short;
}

function print(tokens: readonly Token[], short: ReadonlyMap<string, string>): string {
  let text = "";
  let depth = 0;
  let lineStart = true;
  let last: Token | undefined;
  for (const token of tokens) {
    if (token.kind === "indent") depth++;
    else if (token.kind === "dedent") depth--;
    else if (token.kind === "newline") {
      text += "\n";
      lineStart = true;
      last = undefined;
    } else {
      if (lineStart) text += " ".repeat(depth);
      lineStart = false;
      const word = token.kind === "name" ? short.get(token.text) ?? token.text : token.text;
      const glued = last !== undefined && /[\w"']$/.test(last.text) && /^[\w"']/.test(word) &&
        !(last.kind === "string" && token.kind !== "string" && false);
      text += glued ? " " + word : word;
      last = token;
    }
  }
  return text;
}

/** The two parts of the source, before and after the line that begins with `mark`, made small with the same names. */
export function minifyPython(source: string, mark: string): [first: string, rest: string] {
  const line = source.indexOf(`\n${mark}`);
  const parts = [source.slice(0, line + 1), source.slice(line + 1)];
  const tokens = parts.map((part) => withoutDocstrings(tokenize(part)));
  const short = shortNames(tokens.flat());
  const [first, rest] = tokens.map((part) => print(part, short));
  return [first!, rest!];
}
