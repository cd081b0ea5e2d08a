/**
 * What a client finds at a JavaScript interpreter: the same at an agent that was brought in, and at a server.
 *
 * @module
 */

import type { Answer } from "../../protocol/answers.ts";
import type { Limits } from "../../protocol/limits.ts";
import type { CallContext } from "../../protocol/session.ts";
import { compile } from "./compile.ts";
import { Scope } from "./evaluate.ts";
import type { Files } from "./files.ts";
import { host } from "./host.ts";
import { importModule, Modules } from "./modules.ts";

/** What the client's first message says. */
export interface Settings {
  /** May modules be fetched, and kept in the cache folder? */
  cache?: boolean;
  /** Those of the client's limits that the agent is to keep to. */
  limits?: Partial<Limits>;
  /** How often what was collected is given back, in milliseconds. */
  gcInterval?: number;
}

/** A scope, or the variables of one that is for a single call. */
type Variables = Scope | Record<string, unknown>;

function scopeOf(variables: Variables): Scope {
  return variables instanceof Scope ? variables : new Scope(variables);
}

/** What the client reaches at target 0. */
export function makeRoot(settings: () => Settings, files: () => Files): Record<string, unknown> {
  const importing = (name: string) => importModule(name, settings().cache ?? true);
  const scope = new Scope();
  return {
    __proto__: null,
    modules: new Modules(importing),
    globals: globalThis,
    import: importing,
    eval: (code: string, within: Variables = scope) => scopeOf(within).eval(code),
    execute: (source: string, within: Variables = scope) => scopeOf(within).execute(source),
    compile: (source: string, names: string[], values: unknown[], within?: Scope) =>
      compile(source, names, values, within),
    scope: (initial?: Record<string, unknown>) => new Scope(initial),
    get files() {
      return files();
    },
  };
}

/**
 * The call that is running, for as long as it runs without waiting. Code that it calls finds out there whether the caller
 * has lost interest: `globalThis[Symbol.for("pushy.signal")]` is an `AbortSignal` then.
 */
export class RunningCall implements CallContext {
  #answer: Answer | undefined;

  /** Makes the property of the global object. */
  constructor() {
    Object.defineProperty(globalThis, Symbol.for("pushy.signal"), {
      get: () => this.#answer?.signal,
      configurable: true,
    });
  }

  /** Runs `work` as the call that `answer` is for. */
  run<T>(answer: Answer, work: () => T): T {
    const before = this.#answer;
    this.#answer = answer;
    try {
      return work();
    } finally {
      this.#answer = before;
    }
  }

  /** Only an interpreter with threads has a use for that. */
  current(): undefined {
    return undefined;
  }
}

/** What an agent says before its first frame; a server's is `shared`. */
export function banner(shared?: true): string {
  const { name, version, pid, platform } = host;
  return `\nPUSHY/1 ${JSON.stringify({ runtime: name, version, pid, platform, shared })}\n`;
}
