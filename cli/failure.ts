/**
 * How a command ends: what it says of an error, and its exit status.
 *
 * @module
 */

import { RemoteError } from "../mod.ts";
import { messageHere } from "./hints.ts";
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
  if (error instanceof Error) return messageHere(error.message);
  return String(error);
}

/** Says what was wrong, and gives the exit status: 1, that of a signal (130 for Ctrl-C), or 141 where nobody reads the output any more. */
export function report(error: unknown): number {
  if (error instanceof Exit) return error.status;
  if (error instanceof Interrupted) return error.status;
  // Who reads the output has seen enough of it, like `head`: as if the signal had ended this program.
  if (error instanceof Deno.errors.BrokenPipe) return 141;
  note(`${error instanceof RemoteError ? "" : "pushy: "}${describeError(error).trimEnd()}\n`);
  return 1;
}

/** The exit status of each signal that ends a command. */
const STATUS: Partial<Record<Deno.Signal, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

/** Ctrl-C was pressed, or the command was asked to end, or its terminal was closed. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** The exit status. */
  readonly status: number;

  /** Makes it. */
  constructor(signal: Deno.Signal = "SIGINT") {
    super("Interrupted");
    this.status = STATUS[signal] ?? 130;
  }
}

/** Runs `work` with a signal that is aborted by Ctrl-C and the like; a second one ends the program. */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT"]
    : ["SIGINT", "SIGTERM", "SIGHUP"];
  const listeners = signals.map((signal) => {
    const interrupted = new Interrupted(signal);
    const interrupt = () => {
      // A terminal that is closed may say so more than once.
      if (controller.signal.aborted && signal !== "SIGHUP") Deno.exit(interrupted.status);
      controller.abort(interrupted);
    };
    Deno.addSignalListener(signal, interrupt);
    return [signal, interrupt] as const;
  });
  try {
    return await work(controller.signal);
  } finally {
    for (const [signal, interrupt] of listeners) Deno.removeSignalListener(signal, interrupt);
  }
}
