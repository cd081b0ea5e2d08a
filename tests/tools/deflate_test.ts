import { assert, assertEquals } from "@std/assert";
import { deflate } from "../../tools/deflate.ts";

async function inflated(packed: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([packed as Uint8Array<ArrayBuffer>]).stream()
    .pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function usual(data: Uint8Array): Promise<number> {
  const stream = new Blob([data as Uint8Array<ArrayBuffer>]).stream()
    .pipeThrough(new CompressionStream("deflate-raw"));
  return (await new Response(stream).arrayBuffer()).byteLength;
}

// A sequence that looks like noise, the same each time.
let state = 1;
const noise = Uint8Array.from({ length: 3000 }, () => (state = state * 48271 % 2147483647) >> 8);
const text = await Deno.readFile(new URL("../../tools/minify_python.ts", import.meta.url));

const cases: [name: string, data: Uint8Array][] = [
  ["one byte", new Uint8Array([65])],
  ["one byte, many times", new Uint8Array(2000).fill(97)],
  ["every byte", Uint8Array.from({ length: 1024 }, (_, i) => i)],
  ["noise", noise],
  [
    "a text, and itself again",
    new Uint8Array([...text.subarray(0, 9000), ...text.subarray(0, 9000)]),
  ],
];

for (const [name, data] of cases) {
  Deno.test(`deflate: ${name} comes back`, async () => {
    assertEquals(await inflated(deflate(data)), data);
  });
}

Deno.test("deflate: source takes less than with the usual encoder", async () => {
  const packed = deflate(text);
  assertEquals(await inflated(packed), text);
  const size = await usual(text);
  assert(packed.length < 0.97 * size, `${packed.length} bytes, and ${size} with the usual one`);
});
