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
  /** Its name is only known in the function that it stands in. */
  renamed?: string;
  readonly kind: "name" | "number" | "string" | "operator" | "newline" | "indent" | "dedent";
  readonly text: string;
  /** How deep in brackets it stands. */
  readonly nesting: number;
  /** Is it a string that has names of functions in it, for `later`? */
  readonly names?: boolean;
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
    const before = tokens.at(-1);
    if (string && (before?.names || before?.text === "(" && tokens.at(-2)?.text === "later")) {
      tokens.push({ kind: "string", text, nesting, names: true });
    } else {
      add(string ? "string" : name ? "name" : number ? "number" : "operator", text);
    }
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
function shortNames(tokens: readonly Token[], globals: ReadonlySet<string>): Map<string, string> {
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
    if (kind === "string" && !tokens[i]!.names) {
      for (const word of text.match(/[A-Za-z_]\w*/g) ?? []) fixed.add(word);
    }
    if (kind !== "name") continue;
    if (text === "import" || text === "from" && tokens[i - 1]?.kind !== "name") importing = true;
    if (KEYWORDS.has(text)) continue;
    count.set(text, (count.get(text) ?? 0) + 1);
    if (inClass.at(-1) && nesting === 0 && (before === "def" || after === "=")) fixed.add(text);
    // The names of classes are shown to users.
    if (
      importing || before === "class" || before === "." || nesting > 0 && after === "=" ||
      text.startsWith("__")
    ) {
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
  ).sort((a, b) =>
    Number(globals.has(b)) - Number(globals.has(a)) ||
    count.get(b)! * b.length - count.get(a)! * a.length || (a < b ? -1 : 1)
  );
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

/** What is defined outside of functions and classes. */
function globalNames(tokens: readonly Token[]): Set<string> {
  const names = new Set<string>();
  let depth = 0;
  // How deep the function or the class is that this stands in.
  let inside: number | undefined;
  for (let i = 0; i < tokens.length; i++) {
    const { kind, text, nesting } = tokens[i]!;
    if (kind === "indent") depth++;
    if (kind === "dedent") {
      depth--;
      if (inside !== undefined && depth <= inside) inside = undefined;
    }
    const before = tokens[i - 1]?.text;
    if (inside !== undefined || kind !== "name") continue;
    if (before === "def" || before === "class") {
      names.add(text);
      inside = depth;
    } else if (nesting === 0 && /^[=,]$/.test(tokens[i + 1]?.text ?? "") && before !== ".") {
      names.add(text);
    } else if (nesting === 0 && /^(import|as|for|,)$/.test(before ?? "")) {
      names.add(text);
    }
  }
  return names;
}

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** Short names for what is only known in one function, functions inside it included. */
function shortLocals(tokens: Token[], globals: ReadonlyMap<string, string>, known: Set<string>) {
  for (let i = 0, depth = 0; i < tokens.length; i++) {
    if (tokens[i]!.kind === "indent") depth++;
    if (tokens[i]!.kind === "dedent") depth--;
    // A method's class is one deep; what is deeper belongs to a function that was seen.
    if (tokens[i]!.text !== "def" || depth > 1) continue;
    let end = i;
    let inner = 0;
    for (; end < tokens.length; end++) {
      if (tokens[end]!.kind === "indent") inner++;
      if (tokens[end]!.kind === "dedent" && --inner === 0) break;
    }
    shortLocalsOf(tokens.slice(i, end), globals, known);
    i = end - 1;
  }
}

function shortLocalsOf(unit: Token[], globals: ReadonlyMap<string, string>, known: Set<string>) {
  const bound = new Set<string>();
  const outside = new Set<string>();
  const keywords = new Set<Token>();
  const isName = (token: Token | undefined) => token?.kind === "name" && !KEYWORDS.has(token.text);
  for (let i = 0, start = 0; i < unit.length; i++) {
    const { kind, text, nesting } = unit[i]!;
    if (kind === "newline" || kind === "indent" || kind === "dedent") start = i + 1;
    if (text === "def" || text === "lambda") {
      const isDef = text === "def";
      if (isDef && i > 0 && isName(unit[i + 1])) bound.add(unit[i + 1]!.text);
      const first = isDef ? i + 3 : i + 1;
      const level = isDef ? nesting + 1 : nesting;
      for (let j = first; j < unit.length && unit[j]!.nesting >= level; j++) {
        const token = unit[j]!;
        if (!isDef && token.text === ":" && token.nesting === level) break;
        const before = unit[j - 1]!.text;
        if (isName(token) && token.nesting === level && /^(\(|,|\*\*?|lambda)$/.test(before)) {
          bound.add(token.text);
          keywords.delete(token);
          if (unit[j + 1]?.text === "=") unit[j]!.renamed = "";
        }
      }
    }
    if (text === "for") {
      for (let j = i + 1; unit[j]!.text !== "in"; j++) {
        if (isName(unit[j])) bound.add(unit[j]!.text);
      }
    }
    if (text === "as" && isName(unit[i + 1])) bound.add(unit[i + 1]!.text);
    if (text === "global" || text === "import") {
      for (let j = i + 1; unit[j]!.kind !== "newline"; j++) outside.add(unit[j]!.text);
    }
    if (text === "=" && nesting === 0) {
      for (let j = start; j < i; j++) {
        const after = unit[j + 1]!.text;
        if (
          isName(unit[j]) && unit[j]!.nesting === 0 && unit[j - 1]?.text !== "." &&
          !/^[.([]$/.test(after)
        ) bound.add(unit[j]!.text);
      }
    }
    if (text === "=" && nesting > 0 && unit[i - 1]!.renamed === undefined) {
      keywords.add(unit[i - 1]!);
    }
  }
  const mine = (token: Token, i: number) =>
    isName(token) && bound.has(token.text) && !outside.has(token.text) && !known.has(token.text) &&
    unit[i - 1]?.text !== "." && !keywords.has(token) && !token.text.startsWith("__");
  const used = new Set<string>();
  unit.forEach((token, i) => {
    if (isName(token) && !mine(token, i)) used.add(globals.get(token.text) ?? token.text);
  });
  const short = new Map<string, string>();
  let next = 0;
  unit.forEach((token, i) => {
    // The name of the function itself is known outside.
    if (i === 1 || !mine(token, i)) return;
    let name = short.get(token.text);
    if (name === undefined) {
      do name = next < LETTERS.length ? LETTERS[next++]! : `l${next++}`; while (used.has(name));
      short.set(token.text, name);
    }
    token.renamed = name;
  });
}

interface Line {
  text: string;
  readonly depth: number;
}

function print(tokens: readonly Token[], short: ReadonlyMap<string, string>): string {
  const lines: Line[] = [];
  let depth = 0;
  let text = "";
  let last: Token | undefined;
  for (const token of tokens) {
    if (token.kind === "indent") depth++;
    else if (token.kind === "dedent") depth--;
    else if (token.kind === "newline") {
      lines.push({ text, depth });
      text = "";
      last = undefined;
    } else {
      const word = token.kind === "name"
        ? token.renamed || (short.get(token.text) ?? token.text)
        : token.names
        ? token.text.replace(/\w+/g, (name) => short.get(name) ?? name)
        : token.text;
      const glued = last !== undefined && /[\w"']$/.test(last.text) && /^[\w"']/.test(word);
      text += glued ? " " + word : word;
      last = token;
    }
  }
  return joined(lines).map(({ text, depth }) => " ".repeat(depth) + text + "\n").join("");
}

const COMPOUND = /^(@|(if|for|while|def|class|try|with|else|elif|except|finally|async)(?!\w))/;

/** Simple statements share a line, with what they are the body of if that has no others. */
function joined(lines: readonly Line[]): Line[] {
  const made: Line[] = [];
  for (let i = 0; i < lines.length; i++) {
    const { text, depth } = lines[i]!;
    const before = made.at(-1);
    if (COMPOUND.test(text) || !before || before.depth > depth) {
      made.push({ text, depth });
    } else if (before.depth === depth && !COMPOUND.test(before.text)) {
      before.text += ";" + text;
    } else if (before.depth === depth) {
      made.push({ text, depth });
    } else {
      let end = i;
      while (lines[end]?.depth === depth && !COMPOUND.test(lines[end]!.text)) end++;
      const alone = !(lines[end] && lines[end]!.depth >= depth);
      if (!alone) {
        made.push({ text, depth });
        continue;
      }
      before.text += lines.slice(i, end).map((line) => line.text).join(";");
      i = end - 1;
    }
  }
  return made;
}

/** The parts of the source, before and after the lines that begin with one of `marks`, made small with the same names. */
export function minifyPython(source: string, ...marks: string[]): string[] {
  const parts = [source];
  for (const mark of marks) {
    const whole = parts.pop()!;
    const end = whole.indexOf(`\n${mark}`) + 1;
    parts.push(whole.slice(0, end), whole.slice(end));
  }
  const tokens = parts.map((part) => withoutDocstrings(tokenize(part)));
  const globals = globalNames(tokens.flat());
  const short = shortNames(tokens.flat(), globals);
  for (const part of tokens) shortLocals(part, short, globals);
  return tokens.map((part) => print(part, short));
}
