/**
 * TypeScript, where only JavaScript can be run: an error that says so, in place of the interpreter's, which cannot know.
 *
 * @module
 */

import * as module from "node:module";
import { RemoteError } from "../mod.ts";

// Deno has it, and its types do not.
const { stripTypeScriptTypes } = module as unknown as {
  stripTypeScriptTypes?(source: string): string;
};

/** Is it source with types in it? */
function hasTypes(source: string): boolean {
  try {
    const bare = stripTypeScriptTypes?.(source);
    return bare !== undefined && bare !== source;
  } catch {
    return false;
  }
}

/** The error of running `source`, as it is told. */
export function explained(error: unknown, source: string): unknown {
  if (!(error instanceof RemoteError) || error.type !== "SyntaxError") return error;
  // Python tells its own errors so.
  if (/^(Traceback| {2}File )/.test(error.remoteStack) || !hasTypes(source)) return error;
  return new SyntaxError(
    `Cannot run the code: it is TypeScript, and the interpreter takes JavaScript (${error.message}). ` +
      "Leave its types out",
    { cause: error },
  );
}
