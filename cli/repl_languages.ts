/**
 * The two languages of the prompt: when input is complete, how it is run, and what names there are.
 *
 * @module
 */

import type { Connection } from "../mod.ts";
import { prepare } from "./repl_source.ts";
import { type Show, showWith } from "./shown_values.ts";

/** What the prompt needs of a language. */
export interface Language {
  /** Its name, for the history. */
  readonly name: string;
  /**
   * Runs what was typed: its printed value, or `undefined` if it has none, or `"incomplete"` if more is to come. Calls are
   * ended by `signal`.
   */
  run(
    con: Connection,
    source: string,
    signal: AbortSignal,
  ): Promise<{ text: string | undefined } | "incomplete">;
  /** The names that an object has, or that there are; `path` is empty for the latter. One round trip. */
  names(con: Connection, path: string): Promise<string[]>;
}

/** The language of a connection's interpreter. */
export function languageOf(con: Connection, colours: boolean): Language {
  return con.interpreter.runtime === "python" ? new Python(con) : new JavaScript(con, colours);
}

/** The end of a line that is a path of names: `a.b.par` gives `a.b` and `par`. */
export function lastPath(line: string): { path: string; part: string } | undefined {
  const found =
    /((?:[\p{ID_Start}$_][\p{ID_Continue}$]*\??\.)*)([\p{ID_Start}$_][\p{ID_Continue}$]*)?$/u
      .exec(line);
  if (!found) return undefined;
  const before = line[found.index - 1];
  // What follows a call, an index or a string is not known without running it.
  if (found[0] === "" || before !== undefined && /[\])"'`.\p{ID_Continue}]/u.test(before)) {
    return undefined;
  }
  return { path: found[1]!.replaceAll("?.", ".").replace(/\.$/, ""), part: found[2] ?? "" };
}

class JavaScript implements Language {
  readonly name = "javascript";
  readonly #show: Show;
  readonly #declared = new Set<string>();

  constructor(con: Connection, colours: boolean) {
    this.#show = showWith(con, colours, true);
  }

  async run(
    all: Connection,
    source: string,
    signal: AbortSignal,
  ): Promise<{ text: string | undefined } | "incomplete"> {
    const con = all.with({ signal });
    const prepared = prepare(source);
    if (prepared === "incomplete") return prepared;
    const { statements, expression, declares } = prepared;
    if (statements.trim() !== "") await con.execute(statements);
    for (const name of declares) this.#declared.add(name);
    if (expression === undefined) return { text: declares.length > 0 ? "undefined" : undefined };
    return { text: await this.#show(con.eval(expression), signal) };
  }

  async names(con: Connection, path: string): Promise<string[]> {
    const source = `((value) => {
      const names = new Set();
      for (let object = Object(value); object !== null; object = Object.getPrototypeOf(object)) {
        for (const name of Object.getOwnPropertyNames(object)) names.add(name);
      }
      return [...names].filter((name) => /^[\\p{ID_Start}$_][\\p{ID_Continue}$]*$/u.test(name));
    })(${path === "" ? "globalThis" : path})`;
    const names = await con.eval(source) as string[];
    if (path !== "") return names;
    return [...this.#declared, ...names, ...KEYWORDS];
  }
}

const KEYWORDS =
  ("async await class const delete export false finally for function if import instanceof let new null return " +
    "switch this throw true try typeof undefined var void while yield").split(" ");

/** Runs a statement as Python's own prompt does: a value is printed by its `repr` and kept as `_`. */
const PYTHON_START = `
import codeop as _pushy_codeop, builtins as _pushy_builtins
def _pushy_run(_pushy_source, _pushy_names=globals()):
    try:
        code = _pushy_codeop.compile_command(_pushy_source, "<pushy>", "single")
    except (OverflowError, ValueError) as error:
        raise SyntaxError(str(error))
    if code is None:
        return [False, None]
    shown = []
    import sys
    before = sys.displayhook
    def show(value):
        if value is not None:
            _pushy_builtins._ = value
            shown.append(repr(value))
    sys.displayhook = show
    try:
        exec(code, _pushy_names)
    finally:
        sys.displayhook = before
    return [True, "\\n".join(shown) if shown else None]
def _pushy_names_of(_pushy_path, _pushy_names=globals()):
    if _pushy_path:
        return dir(eval(_pushy_path, _pushy_names))
    import keyword
    return [n for n in list(_pushy_names) + dir(_pushy_builtins) + keyword.kwlist if not n.startswith("_pushy")]
`;

class Python implements Language {
  readonly name = "python";
  readonly #started: Promise<void>;

  constructor(con: Connection) {
    this.#started = con.execute(PYTHON_START).then(() => {});
    // The first use tells of it.
    this.#started.catch(() => {});
  }

  async run(
    all: Connection,
    source: string,
    signal: AbortSignal,
  ): Promise<{ text: string | undefined } | "incomplete"> {
    const con = all.with({ signal });
    await this.#started;
    const run = con.eval("_pushy_run") as unknown as (
      source: string,
    ) => Promise<[boolean, string | null]>;
    const [complete, text] = await run(source);
    return complete ? { text: text ?? undefined } : "incomplete";
  }

  async names(con: Connection, path: string): Promise<string[]> {
    await this.#started;
    const names = con.eval("_pushy_names_of") as unknown as (path: string) => Promise<string[]>;
    return await names(path);
  }
}
