/**
 * The JavaScript agent: the protocol core in a thin shell. It is bundled to `runtime/generated/js_agent.ts`, and runs
 * in Deno, Node and Bun.
 *
 * @module
 */

import { open } from "../../protocol/access.ts";
import { ConnectionClosedError } from "../../protocol/errors.ts";
import { Session } from "../../protocol/session.ts";
import * as hugePages from "../huge_pages.ts";
import { largeArray } from "../large_arrays.ts";
import { type Files, makeFiles } from "./files.ts";
import { host } from "./host.ts";
import { captureOutput } from "./output.ts";
import { banner, makeRoot, RunningCall, type Settings } from "./root.ts";
import { startWatchdog } from "./watchdog.ts";
import { type Loaded, openWires } from "./wires.ts";

/**
 * Evaluates the rest of the agent where the names of this part are known: it is put in when the agent is made.
 */
declare const PUSHY_EVALUATE: (code: string) => void;

/** Runs the agent on what the loader has opened. */
export async function start(loaded: Loaded): Promise<void> {
  host.unset(hugePages.NAME, hugePages.VALUE);
  const wires = await openWires(loaded);
  let settings: Settings = {};
  let files: { files: Files; abandon(): void } | undefined;
  let over = false;
  const finish = (clean: boolean) => {
    if (over) return;
    over = true;
    files?.abandon();
    if (clean) host.ignoreTermination();
    host.endGroup(clean ? "SIGTERM" : "SIGKILL");
    host.exit(clean ? 0 : 1);
  };
  const calls = new RunningCall();
  const encoder = new TextEncoder();
  let answered = false;
  const session = new Session({
    access: open,
    // Whoever uses them has sent the rest.
    root: makeRoot(() => settings, () => (files ??= makeFiles()).files),
    context: calls,
    // Until the rest is there, it is not; the largest values bring it with them.
    makeArray: (length) => largeArray?.(length) ?? new Uint8Array(length),
    send(bytes) {
      const written = wires.write(bytes);
      if (!answered) {
        answered = true;
        // Not before the first result has left: a first timer costs Deno 5 ms.
        setInterval(() => session.tick(), settings.gcInterval ?? 5000);
      }
      return written;
    },
    complete(packing, text) {
      const take = (code: string) => {
        PUSHY_EVALUATE(code);
        // There the client sends it at once.
        return /^win/.test(host.platform) ? startWatchdog() : undefined;
      };
      if (packing === "p") return take(text);
      const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      return loaded.unpack!(packed).then((code) => take(new TextDecoder().decode(code)));
    },
    onHello(sent) {
      settings = sent as Settings;
      Object.assign(session.limits, settings.limits);
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
  wires.read((bytes) => session.receive(bytes), () => finish(false));
}
