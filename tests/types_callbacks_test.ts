import { assertEquals } from "@std/assert";
import { connect, type Local, type Remote } from "../mod.ts";
import { leakGuard } from "./support/leaks.ts";

Deno.test("callbacks have the types that the remote function gives them", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:", { env: guard.env });
  const each = await con.compile(
    async (
      list: number[],
      visit: (n: number, meta: { last: boolean }) => string | Promise<string>,
    ) => {
      const all: string[] = [];
      for (const n of list) all.push(await visit(n, { last: n === list.at(-1) }));
      return all;
    },
  );
  const seen = await each([1, 2], (n, { last }) => `${n.toFixed(1)}${last}`);
  assertEquals(seen, ["1.0false", "2.0true"]);
  // Also later, and as a remote function.
  assertEquals(await each([1], async (n) => await Promise.resolve(`${n}`)), ["1"]);
  assertEquals(await each([1], await con.compile((n: number) => `r${n}`)), ["r1"]);
  assertEquals(await each([1], con.compile((n: number) => `p${n}`)), ["p1"]);
  // @ts-expect-error: a number is not what it asks for.
  const never = () => each(["a"], (n) => n);
  assertEquals(typeof never, "function");
});

Deno.test("what is remote may be passed where it came from", () => {
  class Car {
    drive(_km: number) {}
  }
  type Use = (car: Local<Car>, go: Local<(car: Car) => void>) => void;
  const use: Use = () => {};
  const car = undefined as unknown as Remote<Car>;
  use(car, (given) => void given.drive);
  use(new Car(), () => {});
});
