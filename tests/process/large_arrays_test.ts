import { assert, assertEquals } from "@std/assert";
import { connect } from "../../mod.ts";
import { largeArray } from "../../runtime/large_arrays.ts";
import { leakGuard } from "../support/leaks.ts";
import { requiresThat } from "../support/requirement.ts";
import { outcome, startProgram } from "./program.ts";

const SIZE = 32 << 20;
const SETTING = "/sys/kernel/mm/transparent_hugepage/enabled";
const huge = requiresThat(
  await Deno.readTextFile(SETTING).then((text) => /\[(always|madvise)\]/.test(text), () => false),
  "this system has no huge pages for who asks",
  `on Linux, as root: echo madvise >${SETTING}`,
);

/** How many bytes of an array are in huge pages. A program of its own could run this too. */
async function hugeBytes(bytes: Uint8Array): Promise<number> {
  const pointer = Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>);
  const start = BigInt(Deno.UnsafePointer.value(pointer));
  const end = start + BigInt(bytes.length);
  let size = 0;
  const maps = await Deno.readTextFile("/proc/self/smaps");
  for (const map of maps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
    const [from, to] = map.slice(0, map.indexOf(" ")).split("-").map((text) => BigInt(`0x${text}`));
    if (from! < end && start < to!) size += 1024 * Number(/^AnonHugePages: *(\d+)/m.exec(map)![1]);
  }
  return size;
}

Deno.test({
  name: "a large array is in huge pages where the permission ffi is there",
  ...huge,
  async fn() {
    const bytes = largeArray(SIZE);
    assertEquals(bytes.length, SIZE);
    assert(bytes.every((byte) => byte === 0));
    bytes.fill(1);
    assert(await hugeBytes(bytes) >= SIZE / 2);
  },
});

Deno.test({
  name: "a large value that comes is in huge pages, at either end",
  ...huge,
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    await using con = await connect("local:", { env: guard.env });
    const bytes = await con.eval<Uint8Array>(`new Uint8Array(${SIZE}).fill(1)`);
    assert(bytes.every((byte) => byte === 1));
    assert(await hugeBytes(bytes) >= SIZE / 2);
    const remote = await con.eval<typeof hugeBytes>(`(${hugeBytes})`);
    assert(await remote(bytes) >= SIZE / 2);
  },
});

Deno.test("without the permission it is an array like any other, and nobody is asked", async () => {
  await using guard = leakGuard();
  const module = new URL("../../runtime/large_arrays.ts", import.meta.url).href;
  const program = startProgram(
    guard,
    `const { largeArray } = await import("${module}");
    console.log(largeArray(${SIZE}).length);`,
    { flags: ["--allow-read"] },
  );
  assertEquals(await outcome(program), { code: 0, stdout: `${SIZE}\n`, stderr: "" });
});

Deno.test("a short array, and one of no bytes, are as long as they should be", () => {
  assertEquals(largeArray(0).length, 0);
  assertEquals(largeArray(100).length, 100);
});
