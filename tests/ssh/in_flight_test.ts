import { assert, assertEquals } from "@std/assert";
import { InFlight } from "../../transport/ssh/in_flight.ts";

const BLOCK = 256 << 10;

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
  const { limits } = copy(new InFlight(BLOCK), { delay: 1, each: 1, start: 80 }, 1000);
  assert(limits.slice(100).every((limit) => limit <= 4), `${limits}`);
});

Deno.test("a host that is slow only at first has few blocks under way", () => {
  const inFlight = new InFlight(BLOCK);
  for (const time of [30, 30, 30, 14, 14, 14, 7, 8, 7, 4, 4, 4, 9, 9, 9, 9, 9, 9, 9, 9, 9]) {
    inFlight.answered(time);
    assertEquals(inFlight.limit, 3);
  }
});

Deno.test("a slow host that is near has few blocks under way", () => {
  const { limits } = copy(new InFlight(BLOCK), { delay: 1, each: 6 }, 1000);
  assert(limits.slice(100).every((limit) => limit <= 4), `${limits}`);
});

Deno.test("a long link has as many blocks under way as it holds", () => {
  const link = { delay: 50, each: 10 };
  const { limits, time } = copy(new InFlight(BLOCK), link, 250);
  assert(limits.slice(100).every((limit) => limit >= 6), `${limits}`);
  assert(time < 250 * 10 / 0.85, `${time} ms`);
});

Deno.test("a copy finds out what a link has become", () => {
  const inFlight = new InFlight(BLOCK);
  copy(inFlight, { delay: 50, each: 1 }, 500);
  assertEquals(inFlight.limit, 16);
  copy(inFlight, { delay: 0.5, each: 1 }, 500);
  assertEquals(inFlight.limit, 3);
});

Deno.test("there is never less than 765 KiB under way, nor more than 4 MiB", () => {
  for (const block of [32 << 10, 255 << 10, 1 << 20, 8 << 20]) {
    const least = Math.ceil((765 << 10) / block), most = Math.max(least, (4 << 20) / block);
    for (const delay of [0, 0.1, 30, 1000]) {
      const { limits } = copy(new InFlight(block), { delay, each: 0.01 }, 600);
      assert(limits.every((limit) => limit >= least && limit <= most), `${block}: ${limits}`);
    }
  }
});
