/**
 * Ends an agent whose parent is gone, even one that never looks at its input again.
 *
 * A worker asks for the parent's id twice a second; when it changes, the parent has died, and the process is killed.
 * A process may always kill itself: no permission is needed for that. Windows gives nobody another parent: there it
 * is asked whether the parent is there, if that is permitted.
 *
 * @module
 */

import { host } from "./host.ts";

/** How often the worker looks, in milliseconds. */
const INTERVAL = 300;

/** Asked for at the start: when the watch begins, the parent may have gone already. */
const parent = host.parent();

/** Loaded early: when it is needed, there may be no time to wait. */
let threads: typeof import("node:worker_threads") | undefined;
if (host.name === "node") {
  import("node:worker_threads").then((module) => threads = module, () => {
    // Without workers the end of the input has to do.
  });
}

/** Starts the watch, before it returns. It does not keep the process alive. */
export function startWatchdog(): void {
  const source = `
const look = process => {
  const first = ${parent};
  setInterval(() => {
    if (process.ppid === first) try {
      if (process.platform === "win32") process.kill(first, 0);
      return;
    } catch (e) {
      if (e.code !== "ESRCH") return;
    }
    try { process.kill(-process.pid, "SIGKILL"); } catch {}
    process.kill(process.pid, "SIGKILL");
  }, ${INTERVAL});
};
`;
  try {
    if (host.name === "node") {
      if (!threads) return;
      new threads.Worker(source + `look(require("node:process"));`, { eval: true }).unref();
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
