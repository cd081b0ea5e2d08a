/**
 * Text that came from the other side, made fit for a terminal and a message; and words on values.
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

/** A few words on a value, for an error or the console. It runs no code of the value's. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  switch (typeof value) {
    case "function":
      return value.name ? `the function ${value.name}` : "a function";
    case "object": {
      const name = className(value);
      return name ? `an instance of ${name}` : "an object without a class";
    }
    case "symbol":
      return String(value);
    default:
      return `a ${typeof value}`;
  }
}

/** The name of an object's class, or "" where it has none. Getters are not run. */
export function className(value: object): string {
  try {
    const prototype = Object.getPrototypeOf(value);
    const constructor = prototype &&
      Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    const name = typeof constructor === "function" &&
      Object.getOwnPropertyDescriptor(constructor, "name")?.value;
    return typeof name === "string" ? name : "";
  } catch {
    return "";
  }
}
