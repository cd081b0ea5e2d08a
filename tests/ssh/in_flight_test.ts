import { assert, assertEquals } from "@std/assert";
import { InFlight } from "../../transport/ssh/in_flight.ts";

interface Link {
  /** Milliseconds from a request to the first byte of its answer. */
  readonly delay: number;
  /** Milliseconds that each block keeps the link, or whatever is slowest, busy. */
  readonly each: number;
  /** Milliseconds that the first block takes besides. */
  readonly start?: number;
}

/** Copies so many blocks over a link in a time of its own; gives the limits that there were, and how long it took. */
function copy(inFlight: InFlight, { delay, each, start = 0 }: Link, blocks: number) {
  const limits: number[] = [];
  const underWay: { asked: number; answered: number }[] = [];
  let now = 0;
  let free = start;
  for (let asked = 0; asked < blocks || underWay.length > 0;) {
    while (asked < blocks && underWay.length < inFlight.limit) {
      free = Math.max(free, now + delay) + each;
      underWay.push({ asked: now, answered: free });
      asked++;
    }
    const next = underWay.shift()!;
    now = next.answered;
    inFlight.answered(now - next.asked);
    limits.push(inFlight.limit);
  }
  return { limits, time: now };
}

Deno.test("a short link has few blocks under way, however slow the first one was", () => {
  const { limits } = copy(new InFlight(16), { delay: 1, each: 1, start: 80 }, 1000);
  assert(limits.slice(100).every((limit) => limit <= 4), `${limits}`);
});

Deno.test("a long link has as many blocks under way as it holds", () => {
  const link = { delay: 50, each: 10 };
  const { limits, time } = copy(new InFlight(16), link, 250);
  assert(limits.slice(100).every((limit) => limit >= 6), `${limits}`);
  assert(time < 250 * 10 / 0.85, `${time} ms`);
});

Deno.test("a copy finds out what a link has become", () => {
  const inFlight = new InFlight(16);
  copy(inFlight, { delay: 50, each: 1 }, 500);
  assertEquals(inFlight.limit, 16);
  copy(inFlight, { delay: 0.5, each: 1 }, 500);
  assert(inFlight.limit <= 4, `${inFlight.limit}`);
});

Deno.test("there are never fewer than two blocks under way, nor more than the most", () => {
  for (const most of [1, 3, 16]) {
    for (const delay of [0, 0.1, 30, 1000]) {
      const { limits } = copy(new InFlight(most), { delay, each: 0.01 }, 300);
      assert(limits.every((limit) => limit >= 2 && limit <= Math.max(2, most)), `${limits}`);
    }
  }
});
