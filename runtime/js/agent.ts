/**
 * The JavaScript agent: the protocol core in a thin shell. It is bundled to `runtime/generated/js_agent.ts`, and runs
 * in Deno, Node and Bun.
 *
 * @module
 */

import { open } from "../../protocol/access.ts";
import { ConnectionClosedError } from "../../protocol/errors.ts";
import { resolveLimits } from "../../protocol/limits.ts";
import { Session } from "../../protocol/session.ts";
import * as hugePages from "../huge_pages.ts";
import { makeFiles } from "./files.ts";
import { host } from "./host.ts";
import { captureOutput } from "./output.ts";
import { banner, makeRoot, RunningCall, type Settings } from "./root.ts";
import { startWatchdog } from "./watchdog.ts";
import { type Loaded, openWires } from "./wires.ts";

/** Runs the agent on what the loader has opened. */
export async function start(loaded: Loaded): Promise<void> {
  host.unset(hugePages.NAME, hugePages.VALUE);
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
  let answered = false;
  let watched = false;
  const watch = () => {
    if (!watched) startWatchdog();
    watched = true;
  };
  const session = new Session({
    access: open,
    root: makeRoot(() => settings, files),
    context: calls,
    send(bytes) {
      const written = wires.write(bytes);
      if (!answered) {
        answered = true;
        // Not before the first result has left: a first timer costs Deno 5 ms, and a worker more.
        setTimeout(watch, 50);
        setInterval(() => session.tick(), settings.gcInterval ?? 5000);
      }
      return written;
    },
    onHello(sent) {
      settings = sent as Settings;
      // What the caller would refuse is refused here, where it is the one call's error.
      const { frameBytes, valueBytes, depth, streamWindow } = resolveLimits(settings.limits);
      Object.assign(session.limits, { frameBytes, valueBytes, depth, streamWindow });
    },
    onClose(reason) {
      const end = () =>
        finish(reason instanceof ConnectionClosedError || /closed/.test(reason.message));
      // The last message says why; a peer that does not take it must not keep the process.
      session.written.then(end);
      setTimeout(end, 500);
    },
  });
  await wires.write(encoder.encode(banner()));
  captureOutput((descriptor, bytes) => {
    session.output(descriptor, bytes);
    session.flush();
  });
  wires.read((bytes) => {
    // Whatever comes after the first result may never let go of this thread.
    if (answered) watch();
    session.receive(bytes);
  }, () => finish(false));
}
