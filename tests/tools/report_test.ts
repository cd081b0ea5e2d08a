import { assertEquals } from "@std/assert";
import { readJunit } from "../../tools/junit.ts";
import { describeSkips } from "../../tools/skips.ts";

Deno.test("a report's tests and steps are read, whatever their names and messages are", () => {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="4" failures="1" errors="0" time="0.1">
  <testsuite name="./a_test.ts" tests="4" disabled="1" errors="0" failures="1">
    <testcase name="a &lt;&amp;&gt; &quot;b&quot;&#10;" classname="./a_test.ts" time="0.0" line="2">
    </testcase>
    <testcase name="bad" classname="./a_test.ts" time="0.0">
      <failure message="saw &lt;skipped/&gt;">saw &lt;/testcase&gt;</failure>
    </testcase>
    <testcase name="bad &gt; step" classname="./a_test.ts" time="0.0"/>
    <testcase name="later" classname="./a_test.ts" time="0.0">
      <skipped/>
    </testcase>
  </testsuite>
</testsuites>`;
  assertEquals(readJunit(xml), [
    { file: "./a_test.ts", name: 'a <&> "b"\n', result: "passed" },
    { file: "./a_test.ts", name: "bad", result: "failed" },
    { file: "./a_test.ts", name: "bad > step", result: "passed" },
    { file: "./a_test.ts", name: "later", result: "skipped" },
  ]);
});

Deno.test("skips are listed by reason; a reason without a skipped test is left out", () => {
  const base = "file:///checkout/";
  const skips = describeSkips(
    [
      { file: "./tests/a_test.ts", name: "one", result: "skipped" },
      { file: "./tests/a_test.ts", name: "two", result: "skipped" },
      { file: "./tests/a_test.ts", name: "three", result: "passed" },
      { file: "./tests/b_test.ts", name: "four", result: "skipped" },
      { file: "./tests/c_test.ts", name: "five", result: "passed" },
    ],
    [
      { file: `${base}tests/a_test.ts`, reason: "no x", how: "get x", installable: true },
      { file: `${base}tests/a_test.ts`, reason: "no x", how: "get x", installable: true },
      { file: `${base}tests/c_test.ts`, reason: "no y", how: "get y", installable: true },
    ],
    base,
  );
  assertEquals(skips.installable, 1);
  assertEquals(skips.lines, [
    "",
    "Skipped:",
    "  no x",
    "    to get it: get x",
    "    in tests/a_test.ts: one, two",
    "  no reason given",
    "    in tests/b_test.ts: four",
    "",
  ]);
});
