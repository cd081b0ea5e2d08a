/**
 * A Python agent without a connection in front of it: what is sent to it, byte by byte, and what it says.
 *
 * @module
 */

import { Op } from "../../protocol/messages.ts";
import { agentBytes, agentRest, startCommand } from "../../runtime/bootstrap.ts";
import { runtimeOf } from "../../runtime/runtimes.ts";
import { PYTHON } from "./pythons.ts";

/** A frame, right or wrong. */
export function frame(
  text: string | Uint8Array,
  attached = new Uint8Array(0),
  acknowledged = 0,
): Uint8Array<ArrayBuffer> {
  const body = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const bytes = new Uint8Array(12 + body.length + attached.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length + attached.length, true);
  view.setUint32(4, acknowledged, true);
  view.setUint32(8, body.length, true);
  bytes.set(body, 12);
  bytes.set(attached, 12 + body.length);
  return bytes;
}

/** A piece of what is sent on a channel. */
export function chunk(channel: number, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(12 + bytes.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, bytes.length, true);
  view.setInt32(4, channel, true);
  view.setUint32(8, 0xffffffff, true);
  whole.set(bytes, 12);
  return whole;
}

/** All of them, one behind the other. */
export function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const runtime = runtimeOf("python");

/** The agent itself, as it is sent first. */
export const AGENT: Uint8Array = agentBytes(runtime, true);

/** The message that brings the rest of it. */
export const REST_MESSAGE: string = JSON.stringify([Op.rest, ...agentRest(runtime, true)]);

/** The same as a first frame. */
export const REST: Uint8Array = frame(`[${REST_MESSAGE}]`);

/** Starts an interpreter that waits for its agent. */
export function start(): Deno.ChildProcess {
  const [program, ...args] = startCommand(runtime, [PYTHON!.path], { cache: false });
  return new Deno.Command(program!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
    detached: true,
  }).spawn();
}

/** Reads on until what was said is enough. */
export async function expect(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  enough: (output: string) => boolean,
): Promise<string> {
  const decoder = new TextDecoder();
  let output = "";
  while (!enough(output)) {
    const { done, value } = await reader.read();
    if (done) break;
    output += decoder.decode(value, { stream: true });
  }
  return output;
}

/** What the agent says to these bytes, and how it ends. Its input ends behind them, or when it has said enough. */
export async function converse(
  bytes: Uint8Array,
  enough = (_output: string): boolean => true,
  agent: Uint8Array = AGENT,
): Promise<{ output: string; success: boolean }> {
  const child = start();
  const reader = child.stdout.getReader();
  const writer = child.stdin.getWriter();
  await writer.write(joined(agent, bytes)).catch(() => {});
  const first = await expect(reader, enough);
  await writer.close().catch(() => {});
  const output = first + await expect(reader, () => false);
  const { success } = await child.status;
  return { output, success };
}
