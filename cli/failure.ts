/**
 * How a command ends: what it says of an error, and its exit status.
 *
 * @module
 */

import { RemoteError } from "../mod.ts";
import { note } from "./terminal.ts";

/** The command ends with this status; what there was to say has been said. */
export class Exit extends Error {
  override readonly name = "Exit";
  /** The exit status. */
  readonly status: number;

  /** Makes it. */
  constructor(status: number) {
    super(`exit status ${status}`);
    this.status = status;
  }
}

/** What is told of an error: of a remote one its stack there, of one of this side its message. */
export function describeError(error: unknown): string {
  if (error instanceof RemoteError) {
    const stack = error.remoteStack.trimEnd();
    // Python's end with what it was, in words of their own for a syntax error.
    const says = stack.includes(error.message) || /^(Traceback| {2}File )/.test(stack);
    return says ? stack : `${error.type}: ${error.message}\n${stack}`;
  }
  if (error instanceof Error) return error.message;
  return String(error);
}

/** Says what was wrong, and gives the exit status: 1, 130 for Ctrl-C, or 141 where nobody reads the output any more. */
export function report(error: unknown): number {
  if (error instanceof Exit) return error.status;
  if (error instanceof Interrupted) return 130;
  // Who reads the output has seen enough of it, like `head`: as if the signal had ended this program.
  if (error instanceof Deno.errors.BrokenPipe) return 141;
  note(`${error instanceof RemoteError ? "" : "pushy: "}${describeError(error).trimEnd()}\n`);
  return 1;
}

/** Ctrl-C was pressed. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";

  /** Makes it. */
  constructor() {
    super("Interrupted");
  }
}

/** Runs `work` with a signal that is aborted by Ctrl-C; a second Ctrl-C ends the program. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) Deno.exit(130);
    controller.abort(new Interrupted());
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, interrupt);
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, interrupt);
  }
}
