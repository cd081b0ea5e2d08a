/**
 * The rest of the Python agent: it is asked for once, by what needs it, and nothing else waits for it.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { PYTHON } from "./pythons.ts";
import { AGENT, expect, frame, joined, REST, REST_MESSAGE, start } from "./raw_agent.ts";

const ignore = PYTHON === undefined;

/** A conversation with an agent that has not all of itself yet. */
class Talk {
  readonly #child = start();
  readonly #reader = this.#child.stdout.getReader();
  readonly #writer = this.#child.stdin.getWriter();
  /** What the agent has said so far. */
  said = "";

  async send(...parts: Uint8Array[]): Promise<void> {
    await this.#writer.write(joined(...parts));
  }

  /** Reads on until the agent has said all of this. */
  async hear(...parts: string[]): Promise<void> {
    const missing = () => parts.filter((part) => !this.said.includes(part));
    if (missing().length === 0) return;
    const before = this.said;
    this.said += await expect(this.#reader, (output) => {
      this.said = before + output;
      const enough = missing().length === 0;
      this.said = before;
      return enough;
    });
    assertEquals(missing(), [], this.said);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#reader.cancel();
    await this.#child.status;
  }
}

const evaluation = (id: number, source: string) =>
  JSON.stringify([2, id, 0, ["eval"], 1, [source]]);

const evaluations = (...sources: string[]) =>
  frame(`[${sources.map((source, i) => evaluation(i + 1, source))}]`);

Deno.test({
  name:
    "the rest: what needs it waits for it, what does not need it goes by, and it is asked for once",
  ignore,
  fn: async () => {
    await using talk = new Talk();
    await talk.send(AGENT, evaluations("iter([7])", "{1, 2}", "[object(), iter([8])]", "2 + 2"));
    await talk.hear("[18]", '[4,2,["s",1,2],1]', "[4,4,4]");
    // Two answers were sent: that many can be acknowledged.
    await talk.send(frame("[[14,1]]", undefined, 2));
    await talk.hear("[15,1]");
    assertEquals(talk.said.split("[18]").length, 2, talk.said);
    assert(!/\[[45],[13],/.test(talk.said), talk.said);
    await talk.send(frame(`[${REST_MESSAGE}]`, undefined, 2));
    await talk.hear('[4,1,["I",1,0],1]', '[4,3,[0,["r",');
    const [, object] = /\[4,3,\[0,\["r",(\d+),4,"object /.exec(talk.said)!;
    // It is held once, though it was encoded twice.
    await talk.send(frame(`[[6,[-${object},1]],[8,-1,99],[14,2]]`, undefined, 4));
    await talk.hear("[15,2]", "[9,1,3,[7],0]");
    await talk.send(frame(`[[6,[-${object},1]]]`, undefined, 4));
    await talk.hear("[17,");
    assertEquals(talk.said.split("[18]").length, 2, talk.said);
  },
});

Deno.test({
  name: "the rest: an answer that waits for it is not sent yet, and cannot be acknowledged",
  ignore,
  fn: async () => {
    await using talk = new Talk();
    await talk.send(AGENT, evaluations("iter([7])"));
    await talk.hear("[18]");
    await talk.send(frame("[]", undefined, 1));
    await talk.hear("[17,");
  },
});

Deno.test({
  name: "the rest: an error that has something live waits for it",
  ignore,
  fn: async () => {
    await using talk = new Talk();
    const source = "class Odd(Exception): exceptions = [iter([7])]\nraise Odd('odd')";
    await talk.send(AGENT, evaluations(source));
    await talk.hear("[18]");
    assert(!talk.said.includes("[5,1,"), talk.said);
    await talk.send(REST);
    await talk.hear('[5,1,["e","Odd","odd"', '["I",1,0]');
  },
});

Deno.test({
  name: "the rest: a coroutine waits for it, and can be cancelled meanwhile",
  ignore,
  fn: async () => {
    await using talk = new Talk();
    const call = (id: number) => `[2,${id},0,["builtins","sleep"],1,[]]`;
    const source = "async def sleep(): return 42\nimport builtins; builtins.sleep = sleep";
    await talk.send(
      AGENT,
      frame(`[[2,1,0,["execute"],1,[${JSON.stringify(source)}]],${call(2)},${call(3)},[14,1]]`),
    );
    await talk.hear("[18]", "[15,1]");
    await talk.send(frame("[[7,2]]"));
    await talk.hear('[5,2,["e","Cancelled"');
    assert(!talk.said.includes("[4,3,"), talk.said);
    await talk.send(REST);
    await talk.hear("[4,3,42]");
    assertEquals(talk.said.split("[18]").length, 2, talk.said);
  },
});

Deno.test({
  name: "the rest: it comes while the main thread is at a call",
  ignore,
  fn: async () => {
    await using talk = new Talk();
    const waits = "__import__('threading').Event().wait()";
    await talk.send(AGENT, evaluations(waits, "iter([7])"));
    await talk.hear("[18]");
    await talk.send(REST);
    await talk.hear('[4,2,["I",1,0],1]');
  },
});
