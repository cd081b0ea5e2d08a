/**
 * A conversation that uses all of the protocol, for the tests that break it.
 *
 * @module
 */

import { turn } from "./pair.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

class Thing {
  n = 1;
}

/** What the agent offers. */
export function conversationRoot(): object {
  return {
    join: (...parts: string[]) => parts.join("/"),
    echo: (value: unknown) => value,
    call: (f: Any, ...args: unknown[]) => f(...args),
    big: (n: number) => new Uint8Array(n).fill(7),
    object: new Thing(),
    fail: () => {
      throw new TypeError("no");
    },
    *count(to: number) {
      for (let i = 0; i < to; i++) yield i;
    },
    drain: async (stream: ReadableStream<Uint8Array>) => {
      let n = 0;
      for await (const bytes of stream) n += bytes.length;
      return n;
    },
    wait: (signal: AbortSignal) =>
      new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason))),
  };
}

const bytesOf = (n: number) =>
  new ReadableStream({
    type: "bytes",
    start(controller) {
      controller.enqueue(new Uint8Array(n));
      controller.close();
    },
  });

/** The same, for an agent that is told in JavaScript, or in Python. */
export const CONVERSATION = {
  javascript: `({
    join: (...parts) => parts.join("/"),
    echo: (value) => value,
    call: (f, ...args) => f(...args),
    big: (n) => new Uint8Array(n).fill(7),
    object: new class Thing { n = 1 },
    fail: () => { throw new TypeError("no") },
    *count(to) { for (let i = 0; i < to; i++) yield i },
    drain: async (stream) => { let n = 0; for await (const bytes of stream) n += bytes.length; return n },
    wait: (signal) => signal.aborted ? signal.reason
      : new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason))),
  })`,
  python: `
class Thing:
    n = 1
object = Thing()
def join(*parts): return "/".join(parts)
def echo(value): return value
def call(f, *args): return f(*args)
def big(n): return bytes(n)
def fail(): raise TypeError("no")
def count(to): yield from range(to)
def drain(stream): return len(stream.read())
def wait(signal):
    signal.wait()
    return "stop"
`,
};

/** Who holds a conversation: with what the other side offers. */
export interface Conversing {
  readonly root: Any;
  readonly client: { ping(): Promise<unknown> };
}

/** Holds the conversation; gives the promises of all that was asked for. */
export function converse({ root, client }: Conversing): Promise<unknown>[] {
  const controller = new AbortController();
  const iterate = async () => {
    let sum = 0;
    for await (const i of root.count(300)) sum += i;
    return sum;
  };
  const read = async () => {
    const stream = await root.echo(bytesOf(3000)) as ReadableStream;
    return (await new Response(stream).bytes()).length;
  };
  const write = async () => {
    const chunks: unknown[] = [];
    const stream = new WritableStream({ write: (chunk) => void chunks.push(chunk) });
    const writer = (await root.echo(stream) as WritableStream).getWriter();
    writer.closed.catch(() => {});
    await writer.write("one");
    await writer.close();
    return chunks;
  };
  const signal = async () => {
    const waits = root.wait(controller.signal).then((reason: unknown) => reason);
    waits.catch(() => {
      // Seen below, in a later turn.
    });
    await turn();
    controller.abort("stop");
    return await waits;
  };
  const own = async () => {
    using object = await root.object;
    return await object.n;
  };
  const settled = (promise: PromiseLike<unknown>) => Promise.resolve(promise);
  return [
    settled(root.join("a", root.join("b", "c"))),
    settled(root.echo(new Map<unknown, unknown>([[1n, [undefined, new Date(0)]]]))),
    settled(root.call((x: number) => root.echo(x + 1), 1)),
    settled(root.call(() => {
      throw new RangeError("mine");
    })),
    settled(root.fail()),
    settled(root.big(40_000)),
    settled(root.echo(new Uint8Array(40_000))),
    settled(root.drain(bytesOf(20_000))),
    settled(root.echo(Promise.resolve("late"))),
    iterate(),
    read(),
    write(),
    signal(),
    own(),
    client.ping(),
  ];
}

/** Waits for promises, but no longer than so many turns; says which never settled. */
export async function unsettled(promises: readonly Promise<unknown>[], turns = 300) {
  const open = new Set(promises.keys());
  for (const [index, promise] of promises.entries()) {
    const done = () => open.delete(index);
    promise.then(done, done);
  }
  for (let i = 0; i < turns && open.size > 0; i++) await turn();
  return [...open];
}
