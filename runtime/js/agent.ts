/**
 * The JavaScript agent: the protocol core in a thin shell. It is bundled to `runtime/generated/js_agent.ts`, and runs
 * in Deno, Node and Bun.
 *
 * @module
 */

import { open } from "../../protocol/access.ts";
import { ConnectionClosedError } from "../../protocol/errors.ts";
import type { Answer } from "../../protocol/calls.ts";
import { type CallContext, Session } from "../../protocol/session.ts";
import { compile, Scope } from "./evaluate.ts";
import { type Files, makeFiles } from "./files.ts";
import { host } from "./host.ts";
import { importModule, Modules } from "./modules.ts";
import { captureOutput } from "./output.ts";
import { startWatchdog } from "./watchdog.ts";
import { type Loaded, openWires } from "./wires.ts";

/** What the client's first message says. */
interface Settings {
  cache?: boolean;
  limits?: Record<string, number>;
}

/** What the client reaches at target 0. */
function makeRoot(settings: () => Settings, files: Files): Record<string, unknown> {
  const importing = (name: string) => importModule(name, settings().cache ?? true);
  const scope = new Scope();
  return Object.assign(Object.create(null), {
    modules: new Modules(importing),
    globals: globalThis,
    import: importing,
    eval: (code: string, within: Scope = scope) => within.eval(code),
    execute: (source: string, within: Scope = scope) => within.execute(source),
    compile: (source: string, names: string[], values: unknown[], within?: Scope) =>
      compile(source, names, values, within),
    scope: (initial?: Record<string, unknown>) => new Scope(initial),
    files,
  });
}

/**
 * The call that is running, for as long as it runs without waiting. Code that it calls finds out there whether the caller
 * has lost interest: `globalThis[Symbol.for("pushy.signal")]` is an `AbortSignal` then.
 */
class RunningCall implements CallContext {
  #answer: Answer | undefined;

  constructor() {
    Object.defineProperty(globalThis, Symbol.for("pushy.signal"), {
      get: () => this.#answer?.signal,
      configurable: true,
    });
  }

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

/** Runs the agent on what the loader has opened. */
export async function start(loaded: Loaded): Promise<void> {
  const wires = await openWires(loaded);
  let settings: Settings = {};
  const { files, abandon } = makeFiles();
  let over = false;
  const finish = (clean: boolean) => {
    if (over) return;
    over = true;
    abandon();
    if (clean) host.ignoreTermination();
    host.endGroup(clean ? "SIGTERM" : "SIGKILL");
    host.exit(clean ? 0 : 1);
  };
  const calls = new RunningCall();
  const encoder = new TextEncoder();
  let settled = false;
  const session = new Session({
    access: open,
    root: makeRoot(() => settings, files),
    context: calls,
    send(bytes) {
      const written = wires.write(bytes);
      if (!settled) {
        settled = true;
        // Not before the first result has left: a first timer costs Deno 5 ms, and a worker more.
        setTimeout(startWatchdog, 50);
        setInterval(() => session.tick(), 5000);
      }
      return written;
    },
    onHello: (sent) => settings = sent as Settings,
    onClose: (reason) =>
      finish(reason instanceof ConnectionClosedError || /closed/.test(reason.message)),
  });
  const banner = {
    runtime: host.name,
    version: host.version,
    pid: host.pid,
    platform: host.platform,
  };
  await wires.write(encoder.encode(`\nPUSHY/1 ${JSON.stringify(banner)}\n`));
  captureOutput((descriptor, bytes) => {
    session.output(descriptor, bytes);
    session.flush();
  });
  wires.read((bytes) => session.receive(bytes), () => finish(false));
}
