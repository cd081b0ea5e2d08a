/**
 * Reads the report that `deno test --junit-path` writes.
 *
 * @module
 */

/** How one test or step went. */
export interface TestCase {
  /** The file, as a URL or a path relative to the checkout: `"./tests/a_test.ts"`. */
  readonly file: string;
  /** The name; a step's has its parents' before it, with ` > ` between them. */
  readonly name: string;
  /** How it went. */
  readonly result: "passed" | "failed" | "skipped";
}

const CASE = /<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g;
const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** The tests and steps of a report. Text inside elements is escaped, so a pattern reads it safely. */
export function readJunit(xml: string): TestCase[] {
  return [...xml.matchAll(CASE)].map(([, name = "", file = "", body = ""]) => ({
    file: unescape(file),
    name: unescape(name),
    result: /^\s*<skipped\b/.test(body)
      ? "skipped"
      : /^\s*<(failure|error)\b/.test(body)
      ? "failed"
      : "passed",
  }));
}

function unescape(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-f]+)|#([0-9]+)|(\w+));/gi,
    (whole, hex?: string, decimal?: string, name = "") => {
      if (hex) return String.fromCodePoint(parseInt(hex, 16));
      if (decimal) return String.fromCodePoint(Number(decimal));
      return ENTITIES[name] ?? whole;
    },
  );
}
