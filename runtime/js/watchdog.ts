/**
 * Ends an agent whose parent is gone, even one that never looks at its input again.
 *
 * A worker asks for the parent's id twice a second; when it changes, the parent has died, and the process is killed.
 * A process may always kill itself: no permission is needed for that.
 *
 * @module
 */

import { host } from "./host.ts";

/** How often the worker looks, in milliseconds. */
const INTERVAL = 300;

/** Starts the watch. It does not keep the process alive. */
export async function startWatchdog(): Promise<void> {
  const source = `
const look = process => {
  const first = process.ppid;
  setInterval(() => {
    if (process.ppid === first) return;
    try { process.kill(-process.pid, "SIGKILL"); } catch {}
    process.kill(process.pid, "SIGKILL");
  }, ${INTERVAL});
};
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
