import { assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { ById } from "../../protocol/by_id.ts";

Deno.test("calls are found by their numbers, however many are not over", () => {
  fc.assert(fc.property(fc.array(fc.nat({ max: 200 }), { maxLength: 300 }), (steps) => {
    const calls = new ById<{ id: number }>();
    const expected = new Map<number, { id: number }>();
    let last = 0;
    for (const step of steps) {
      // More are begun than end.
      if (step > 80) {
        last += 1 + step % 3;
        const call = { id: last };
        calls.add(call);
        expected.set(last, call);
      } else {
        const id = Math.max(0, last - step);
        assertStrictEquals(calls.take(id), expected.get(id));
        expected.delete(id);
      }
      assertEquals(calls.size, expected.size);
    }
    for (let id = 0; id <= last; id++) assertStrictEquals(calls.get(id), expected.get(id));
    assertEquals(new Set(calls.values()), new Set(expected.values()));
    calls.clear();
    assertEquals(calls.values(), []);
  }));
});

Deno.test("what is no number of a call finds none", () => {
  const calls = new ById<{ id: number }>();
  calls.add({ id: 1 });
  for (const id of [1.5, -1, NaN, Infinity, 33, "1", null, undefined, {}]) {
    assertEquals(calls.get(id as number), undefined);
    assertEquals(calls.take(id as number), undefined);
  }
});
