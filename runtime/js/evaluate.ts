/**
 * Evaluation in a live JavaScript interpreter: scopes that keep what was declared in them.
 *
 * A scope is a chain of closures. Each `execute` evaluates its source inside the closure that the one before it
 * left, and leaves a new one, which sees what the source declared: `let`, `const` and classes too. The
 * outermost closure stands in a `with` over an object that catches assignments to names that are declared
 * nowhere. It is the one way that works alike in V8 and JavaScriptCore, without a parser, and in the main realm.
 *
 * @module
 */

import { STEP, type Stepping } from "../../protocol/access.ts";
import { How } from "../../protocol/messages.ts";

type Evaluate = (code: string, argument?: unknown) => unknown;

/**
 * Names that scripts look for to find out where they run. A scope does not claim them, so that
 * `typeof module` is "undefined" and not an error.
 */
const PROBED = new Set([
  "module",
  "exports",
  "require",
  "define",
  "window",
  "self",
  "global",
  "document",
  "process",
  "Buffer",
  "Deno",
  "Bun",
]);

/** What a name for a variable looks like. */
export const IDENTIFIER: RegExp = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;

/** Names that can be evaluated, and stand for no variable of the scope's. */
const NO_VARIABLES = new Set(["this", "true", "false", "null", "arguments", "eval"]);

const NAMES = /(?<![\p{ID_Continue}$])[\p{ID_Start}$_][\p{ID_Continue}$]*/gu;

/** The name of the closures below, whose frames no stack shows. */
const AGENT = "pushy:agent";
/** The closure's own `eval`; it has no names that the code could see but `arguments`. */
const NEXT = `\n;({"${AGENT}"(){return eval(arguments[0])}})["${AGENT}"]\n//# sourceURL=execute`;
/** What the frames of evaluated code are called in a stack. */
const NAME = "\n//# sourceURL=eval";

/** Variables that outlive the code that made them. */
export class Scope implements Stepping {
  readonly #variables: Record<string, unknown> = Object.create(null);
  #evaluate: Evaluate;
  /** What `execute` may have declared: every name in its source. */
  readonly #candidates = new Set<string>();
  /** Is `execute` running? Only then does the scope claim names that are declared nowhere. */
  #catching = false;

  /** Starts with the variables of `initial`. */
  constructor(initial: Record<string, unknown> = {}) {
    for (const key of Object.keys(initial)) this.#variables[key] = initial[key];
    const variables = this.#variables;
    const catcher = new Proxy(variables, {
      has: (_, key) =>
        typeof key === "string" &&
        (key in variables || this.#catching && !(key in globalThis) && !PROBED.has(key)),
      get(_, key) {
        if (typeof key === "symbol") return undefined;
        if (key in variables) return variables[key];
        throw new ReferenceError(`${key} is not defined`);
      },
    });
    this.#evaluate = new Function(
      `with(arguments[0]){return{"${AGENT}"(){return eval(arguments[0])}}["${AGENT}"]}`,
    )(catcher) as Evaluate;
  }

  /** Runs statements; what they declare stays. Their own value is not given. */
  execute(source: string): void {
    for (const [name] of source.matchAll(NAMES)) this.#candidates.add(name);
    this.#catching = true;
    try {
      this.#evaluate = this.#evaluate(source + NEXT) as Evaluate;
    } finally {
      this.#catching = false;
    }
  }

  /** The value of an expression, in which `await` may be used; else that of the last statement. */
  eval(code: string): unknown {
    let run: () => unknown;
    try {
      run = this.#evaluate(`(async function(){return (\n${code}\n)})${NAME}`) as () => unknown;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      return this.#evaluate(code + NAME);
    }
    return run();
  }

  /** The value of source that must be one expression. */
  expression(source: string): unknown {
    return this.#evaluate(`(${source}\n)`);
  }

  /** The scope's variables as properties. */
  [STEP](how: How, key: string, args: unknown[]): unknown {
    switch (how) {
      case How.keys:
        return this.#keys();
      case How.set:
        this.#check(key);
        if (this.#has(key)) this.#evaluate(`${key}=arguments[1]`, args[0]);
        else this.#variables[key] = args[0];
        return undefined;
      case How.delete:
        delete this.#variables[key];
        return undefined;
      case How.has:
        return IDENTIFIER.test(key) && this.#has(key);
      default:
        return IDENTIFIER.test(key) && this.#has(key) ? this.#evaluate(key) : undefined;
    }
  }

  /** A closure does not list its variables: each candidate is looked for. */
  #keys(): string[] {
    const global = globalThis as unknown as Record<string, unknown>;
    const declared = [...this.#candidates].filter((name) => {
      if (name in this.#variables || !this.#has(name)) return false;
      try {
        return !(name in global) || this.#evaluate(name) !== global[name];
      } catch {
        return true;
      }
    });
    return [...Object.keys(this.#variables), ...declared];
  }

  #check(key: string): void {
    if (!IDENTIFIER.test(key)) {
      throw new TypeError(`Cannot set "${key}" in a scope: it is not a name for a variable`);
    }
  }

  #has(key: string): boolean {
    if (NO_VARIABLES.has(key)) return false;
    try {
      this.#evaluate(key);
      return true;
    } catch (error) {
      // A reserved word is no variable; one that is declared and not yet set is.
      return error instanceof ReferenceError &&
        /before initialization|lexical/.test(error.message);
    }
  }
}
