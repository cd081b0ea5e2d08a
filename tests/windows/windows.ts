/**
 * What the tests of the Windows ways share: that they need Windows, a conversation that shows that a connection
 * is whole, and a transport that does what an SSH daemon on Windows does with a command line.
 *
 * `deno task test:windows` runs them under Wine.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import type { BaseTransport, Connection } from "../../mod.ts";
import { RemoteError } from "../../mod.ts";
import { type Requirement, requiresAll, requiresThat } from "../support/requirement.ts";

const windows: Requirement = requiresThat(
  Deno.build.os === "windows",
  "not Windows: it runs what only Windows has",
  "`deno task test:windows` runs it under Wine",
);

/** A test that is skipped on any other system, for `Deno.test`; and where something that it needs is not there. */
export function onWindows(
  name: string,
  fn: () => Promise<void>,
  needs: Requirement = { ignore: false },
): Deno.TestDefinition {
  return { name: `windows: ${name}`, ...requiresAll(windows, needs), fn };
}

/** Where Node is, and a test's need of it. */
export const node: string | undefined = Deno.env.get("PUSHY_WINDOWS_NODE");
/** Skips a test that needs Node. */
export const needsNode: Requirement = Deno.build.os === "windows"
  ? requiresThat(
    node !== undefined,
    "PUSHY_WINDOWS_NODE is not set: it is the path of node.exe",
    "set it",
  )
  : { ignore: false };

/** Values, callbacks, errors, streams and large values, there and back. */
export async function converse(con: Connection<"deno" | "node">): Promise<void> {
  assertEquals(await con.eval("1 + 2"), 3);
  assertEquals(await con.eval("({ map: new Map([[1, 2n]]), text: 'ä' })"), {
    map: new Map([[1, 2n]]),
    text: "ä",
  });
  const apply = await con.compile(
    (f: (n: number) => Promise<number>, n: number) => f(n).then((twice) => twice + 1),
  );
  assertEquals(await apply((n: number) => Promise.resolve(2 * n), 20), 41);

  const error = await assertRejects(
    async () => await con.eval("null.nothing"),
    RemoteError,
  );
  assertEquals(error.type, "TypeError");

  const count = await con.compile(async (stream: ReadableStream<Uint8Array>) => {
    let bytes = 0;
    for await (const chunk of stream) bytes += chunk.length;
    return bytes;
  });
  const chunk = new Uint8Array(100_000);
  let left = 30;
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (left-- > 0) controller.enqueue(chunk.slice());
      else controller.close();
    },
  });
  assertEquals(await count(source), 3_000_000);
  const there = await con.eval<AsyncIterable<number>>(
    "(async function* () { for (let i = 0; i < 50; i++) yield i })()",
  );
  let sum = 0;
  for await (const n of there) sum += n;
  assertEquals(sum, 1225);

  const big = crypto.getRandomValues(new Uint8Array(65_536));
  const many = new Uint8Array(80 * big.length);
  for (let i = 0; i < 80; i++) many.set(big, i * big.length);
  const echo = await con.compile((bytes: Uint8Array) => bytes.slice());
  const back = await echo(many);
  assert(back.every((byte: number, i: number) => byte === many[i]));

  const calls = await Promise.all(
    Array.from({ length: 100 }, (_, i) => con.eval<number>(`${i} * 2`)),
  );
  assertEquals(calls.reduce((a, b) => a + b), 9900);
}

/** Collects what a connection prints. */
export function collect(): { stream: WritableStream<Uint8Array>; text(): string } {
  const decoder = new TextDecoder();
  let text = "";
  return {
    stream: new WritableStream({
      write: (bytes) => void (text += decoder.decode(bytes, { stream: true })),
    }),
    text: () => text,
  };
}

/** Runs a command line as OpenSSH's daemon does on Windows, where cmd.exe is the shell: `cmd.exe /c "<line>"`. */
export function runByCmd(line: string, address = ""): BaseTransport {
  const child = new Deno.Command("cmd.exe", {
    args: ["/c", `"${line}"`],
    windowsRawArguments: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const status = child.status.then(({ code, signal }) => ({ code, signal }));
  const close = async () => {
    if (!child.stdin.locked) await child.stdin.close().catch(() => {});
    const ended = await status;
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream.locked) await stream.cancel().catch(() => {});
    }
    return ended;
  };
  return {
    address,
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    status,
    close,
    [Symbol.asyncDispose]: async () => void await close(),
  };
}
