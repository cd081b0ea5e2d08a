/**
 * A hostile agent in the place of the real one, over every transport: what it tries is in `attempts.ts`.
 */

import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { type ConnectOptions, ProtocolError } from "../../mod.ts";
import { How, Op } from "../../protocol/messages.ts";
import type { Anything, Row } from "../matrix.ts";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { checkAnswer, FLOODS, OFFENCES, type Order, TRESPASSES } from "./attempts.ts";
import { hostilePlace, PLACES } from "./places.ts";

/** A connection to the hostile agent, and an honest one of the same row beside it. */
interface Places {
  readonly row: Row;
  readonly guard: LeakGuard;
  reach(options?: ConnectOptions): Promise<Anything>;
  readonly honest: Anything;
}

/** A test in each row, at whose end the honest connection is as it was. */
function hostile(name: string, test: (places: Places) => Promise<void>): void {
  for (const row of PLACES) {
    Deno.test({
      name: `${row.name}: ${name}`,
      ignore: row.requirement.ignore,
      async fn() {
        // Deno keeps a socket of TLS that has not taken its farewell: one that reads no more never does.
        const keeps = row.name.includes("tls") ? /^socket:/ : undefined;
        await using guard = leakGuard({ grace: 3000, keeps });
        await using honest = await row.connect(guard);
        const reach = await hostilePlace(row, guard);
        await test({ row, guard, reach, honest });
        assertEquals(await honest.eval("1 + 1"), 2);
      },
    });
  }
}

const order = (...orders: Order[]) => JSON.stringify(orders);
const failure = (promise: PromiseLike<unknown>) =>
  promise.then(() => undefined, (error: unknown) => error);

/** Nothing of a connection is left but the reason why it ended. */
function assertEmpty(con: Anything, name: string): void {
  const { pending, localRefs, remoteRefs } = con.stats;
  assertEquals([pending, localRefs, remoteRefs], [0, 0, 0], name);
}

/** Does `work` for all, a few at a time; what fails is told with its name. */
async function each<T>(
  items: Record<string, T>,
  work: (item: T, name: string) => Promise<void>,
): Promise<void> {
  const left = Object.entries(items);
  const failed: string[] = [];
  const one = async () => {
    for (let next = left.shift(); next; next = left.shift()) {
      const [name, item] = next;
      await work(item, name).catch((error) => failed.push(`${name}: ${error.stack}`));
    }
  };
  await Promise.all(Array.from({ length: 6 }, one));
  assertEquals(failed, []);
}

/** All of them over each transport; where a login or a start takes its time, some for each further runtime. */
function someFor<T>({ name }: Row, attempts: Record<string, T>): Record<string, T> {
  if (!/^(ssh|local × (node|bun|python))/.test(name)) return attempts;
  return Object.fromEntries(Object.entries(attempts).filter((_, i) => i % 12 === 0));
}

hostile("what was not passed is not reached", async ({ reach }) => {
  await using con = await reach();
  for (const [name, { pass, tries }] of Object.entries(TRESPASSES)) {
    const { value, untouched } = pass();
    const answers = await con.globals.attack(order(...tries, { tell: true }), value);
    for (const [index, answer] of JSON.parse(answers).entries()) {
      checkAnswer(tries[index]!.try, answer, tries[index]!.gives);
    }
    untouched?.();
    assertEquals(await con.globals.hello(), "hello", name);
  }
});

hostile("who breaks the rules loses the connection, and only that", async ({ reach, row }) => {
  await each(someFor(row, OFFENCES), async ({ orders, pass = () => () => {} }, name) => {
    await using con = await reach();
    const waiting = failure(con.globals.wait());
    const attack = failure(con.globals.attack(order(...orders), pass()));
    const reason = await con.closed;
    assertInstanceOf(reason, ProtocolError, `${reason}`);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(reason.message));
    assertEquals([await waiting, await attack], [reason, reason]);
    assertEmpty(con, name);
  });
});

hostile("floods end at their limit", async ({ reach, row }) => {
  const before = Deno.memoryUsage().rss;
  await each(someFor(row, FLOODS), async ({ limits, say, pass = () => () => {} }, name) => {
    await using con = await reach({ limits });
    void failure(con.globals.attack(order({ orders: [{ say: [say] }] }), pass()));
    const reason = await con.closed;
    assertInstanceOf(reason, ProtocolError);
    assertStringIncludes(reason.message, "limits.");
    assertEmpty(con, name);
  });
  assert(Deno.memoryUsage().rss - before < 200 << 20);
});

hostile("another connection's references are none here", async ({ reach }) => {
  let reached = 0;
  await using one = await reach();
  void failure(one.globals.attack(order(), () => reached++));
  await using other = await reach();
  const say = [[Op.callAndPull, 1, -1, [], How.call]];
  const attack = failure(other.globals.attack(order({ say })));
  assertInstanceOf(await attack, ProtocolError);
  assertEquals(await one.globals.hello(), "hello");
  assertEquals(reached, 0);
});

hostile(
  "calls without end do not hold up the others, and end with the connection",
  async (places) => {
    const con = await places.reach();
    let called = 0;
    const busy = Promise.withResolvers<void>();
    const count = () => {
      if (++called === 1000) busy.resolve();
    };
    const say = [[Op.call, "$n", "-$0", [], How.call], [Op.release, ["$n", 1]]];
    const attack = failure(con.globals.attack(order({ orders: [{ say }] }), count));
    await busy.promise;
    assertEquals(await places.honest.eval("1 + 2"), 3);
    await con.close();
    const after = called;
    assertEquals(await attack, await con.closed);
    assertEmpty(con, "callbacks");
    assertEquals(await places.honest.eval("1 + 2"), 3);
    assertEquals(called, after);
  },
);

hostile("output that nobody takes is not taken in", async ({ reach }) => {
  const stuck = Promise.withResolvers<void>();
  const first = Promise.withResolvers<void>();
  const stdout = new WritableStream<Uint8Array>({
    write() {
      first.resolve();
      return stuck.promise;
    },
  });
  const outputBytes = 1 << 20;
  await using con = await reach({ stdout, limits: { outputBytes } });
  const attack = failure(con.globals.attack(order({ orders: [{ print: 60_000 }] })));
  await first.promise;
  // It has stopped taking in when nothing more has come for as long as more would have taken.
  let before = -1;
  while (con.stats.bytesReceived !== before) {
    before = con.stats.bytesReceived;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert(before < outputBytes + (1 << 20), `${before} bytes`);
  stuck.resolve();
  await con.close();
  await attack;
});

hostile(
  "who reads no more holds up what is for it, and nothing else",
  async ({ reach, honest }) => {
    const con = await reach();
    let made = 0;
    function* endless() {
      for (;;) {
        made++;
        yield "x".repeat(1000);
      }
    }
    const deaf = order({ say: [[Op.credit, "-$0", 200 << 20]] }, { deaf: true });
    const attack = failure(con.globals.attack(deaf, endless()));
    while (made < 1000) await new Promise((resolve) => setTimeout(resolve, 5));
    assertEquals(await honest.eval("1 + 2"), 3);
    await con.close();
    assert(made < 100_000, `${made} items`);
    assertEquals(await attack, await con.closed);
    assertEmpty(con, "deaf");
  },
);
