/**
 * What ends a server's program when its own thread cannot: while a client's code loops without waiting, no signal is
 * heard there.
 *
 * A worker hears the signals too. When the grace is over it asks the program's thread for an answer, and kills the process
 * if there is none. A process may always kill itself: no permission is needed for that.
 *
 * @module
 */

/** How long calls may take to finish when a server ends, in ms. */
export const DEFAULT_GRACE = 5000;

/** How long the program's thread may be silent once the grace is over, in ms. */
const PATIENCE = 2000;

const SOURCE = `
import process from "node:process";
const { signals, grace, patience, quiet } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
let over, begun = false;
const kill = () => {
  const reason = "a call does not give way, and " + grace + " ms of grace are over";
  const line = JSON.stringify({ time: new Date().toISOString(), event: "killed", reason });
  try { if (!quiet) Deno.stderr.writeSync(new TextEncoder().encode(line + "\\n")); } catch {}
  process.kill(process.pid, "SIGKILL");
};
const ask = () => {
  over = setTimeout(kill, patience);
  postMessage("");
};
const begin = () => {
  if (!begun) setTimeout(ask, grace);
  begun = true;
};
onmessage = () => {
  clearTimeout(over);
  setTimeout(ask, patience);
};
for (const signal of signals) Deno.addSignalListener(signal, begin);
`;

/** What the watch goes by. */
export interface EndOptions {
  /** What asks the program to end. */
  readonly signals: readonly Deno.Signal[];
  /** How long calls may take to finish then, in ms. */
  readonly grace: number;
  /** No line in the log. */
  readonly quiet: boolean;
}

/** Watches over the end that signals ask for; `stop` ends the watch. It does not keep the program alive. */
export function guardEnd(options: EndOptions): { stop(): void } {
  const settings = encodeURIComponent(JSON.stringify({ ...options, patience: PATIENCE }));
  const url = `data:application/javascript,${encodeURIComponent(SOURCE)}#${settings}`;
  const worker = new Worker(url, { type: "module" }) as Worker & { unref?(): void };
  worker.onmessage = () => worker.postMessage("");
  // Without it the server ends as ever, but while its thread is busy.
  worker.onerror = (event) => event.preventDefault();
  worker.unref?.();
  return { stop: () => worker.terminate() };
}
