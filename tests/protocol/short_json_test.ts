import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseShort, quote, SHORT_TEXT } from "../../protocol/short_json.ts";

/** What is read of a text that stands among others. */
function read(text: string): unknown {
  const bytes = new TextEncoder().encode(`1]"${text}"]1`);
  return parseShort(bytes, 3, bytes.length - 3);
}

const READ = [
  "[]",
  "0",
  "999999999999999",
  '""',
  '"a"',
  "true",
  "[false,null]",
  '[[2,17,0,["globals","Math","abs"],1,[1]]]',
  '[[4,17,"ab"],[4,18,"ba"],[4,19,"ab"]]',
  "[".repeat(16) + "]".repeat(16),
  `"${"x".repeat(SHORT_TEXT - 2)}"`,
];

const LEFT_TO_THE_ENGINE = [
  "",
  "-1",
  "1.5",
  "1e3",
  "00",
  "01",
  "1000000000000000",
  "{}",
  " 1",
  "1 ",
  "[1,]",
  "[,1]",
  "[1",
  "1]",
  "[1]]",
  "tru",
  "truee",
  "nul",
  '"',
  '"\\n"',
  '"\u0001"',
  '"é"',
  "[".repeat(17) + "]".repeat(17),
  `"${"x".repeat(SHORT_TEXT - 1)}"`,
];

Deno.test("short texts are read as JSON.parse would", () => {
  for (const text of READ) assertEquals(read(text), JSON.parse(text), text);
});

Deno.test("what is more than lists, names and whole numbers, and what is no JSON, is left to the engine", () => {
  for (const text of LEFT_TO_THE_ENGINE) assertEquals(read(text), undefined, text);
});

Deno.test("whatever is read of any text is what JSON.parse makes of it", () => {
  const piece = fc.constantFrom(
    ...[...READ, ...LEFT_TO_THE_ENGINE].filter((text) => text.length < 20),
    "[",
    "]",
    ",",
    '"b"',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      for (const text of [pieces.join(""), `[${pieces.join()}]`]) {
        const value = read(text);
        if (value !== undefined) assertEquals(value, JSON.parse(text), text);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("bytes after the text, and of a frame before it, are not looked at", () => {
  const bytes = new TextEncoder().encode("12[true]3");
  assertEquals(parseShort(bytes, 0, 1), 1);
  assertEquals(parseShort(bytes, 2, 8), [true]);
  assertEquals(parseShort(bytes, 2, 7), undefined);
  assertEquals(parseShort(bytes, 2, 5), undefined);
  assertEquals(parseShort(bytes, 2, 3), undefined);
});

Deno.test("a name of the same letters is not taken for one that was met", () => {
  for (const name of ["ab", "ba", "ab", "aab", "b", "ba"]) assertEquals(read(`"${name}"`), name);
});

Deno.test("a string is quoted as JSON.stringify does it", () => {
  for (let code = 0; code < 0x1_0000; code++) {
    const text = `a${String.fromCharCode(code)}`;
    assert(quote(text) === JSON.stringify(text), code.toString(16));
  }
  assertEquals(quote("x".repeat(1000)), `"${"x".repeat(1000)}"`);
});
