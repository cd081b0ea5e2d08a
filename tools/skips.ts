/**
 * Says what was skipped, why, and what to do about it.
 *
 * @module
 */

import type { SkipRecord } from "../tests/support/requirement.ts";
import type { TestCase } from "./junit.ts";

/** The list of skips, ready to be printed. */
export interface Skips {
  /** The lines; none where nothing was skipped. */
  readonly lines: readonly string[];
  /** How many different things an installation would have provided. */
  readonly installable: number;
}

/**
 * Joins the report's skipped tests with the reasons that their files recorded.
 *
 * @param base The URL of the folder that relative file names of the report start from.
 */
export function describeSkips(
  cases: readonly TestCase[],
  records: readonly SkipRecord[],
  base: string,
): Skips {
  const skipped = new Map<string, string[]>();
  for (const test of cases) {
    if (test.result !== "skipped") continue;
    const url = new URL(test.file, base).href;
    skipped.set(url, [...skipped.get(url) ?? [], test.name]);
  }
  const reasons = new Map<string, { record: SkipRecord; files: Set<string> }>();
  const explained = new Set<string>();
  for (const record of records) {
    // A reason may stand in a file of which a filter left no skipped test.
    if (!skipped.has(record.file)) continue;
    explained.add(record.file);
    const entry = reasons.get(record.reason) ?? { record, files: new Set() };
    entry.files.add(record.file.replace(base, ""));
    reasons.set(record.reason, entry);
  }
  const lines: string[] = [];
  for (const { record, files } of reasons.values()) {
    lines.push(`  ${record.reason}`, `    to get it: ${record.how}`);
    for (const file of files) {
      lines.push(`    in ${file}: ${skipped.get(base + file)?.join(", ")}`);
    }
  }
  for (const [file, names] of skipped) {
    if (explained.has(file)) continue;
    lines.push("  no reason given", `    in ${file.replace(base, "")}: ${names.join(", ")}`);
  }
  const installable = [...reasons.values()].filter(({ record }) => record.installable).length;
  return { lines: lines.length > 0 ? ["", "Skipped:", ...lines, ""] : [], installable };
}
