/**
 * Text that came from the other side, made fit for a terminal and a message.
 *
 * @module
 */

const ESCAPES =
  // deno-lint-ignore no-control-regex
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/** The text without what a terminal would act on: escape sequences and control characters. */
export function printable(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(ESCAPES, "");
}

/** At most `most` characters of a text, the middle left out. */
export function shorten(text: string, most: number): string {
  if (text.length <= most) return text;
  const end = Math.floor(most / 4);
  return `${text.slice(0, most - end - 3)} … ${text.slice(-end)}`;
}
