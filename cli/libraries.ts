/**
 * Where the libraries of the command line come from. They are named with their registry and version, because
 * `deno install -g` from a checkout does not read its deno.json.
 *
 * @module
 */

export {
  Argument,
  Command,
  CommanderError,
  InvalidArgumentError,
  Option,
} from "npm:commander@^14.0.0";
export * as acorn from "npm:acorn@^8.14.0";
