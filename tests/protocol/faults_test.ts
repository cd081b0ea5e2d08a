/**
 * A conversation that breaks off: after every n-th byte, in either direction, or by standing still.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { ConnectionLostError } from "../../protocol/errors.ts";
import { conversationRoot, converse, unsettled } from "./conversation.ts";
import {
  EMPTY_TABLES,
  type End,
  type LinkOptions,
  Pair,
  tables,
  turn,
  unhandledDuring,
} from "./pair.ts";

/** Holds the conversation; afterwards the link is cut, and nothing may be left. */
async function holdAndCut(options: LinkOptions, name: string, during?: (pair: Pair) => unknown) {
  const pair = new Pair(conversationRoot(), options);
  const unhandled = await unhandledDuring(async () => {
    const promises = converse(pair);
    const caught = promises.map((promise) => promise.catch(() => {}));
    await during?.(pair);
    if (!options.cutAfter) pair.cut();
    const open = await unsettled(caught);
    if (!pair.client.closeReason) pair.cut();
    assertEquals(open, [], `${name}: never settled`);
    for (const promise of promises) {
      const late = await promise.then(() => undefined, (error) => error);
      assert(late === undefined || late instanceof Error, name);
    }
    for (let i = 0; i < 5; i++) await turn();
  });
  assertEquals(unhandled, [], `${name}: unhandled`);
  assertEquals(tables(pair), EMPTY_TABLES, name);
  assertEquals(pair.client.openChannels + pair.agent.openChannels, 0, name);
  assert(!pair.client.writing && !pair.agent.writing, name);
}

Deno.test("the conversation itself goes well, whatever the link does to it", async () => {
  for (
    const options of [
      {},
      { fragment: 1 },
      { fragment: 7, turns: 3 },
      { fragment: 4099, pressure: true },
      { pressure: true, turns: 5 },
    ]
  ) {
    await using pair = new Pair(conversationRoot(), options);
    const results = await Promise.allSettled(converse(pair));
    assertEquals(
      results.map((result) => result.status === "rejected" ? String(result.reason) : "ok"),
      [
        "ok",
        "ok",
        "ok",
        "RangeError: mine",
        "TypeError: no",
        ...Array(10).fill("ok"),
      ],
    );
    await pair.fence();
    assertEquals(pair.client.openChannels + pair.agent.openChannels, 0);
  }
});

for (const from of ["client", "agent"] as End[]) {
  Deno.test(`cut after every n-th byte of the ${from}: all settles, nothing is left`, async () => {
    let bytes = 0;
    {
      await using pair = new Pair(conversationRoot(), {
        tap: (end, { length }) => bytes += end === from ? length : 0,
      });
      await Promise.allSettled(converse(pair));
    }
    // Every byte of the first messages, and then with a stride that meets all residues.
    for (let at = 0; at < bytes; at += at < 60 ? 1 : 1 + Math.floor(bytes / 120)) {
      await holdAndCut({ cutAfter: { from, bytes: at } }, `cut at ${at} of ${bytes}`);
    }
  });
}

Deno.test("cut after every turn, with and without back-pressure", async () => {
  for (const pressure of [false, true]) {
    for (let turns = 0; turns < 30; turns++) {
      await holdAndCut({ pressure, turns: 2 }, `cut in turn ${turns}`, async () => {
        for (let i = 0; i < turns; i++) await turn();
      });
    }
  }
});

Deno.test("a link that stands still and is then given up leaves nothing", async () => {
  for (const from of ["client", "agent"] as End[]) {
    for (let turns = 0; turns < 12; turns += 3) {
      await holdAndCut({ pressure: true }, `${from} stalled in turn ${turns}`, async (pair) => {
        for (let i = 0; i < turns; i++) await turn();
        pair.stall(from);
        for (let i = 0; i < 20; i++) await turn();
        pair.client.end(new ConnectionLostError("No sign of life"));
        pair.agent.end(new ConnectionLostError("No sign of life"));
        pair.resume();
      });
    }
  }
});

Deno.test("closed from either side in the middle of it, all settles", async () => {
  for (const end of ["client", "agent"] as End[]) {
    for (let turns = 0; turns < 12; turns += 2) {
      await holdAndCut({ pressure: true }, `${end} closes in turn ${turns}`, async (pair) => {
        for (let i = 0; i < turns; i++) await turn();
        pair[end].close();
        for (let i = 0; i < 30; i++) await turn();
      });
    }
  }
});

Deno.test("a link that cannot be written to ends the session with the cause", async () => {
  for (const how of ["throws", "rejects"]) {
    const pair = new Pair(conversationRoot(), {
      client: {
        send: () => {
          const error = new Error("EPIPE");
          if (how === "throws") throw error;
          return Promise.reject(error);
        },
      },
    });
    const session = pair.client;
    const unhandled = await unhandledDuring(async () => {
      const caught = converse(pair).map((promise) => promise.catch(() => {}));
      assertEquals(await unsettled(caught), []);
    });
    assertEquals(unhandled, []);
    assertEquals(String((session.closeReason as Error).cause), "Error: EPIPE");
    pair.agent.close();
    await turn();
  }
});
