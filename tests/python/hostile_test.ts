/**
 * A caller that speaks nonsense: the agent says so and ends; it neither hangs nor stays.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { agentBytes, startCommand } from "../../runtime/bootstrap.ts";
import { runtimeOf } from "../../runtime/runtimes.ts";
import { PYTHON } from "./pythons.ts";

const ignore = PYTHON === undefined;

function frame(text: string, attached = new Uint8Array(0), acknowledged = 0): Uint8Array {
  const body = new TextEncoder().encode(text);
  const bytes = new Uint8Array(12 + body.length + attached.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length + attached.length, true);
  view.setUint32(4, acknowledged, true);
  view.setUint32(8, body.length, true);
  bytes.set(body, 12);
  bytes.set(attached, 12 + body.length);
  return bytes;
}

/** What the agent says to these bytes, and how it ends. */
async function converse(bytes: Uint8Array): Promise<{ output: string; code: number }> {
  const runtime = runtimeOf("python");
  const [program, ...args] = startCommand(runtime, [PYTHON!.path], { cache: false });
  const child = new Deno.Command(program!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
    detached: true,
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(agentBytes(runtime, true));
  await writer.write(bytes).catch(() => {});
  await writer.close().catch(() => {});
  const output = await new Response(child.stdout).text();
  const { code } = await child.status;
  return { output, code };
}

const cases: [name: string, bytes: Uint8Array][] = [
  ["text that is no JSON", frame("[[1,2")],
  ["JSON that is no array of messages", frame('{"a":1}')],
  ["an unknown message", frame("[[99]]")],
  ["a message without its parts", frame("[[2]]")],
  ["a call whose number is not new", frame('[[2,1,0,["eval"],1,["1"]],[2,1,0,["eval"],1,["1"]]]')],
  ["a reference that nobody holds", frame("[[2,1,-77,[],0]]")],
  ["a result that nobody holds", frame("[[2,1,55,[],0]]")],
  ["a value of an unknown kind", frame('[[2,1,0,["eval"],1,[0,["?"]],1]]')],
  ["bytes that are missing", frame('[[2,1,0,["eval"],1,[0,["b","Uint8Array",0,500]],1]]')],
  ["a blob larger than the limit", frame('[[2,1,0,["eval"],1,[0],1,0,[1,99999999999]]]')],
  ["a frame larger than the limit", new Uint8Array([255, 255, 255, 127, 0, 0, 0, 0, 0, 0, 0, 0])],
  ["a text longer than its frame", new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 91])],
  [
    "a chunk of a channel that is not open",
    new Uint8Array([1, 0, 0, 0, 9, 0, 0, 0, 255, 255, 255, 255, 1]),
  ],
  [
    "what is nested too deep",
    frame(`[[2,1,0,["eval"],1,${"[".repeat(100000)}${"]".repeat(100000)}]]`),
  ],
  ["a number beyond all limits", frame(`[[2,1,0,["eval"],1,[${"9".repeat(100000)}]]]`)],
  ["an answer to no question", frame("[[4,1,null]]")],
  ["an acknowledgement of nothing", frame("[]", undefined, 5)],
  ["too much given back", frame("[[6,[-1,1]]]")],
];

for (const [name, bytes] of cases) {
  Deno.test({
    name: `hostile: ${name} ends the agent`,
    ignore,
    fn: async () => {
      const { output, code } = await converse(bytes);
      assert(output.includes("[17,"), output);
      assertEquals(code === 0, false);
    },
  });
}

Deno.test({
  name: "hostile: input that ends in the middle of the agent, or of a frame",
  ignore,
  fn: async () => {
    const { output, code } = await converse(new Uint8Array([50, 0, 0, 0, 0, 0]));
    assert(output.includes("PUSHY/1"));
    assertEquals(code === 0, false);
  },
});
