import { assert, assertEquals, assertRejects } from "@std/assert";
import * as std from "@std/assert";
import * as streams from "@std/streams";

const declared = async (name: string) => {
  const text = await Deno.readTextFile(new URL(`./${name}.d.ts`, import.meta.url));
  return [
    ...new Set(text.matchAll(/^export (?:class|function) (\w+)/gm).map((match) => match[1]!)),
  ];
};

Deno.test("the assertions that are declared are there, wherever they come from", async () => {
  for (const name of await declared("std_assert")) assert(name in std, name);
  for (const name of await declared("std_streams")) assert(name in streams, name);
});

Deno.test("assertions have types, wherever they come from", async () => {
  const value: unknown = "text";
  assert(typeof value === "string");
  assertEquals(value.length, 4);
  const error = await assertRejects(() => Promise.reject(new TypeError("no")), TypeError, "no");
  assertEquals(error.message, "no");
  // @ts-expect-error: a string is no number.
  const never = () => assertEquals<number>("1", 1);
  assertEquals(typeof never, "function");
});
