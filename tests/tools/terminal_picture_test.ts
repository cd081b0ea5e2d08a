import { assertEquals, assertMatch } from "@std/assert";
import { picture } from "../../tools/terminal_picture.ts";

const SIZE = { title: "a <title>", columns: 20, rows: 3 };

Deno.test("a picture has every line once, and only the last screen stands where nothing moves", () => {
  const drawn = picture([
    { text: "\x1b[92m$\x1b[39m ls", duration: 100 },
    { text: "\x1b[92m$\x1b[39m ls\n  a & b", duration: 300 },
  ], SIZE);
  assertMatch(drawn, /a &lt;title&gt;/);
  assertEquals([...drawn.matchAll(/>ls<\/text>/g)].length, 1);
  assertEquals(
    [...drawn.matchAll(/<g id="s\d"[^]*?<\/g>/g)].map(String),
    [
      '<g id="s0" visibility="hidden"><use href="#l0"/></g>',
      '<g id="s1"><use href="#l0"/><use href="#l1"/></g>',
    ],
  );
  assertMatch(drawn, /@keyframes s0\{0%\{visibility:visible\}25%\{visibility:hidden\}/);
  // Blanks move what follows them; they are not drawn.
  assertMatch(drawn, /<text x="32.8" y="83" textLength="42" xml:space="preserve">a &amp; b</);
});

Deno.test("a picture has the terminal's colours, which go on in the next line", () => {
  const drawn = picture([
    { text: "\x1b[1;31mred\nstill\x1b[0m \x1b[38;5;10mx\x1b[38;5;240my\x1b[22;39mz", duration: 1 },
  ], SIZE);
  assertEquals(
    [...drawn.matchAll(/<text x[^>]*?(?: class="([^"]*)")? xml:space="preserve">(\w+)</g)]
      .map(([, look, text]) => [text, look]),
    [["red", "c1 b"], ["still", "c1 b"], ["x", "c10"], ["y", "c8"], ["z", undefined]],
  );
});
