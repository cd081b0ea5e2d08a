import type { TestConnection } from "../matrix.ts";

/** How many answers were waited for, from the start of `work` to its result. */
export async function roundTrips<T>(
  con: TestConnection,
  work: () => PromiseLike<T>,
): Promise<{ trips: number; value: T }> {
  const before = con.stats.roundTrips;
  const value = await work();
  return { trips: con.stats.roundTrips - before, value };
}

/** Exchanges messages with the peer until `condition` holds; fails if it never does. */
export async function until(con: TestConnection, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (condition()) return;
    await pause(con, 1);
  }
  throw new Error(`This never came to hold: ${condition}`);
}

/** Lets the remote side wait. */
async function pause(con: TestConnection, ms: number): Promise<void> {
  await con.eval(
    con.interpreter.runtime === "python"
      ? `__import__("time").sleep(${ms / 1000})`
      : `new Promise((resolve) => setTimeout(resolve, ${ms}))`,
  );
}

/** Lets everything that is under way arrive, on both sides. */
export async function settle(con: TestConnection): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await pause(con, 0);
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Collects the rejections that nobody handles, instead of the program's end. */
export function unhandledRejections(): { reasons: unknown[] } & Disposable {
  const reasons: unknown[] = [];
  const listener = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  addEventListener("unhandledrejection", listener);
  return {
    reasons,
    [Symbol.dispose]: () => removeEventListener("unhandledrejection", listener),
  };
}
