/**
 * Programs that use the package, run as processes of their own.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { LeakGuard } from "../support/leaks.ts";

/** The package's entry, as a program outside the checkout imports it. */
export const MOD: string = new URL("../../mod.ts", import.meta.url).href;

/** Starts a Deno program that begins with an import of the package's names. */
export function startProgram(
  guard: LeakGuard,
  source: string,
  { flags = ["-A"], env = {}, detached = false }: {
    flags?: string[];
    env?: Record<string, string>;
    detached?: boolean;
  } = {},
): Deno.ChildProcess {
  const path = `${guard.folder}/program_${crypto.randomUUID().slice(0, 8)}.ts`;
  Deno.writeTextFileSync(
    path,
    `import * as pushy from ${JSON.stringify(MOD)};\nconst { connect } = pushy;\n${source}\n`,
  );
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--no-lock", "--no-check", ...flags, path],
    cwd: guard.folder,
    env: { ...guard.env, ...env },
    detached,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** The lines of a program's output, one at a time. */
export function linesOf(child: Deno.ChildProcess): AsyncIterableIterator<string> {
  return split(child.stdout);
}

async function* split(stream: ReadableStream<Uint8Array>): AsyncIterableIterator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest) yield rest;
}

/** Waits for a program to say this; one that ends instead is an error with its own words. */
export async function said(
  what: string,
  lines: AsyncIterator<string>,
  client: Deno.ChildProcess,
): Promise<void> {
  const { value, done } = await lines.next();
  if (done) throw new Error(`The program ended: ${await new Response(client.stderr).text()}`);
  assertEquals(value, what);
}

/** What a program wrote and how it ended. */
export async function outcome(
  child: Deno.ChildProcess,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
