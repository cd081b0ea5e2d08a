/**
 * A link that breaks, stands still or comes in pieces, as the Python agent sees it.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { PYTHON } from "./pythons.ts";
import { AGENT, chunk, converse, expect, frame, joined, REST, start } from "./raw_agent.ts";

const ignore = PYTHON === undefined;

/** A call that brings bytes by chunks, and one that takes a stream. */
const TALK = joined(
  frame('[[16,{"limits":{}}],[2,1,0,["eval"],1,["6 * 7"]]]'),
  frame(
    '[[2,2,0,["eval"],1,["lambda x: len(x)"]],[2,3,2,[],1,[0,["b","Uint8Array",-1,40]],1,0,[1,40]]]',
  ),
  chunk(1, new Uint8Array(40)),
  frame('[[2,4,0,["eval"],1,["lambda s: s.read()"]],[2,5,4,[],1,[0,["R",2,1]],1]]'),
  chunk(2, new Uint8Array(10)),
);

Deno.test({
  name: "Python: an agent whose input is cut, anywhere, ends",
  ignore,
  fn: async () => {
    const whole = joined(AGENT, REST, TALK);
    const complete = whole.length - TALK.length;
    const cuts = new Set<number>();
    for (let i = 0; i < 24; i++) cuts.add(Math.floor((complete * i) / 24));
    for (let at = complete; at < whole.length; at += 15) cuts.add(at);
    const check = async (at: number) => {
      const { output, success } = await converse(
        new Uint8Array(0),
        undefined,
        whole.slice(0, at),
      );
      assertEquals(success, false, `cut at ${at}`);
      assertEquals(output.includes("PUSHY/1"), at >= AGENT.length, `cut at ${at}`);
      assert(!output.includes("[17,"), output);
    };
    const places = [...cuts];
    for (let i = 0; i < places.length; i += 4) {
      await Promise.all(places.slice(i, i + 4).map(check));
    }
  },
});

/** Have all of these been said? */
const all = (...parts: string[]) => (output: string) =>
  parts.every((part) => output.includes(part));

Deno.test({
  name: "Python: input that comes byte by byte, and an agent that is stopped for a while",
  ignore,
  fn: async () => {
    const child = start();
    const writer = child.stdin.getWriter();
    const reader = child.stdout.getReader();
    await writer.write(joined(AGENT, REST));
    for (const byte of TALK) await writer.write(new Uint8Array([byte]));
    await expect(reader, all("[4,1,42]", "[4,3,40]"));
    child.kill("SIGSTOP");
    await writer.write(frame("[[10,2,0],[14,7],[2,6,0,[\"eval\"],1,[\"'went ' + 'on'\"]]]"));
    child.kill("SIGCONT");
    const output = await expect(reader, all("[4,5,", "[15,7]", '"went on"]'));
    assert(output.includes('"went on"]'), output);
    await writer.close();
    await reader.cancel();
    assertEquals((await child.status).success, false);
  },
});

for (
  const [name, source] of [
    ["answers", "1"],
    ["prints without end", "[print('x' * 1000) for _ in iter(int, 1)]"],
    ["sends a large value", "bytes(50000000)"],
  ] as const
) {
  Deno.test({
    name: `Python: an agent that ${name} ends when nobody can hear it any more`,
    ignore,
    fn: async () => {
      const child = start();
      const writer = child.stdin.getWriter();
      const reader = child.stdout.getReader();
      await writer.write(AGENT);
      await expect(reader, all("PUSHY/1"));
      await reader.cancel();
      await writer.write(frame(JSON.stringify([[2, 1, 0, ["eval"], 1, [source]]])));
      assertEquals((await child.status).success, false);
      await writer.close().catch(() => {});
    },
  });
}

Deno.test({
  name: "Python: a caller that sends and never reads is not served without end",
  ignore,
  fn: async () => {
    const child = start();
    const writer = child.stdin.getWriter();
    await writer.write(joined(AGENT, frame('[[16,{"limits":{"pendingCalls":5000}}]]')));
    let number = 0;
    let accepted = true;
    while (accepted && number < 200_000) {
      const calls = Array.from(
        { length: 500 },
        () => `[2,${++number},0,["eval"],1,["'x' * 1000"]]`,
      );
      await writer.write(frame(`[${calls}]`)).catch(() => accepted = false);
    }
    assertEquals(accepted, false);
    assertEquals((await child.status).success, false);
    await writer.close().catch(() => {});
    await child.stdout.cancel();
  },
});

Deno.test({
  name: "Python: a pipe in a file's place is not waited for, nor a link followed in a part's",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
      await Deno.writeTextFile(`${folder}/secret`, "");
      await Deno.symlink("secret", `${folder}/part`);
      const calls = [
        [2, 1, 0, ["files", "read"], 1, [`${folder}/pipe`, 0]],
        [2, 2, 0, ["files", "write"], 1, [`${folder}/part`, 0, 0o600, true, "evil"]],
      ];
      const said = all("[5,1,", "[5,2,");
      const { output } = await converse(joined(REST, frame(JSON.stringify(calls))), said);
      assert(all('"ESPECIAL"', '"ELOOP"')(output), output);
      assertEquals(await Deno.readTextFile(`${folder}/secret`), "");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
