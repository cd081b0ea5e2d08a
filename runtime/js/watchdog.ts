/**
 * Ends an agent on Windows whose parent is gone, even one that never looks at its input again.
 *
 * Elsewhere a shell sees to that, which costs less: the client's, or one beside the agent. Windows gives nobody another
 * parent, so a worker asks whether the parent is there, if that is permitted. A process may always kill itself.
 *
 * @module
 */

import { host } from "./host.ts";

/** How often the worker looks, in milliseconds. */
const INTERVAL = 300;

/** Starts the watch, before it resolves: the first call may never let go of this thread. It holds up no end. */
export async function startWatchdog(): Promise<void> {
  const source = `
const look = process => setInterval(() => {
  try {
    process.kill(${host.parent()}, 0);
  } catch (e) {
    if (e.code === "ESRCH") process.kill(process.pid, "SIGKILL");
  }
}, ${INTERVAL});
`;
  try {
    if (host.name === "node") {
      const { Worker } = await import("node:worker_threads");
      new Worker(source + `look(require("node:process"));`, { eval: true }).unref();
      return;
    }
    const code = source + `import("node:process").then(m => look(m.default));`;
    const url = `data:application/javascript,${encodeURIComponent(code)}`;
    const worker = new Worker(url, { type: "module" }) as Worker & { unref?: () => void };
    worker.unref?.();
  } catch {
    // Without workers the end of the input has to do.
  }
}
