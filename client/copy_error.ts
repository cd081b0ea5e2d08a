/**
 * What can go wrong when files are copied: one error, a code for each cause, and what to do about it.
 *
 * @module
 */

import { ConnectionLostError } from "../protocol/errors.ts";
import { printable } from "../protocol/text.ts";

/** Why a copy failed. */
export type CopyErrorCode =
  | "ENOENT"
  | "EACCES"
  | "EISDIR"
  | "ENOTDIR"
  | "EEXIST"
  | "ENOSPC"
  | "EROFS"
  | "ENAMETOOLONG"
  | "ECHANGED"
  | "ECHECKSUM"
  | "EILSEQ"
  | "EUNSAFE"
  | "ESPECIAL"
  | "EIO";

/** What each code means, and what to do about it. */
const MEANINGS: Record<CopyErrorCode, [what: string, hint?: string]> = {
  ENOENT: ["there is no such file or folder"],
  EACCES: ["permission denied", "look at the owner and the mode, or at the permissions of Deno"],
  EISDIR: ["it is a folder", "name a file, or copy the folder with { recursive: true }"],
  ENOTDIR: ["something is there that is not a folder", "move it away, or name another destination"],
  EEXIST: ["it is there already"],
  ENOSPC: ["the disk is full, or a quota is used up", "make room; nothing was left behind"],
  EROFS: ["the file system can only be read"],
  ENAMETOOLONG: ["the name is too long for the file system"],
  ECHANGED: ["it changed while it was copied", "copy again when nobody writes to it"],
  ECHECKSUM: ["the checksums differ", "copy again; if it stays so, look at the disks"],
  EILSEQ: ["a name is not UTF-8", "rename the file"],
  EUNSAFE: ["the remote side named a place outside the destination", "do not trust that host"],
  ESPECIAL: [
    "it is neither a file nor a folder nor a link",
    'leave such out with { special: "skip" }',
  ],
  EIO: ["it could not be read or written"],
};

/** The names that systems and interpreters have for the same thing. */
const ALIASES: Record<string, CopyErrorCode> = {
  EPERM: "EACCES",
  EDQUOT: "ENOSPC",
  EFBIG: "ENOSPC",
  NotCapable: "EACCES",
  NotFound: "ENOENT",
  PermissionDenied: "EACCES",
  IsADirectory: "EISDIR",
  NotADirectory: "ENOTDIR",
  AlreadyExists: "EEXIST",
  FileNotFoundError: "ENOENT",
  PermissionError: "EACCES",
  IsADirectoryError: "EISDIR",
  NotADirectoryError: "ENOTDIR",
  FileExistsError: "EEXIST",
};

/**
 * A copy failed. Nothing half-written is left at the destination.
 *
 * @example
 * ```ts
 * import { connect, CopyError } from "@pushy/core";
 *
 * await using con = await connect("local:");
 * try {
 *   await con.getfile("/no/such/file", "copy");
 * } catch (error) {
 *   if (!(error instanceof CopyError)) throw error;
 *   console.log(error.code, error.path); // ENOENT /no/such/file
 * }
 * ```
 */
export class CopyError extends Error {
  /** `"CopyError"` */
  override readonly name = "CopyError";
  /**
   * Why: `"ENOENT"`, `"EACCES"`, `"EISDIR"`, `"ENOTDIR"`, `"EEXIST"`, `"ENOSPC"`, `"EROFS"` and `"ENAMETOOLONG"` as the
   * system says it; `"ECHANGED"`: the source changed under the copy; `"ECHECKSUM"`: the copy differs; `"EILSEQ"`: a
   * name is not UTF-8; `"EUNSAFE"`: the remote side named a place outside the destination; `"ESPECIAL"`: a socket, a pipe
   * or a device; `"EIO"`: anything else, told by `cause`.
   */
  readonly code: CopyErrorCode;
  /** What it was about. */
  readonly path: string;
  /** On which side that is. */
  readonly side: "local" | "remote";

  /** Makes the error; `detail` says more than the code, `hint` what to do where that is not the usual thing. */
  constructor(
    code: CopyErrorCode,
    side: "local" | "remote",
    path: string,
    options: { detail?: string; hint?: string; cause?: unknown } = {},
  ) {
    const [what, usual] = MEANINGS[code];
    const hint = options.hint ?? usual;
    const detail = options.detail ? ` (${options.detail})` : "";
    super(
      printable(`Cannot copy ${side} ${path}: ${what}${detail}`) +
        (hint ? `\n  hint: ${hint}` : ""),
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.code = code;
    this.side = side;
    this.path = path;
  }
}

/** The code of what was thrown, if it has one that is known, by whatever name its system calls it. */
function codeOf(error: Error): CopyErrorCode | undefined {
  const { code, type, name } = error as Error & { code?: unknown; type?: unknown };
  for (const key of [code, type, name]) {
    if (typeof key !== "string") continue;
    if (Object.hasOwn(ALIASES, key)) return ALIASES[key];
    if (Object.hasOwn(MEANINGS, key)) return key as CopyErrorCode;
  }
  return undefined;
}

/** The error of a copy, for whatever was thrown about `path`. A lost connection stays what it is. */
export function copyError(error: unknown, side: "local" | "remote", path: string): unknown {
  if (!(error instanceof Error)) return error;
  if (error instanceof CopyError || error instanceof ConnectionLostError) return error;
  const code = codeOf(error);
  const telling = code === undefined || code === "EILSEQ" || code === "ENOTDIR";
  const detail = telling ? error.message : undefined;
  return new CopyError(code ?? "EIO", side, path, { detail, cause: error });
}

/** The same for what was to be made at `path`: what is missing there is its folder. */
export function destinationError(
  error: unknown,
  side: "local" | "remote",
  path: string,
): unknown {
  if (!(error instanceof Error) || error instanceof CopyError || codeOf(error) !== "ENOENT") {
    return copyError(error, side, path);
  }
  return new CopyError("ENOENT", side, path, { detail: "its folder must be there", cause: error });
}

/** Both ends of a copy: the side that the source is on, and the paths. */
export interface CopyEnds {
  /** Where the source is. */
  readonly source: "local" | "remote";
  /** The path there. */
  readonly from: string;
  /** The path on the other side. */
  readonly to: string;
}

/**
 * The same for a transport's own copy: the error itself may say by a property `side` which end it is about, else only its
 * message does, and the source is named. What is unknown stays what it is.
 */
export function ownCopyError(error: unknown, { source, from, to }: CopyEnds): unknown {
  if (!(error instanceof Error) || error instanceof CopyError) return error;
  const code = codeOf(error);
  if (code === undefined) return error;
  const { side } = error as { side?: "local" | "remote" };
  if (side === undefined) {
    return new CopyError(code, source, from, { detail: error.message, cause: error });
  }
  return side === source ? copyError(error, side, from) : destinationError(error, side, to);
}
