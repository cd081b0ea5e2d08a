/**
 * Arrays of numpy, which no standard library has: as typed arrays, in either direction, and never as text.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { isRemote, kwargs } from "../../mod.ts";
import { requires } from "../support/requirement.ts";
import { python } from "./pythons.ts";

/** The interpreter whose packages Debian installs. */
const DEBIAN = "/usr/bin/python3";
const needs = requires("python3", "numpy");

Deno.test({
  name: "numpy: arrays of every kind that has a typed array arrive as one",
  ...needs,
  fn: async () => {
    await using py = await python({}, DEBIAN);
    const np = await py.import("numpy");
    const kinds: [dtype: string, expected: ArrayBufferView][] = [
      ["int8", new Int8Array([1, 2, 3])],
      ["uint8", new Uint8Array([1, 2, 3])],
      ["int16", new Int16Array([1, 2, 3])],
      ["uint16", new Uint16Array([1, 2, 3])],
      ["int32", new Int32Array([1, 2, 3])],
      ["uint32", new Uint32Array([1, 2, 3])],
      ["int64", new BigInt64Array([1n, 2n, 3n])],
      ["uint64", new BigUint64Array([1n, 2n, 3n])],
      ["float32", new Float32Array([1, 2, 3])],
      ["float64", new Float64Array([1, 2, 3])],
      ["float16", new Float16Array([1, 2, 3])],
      [">i4", new Int32Array([1, 2, 3])],
      ["bool", new Uint8Array([1, 1, 1])],
    ];
    for (const [dtype, expected] of kinds) {
      assertEquals(await np.array([1, 2, 3], kwargs({ dtype })), expected, dtype);
    }
    assertEquals(
      await np.arange(10).__getitem__(py.builtins.slice(null, null, 3)),
      [
        0,
        3,
        6,
        9,
      ].reduce((all, n, i) => (all[i] = BigInt(n), all), new BigInt64Array(4)),
    );
    assertEquals(await np.eye(2), [new Float64Array([1, 0]), new Float64Array([0, 1])]);
    assertEquals(await np.array(["a", "b"]), ["a", "b"]);
    assertEquals(await np.zeros(0), new Float64Array(0));
    for (
      const [source, expected] of [
        ["np.float64(1.5)", 1.5],
        ["np.int64(-5)", -5],
        [
          "np.bool_(True)",
          true,
        ],
        ["np.array(7)", 7],
        ["np.arange(4.0).mean()", 1.5],
      ] as const
    ) {
      assertEquals(await py.eval(source, py.scope({ np })), expected, source);
    }
    assert(isRemote(await np.array([null], kwargs({ dtype: "object" }))));
    assert(isRemote(await np.array([1], kwargs({ dtype: "complex128" }))));
  },
});

Deno.test({
  name: "numpy: typed arrays are arrays there, and their bytes cross as bytes",
  ...needs,
  fn: async () => {
    await using py = await python({}, DEBIAN);
    const np = await py.import("numpy");
    // The rest of the agent, which knows of arrays, has come.
    assertEquals(await np.arange(2), new BigInt64Array([0n, 1n]));
    const floats = Float64Array.from({ length: 200_000 }, (_, i) => i / 2);
    const { bytesSent, bytesReceived } = py.stats;
    const doubled = await np.multiply(floats, 2);
    assertEquals(doubled, floats.map((n) => n * 2));
    const most = floats.byteLength + 2000;
    const { stats } = py;
    assert(stats.bytesSent - bytesSent < most, `${stats.bytesSent - bytesSent} bytes were sent`);
    assert(stats.bytesReceived - bytesReceived < most);
    assertEquals(await np.asarray(new Int16Array([-1, 2])).dtype.name, "int16");
    assertEquals(
      await np.frombuffer(new Uint8Array([1, 255]), kwargs({ dtype: "uint8" })).sum(),
      256,
    );
  },
});
