/**
 * The two languages of the prompt: when input is complete, how it is run, and what names there are.
 *
 * @module
 */

import { type Connection, RemoteError } from "../mod.ts";
import { prepare } from "./repl_source.ts";
import { type Show, showWith } from "./shown_values.ts";

/** What the prompt needs of a language. */
export interface Language {
  /** Its name, for the history. */
  readonly name: string;
  /** What stands before a line that begins something. */
  readonly prompt: string;
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
  /** The exit status, if an error is the language's way to leave its prompt. */
  leaves(error: unknown): number | undefined;
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
  readonly prompt = "> ";
  readonly #show: Show;
  readonly #keep: (value: unknown) => unknown;
  readonly #declared = new Set<string>();

  constructor(con: Connection, colours: boolean) {
    this.#show = showWith(con, colours, true);
    // The first use tells of what is wrong with it.
    con.execute("var _").catch(() => {});
    // A declaration of that name that comes later hides this one, and is left alone.
    this.#keep = con.eval("(value) => _ = value") as unknown as (value: unknown) => unknown;
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
    return { text: await this.#show(this.#keep(con.eval(expression)), signal) };
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

  leaves(): undefined {}
}

const KEYWORDS =
  ("async await class const delete export false finally for function if import instanceof let new null return " +
    "switch this throw true try typeof undefined var void while yield").split(" ");

/**
 * Runs a statement as Python's own prompt does: a value is printed by its `repr` and kept as `_`.
 *
 * It is compiled under the name of the agent's own source, whose frames no stack shows.
 */
const PYTHON_START = `
def _pushy_start(names):
    import builtins, codeop, sys
    compiler = codeop.CommandCompiler()
    if sys.version_info >= (3, 8):
        compiler.compiler.flags |= 0x2000
    class Shown(list):
        def __enter__(self):
            self.before = sys.displayhook
            sys.displayhook = self.show
        def __exit__(self, *error):
            sys.displayhook = self.before
        def show(self, value):
            if value is not None:
                builtins._ = value
                self.append(repr(value))
        def result(self):
            return [True, "\\n".join(self) if self else None]
    async def finish(waiting, shown):
        with shown:
            await waiting
        return shown.result()
    def run(source):
        try:
            code = compiler(source, "<pushy>", "single")
        except SyntaxError as error:
            raise error.with_traceback(None)
        except (OverflowError, ValueError) as error:
            raise SyntaxError(str(error)) from None
        if code is None:
            return [False, None]
        shown = Shown()
        with shown:
            waiting = eval(code, names)
        return finish(waiting, shown) if code.co_flags & 0x80 else shown.result()
    def names_of(path):
        if path:
            return dir(eval(path, names))
        import keyword
        return [n for n in list(names) + dir(builtins) + keyword.kwlist if not n.startswith("_pushy")]
    return run, names_of
_pushy_run, _pushy_names_of = _pushy_start(globals())
`;

class Python implements Language {
  readonly name = "python";
  readonly prompt = ">>> ";
  readonly #started: Promise<void>;

  constructor(con: Connection) {
    const source = JSON.stringify(PYTHON_START);
    this.#started = con.execute(`exec(compile(${source}, "pushy:agent", "exec"))`).then(() => {});
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
  leaves(error: unknown): number | undefined {
    if (!(error instanceof RemoteError) || error.type !== "SystemExit") return undefined;
    const { code, message } = error as { code?: unknown; message: string };
    if (typeof code === "number") return code;
    // One with a reason is told, as any error is.
    return message === "" || message === "None" ? 0 : undefined;
  }
}
