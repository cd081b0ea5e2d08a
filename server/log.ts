/**
 * The server's log: one JSON object a line, on standard error, without secrets.
 *
 * @module
 */

/** One event: its name, and what is known of it. */
export type LogEvent =
  & { readonly event: string }
  & Readonly<
    Record<string, string | number | boolean | undefined>
  >;

/** Takes events. */
export type Log = (event: LogEvent) => void;

/** Writes events to standard error, as it was when the log was made. */
export function stderrLog(): Log {
  const { stderr } = Deno;
  // Clients' output is caught by replacing this method.
  const writeSync = stderr.writeSync.bind(stderr);
  const encoder = new TextEncoder();
  return (event) => {
    const line = JSON.stringify({ time: new Date().toISOString(), ...event }, printable);
    const bytes = encoder.encode(`${line}\n`);
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(bytes.subarray(at));
    } catch {
      // Standard error is closed: there is nobody left to tell.
    }
  };
}

/** Nothing that comes from outside may act on a terminal, or be long. */
function printable(_key: string, value: unknown): unknown {
  if (typeof value !== "string") return value;
  // deno-lint-ignore no-control-regex
  return value.slice(0, 500).replace(/[\x00-\x1f\x7f-\x9f]/g, "\ufffd");
}
