/**
 * The JavaScript agent: the protocol core in a thin shell. It is bundled to `runtime/generated/js_agent.ts`, and runs
 * in Deno, Node and Bun.
 *
 * @module
 */

import { open } from "../../protocol/access.ts";
import { ConnectionClosedError } from "../../protocol/errors.ts";
import { type Limits, resolveLimits } from "../../protocol/limits.ts";
import { Session } from "../../protocol/session.ts";
import { compile, Scope } from "./evaluate.ts";
import { host } from "./host.ts";
import { importModule, Modules } from "./modules.ts";
import { captureOutput } from "./output.ts";
import { startWatchdog } from "./watchdog.ts";
import { type Loaded, openWires } from "./wires.ts";

/** What the client's first message says. */
interface Settings {
  cache?: boolean;
  limits?: Partial<Limits>;
}

/** What the client reaches at target 0. */
export function makeRoot(settings: () => Settings): Record<string, unknown> {
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
  });
}

/** Runs the agent on what the loader has opened. */
export async function start(loaded: Loaded): Promise<void> {
  const wires = await openWires(loaded);
  let settings: Settings = {};
  let over = false;
  const finish = (clean: boolean) => {
    if (over) return;
    over = true;
    if (clean) host.ignoreTermination();
    host.endGroup(clean ? "SIGTERM" : "SIGKILL");
    host.exit(clean ? 0 : 1);
  };
  const encoder = new TextEncoder();
  let answered = false;
  let watched = false;
  const watch = () => {
    if (!watched) startWatchdog();
    watched = true;
  };
  const session = new Session({
    access: open,
    root: makeRoot(() => settings),
    send(bytes) {
      const written = wires.write(bytes);
      if (!answered && session.stats.framesSent > 0) {
        answered = true;
        setTimeout(watch, 20);
      }
      return written;
    },
    onHello(sent) {
      settings = sent as Settings;
      // What the caller would refuse is refused here, where it is the one call's error.
      const { frameBytes, valueBytes, depth, streamWindow } = resolveLimits(settings.limits);
      Object.assign(session.limits, { frameBytes, valueBytes, depth, streamWindow });
    },
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
  setInterval(() => session.tick(), 5000);
  wires.read((bytes) => {
    // Whatever comes after the first result may never let go of this thread.
    if (answered) watch();
    session.receive(bytes);
  }, () => finish(false));
}
