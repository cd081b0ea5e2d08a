/**
 * The names that the other side gives of files in a folder, before anything is written under them.
 *
 * A host that lies must not be able to have a file written outside the destination: neither by a name that leads out, nor
 * through a link that it had made before. So a name has only plain parts; what it stands in is a folder that this
 * copy has made or found as a real folder; and a link leads down, or up no further than the destination.
 *
 * @module
 */

import type { Entry } from "../runtime/js/files.ts";

const TYPES = new Set(["file", "folder", "link", "other"]);
/** What Windows would read as a path, a drive or a stream. */
const WINDOWS = /[\\:]/;

/** Why a name may not be used, or `undefined`. */
export function unsafeName(name: unknown, windows: boolean): string | undefined {
  if (typeof name !== "string") return "a name that is no text";
  const parts = name.split("/");
  for (const part of parts) {
    if (part === "" || part === "." || part === ".." || part.includes("\0")) {
      return `the name ${JSON.stringify(name)}`;
    }
    if (windows && (WINDOWS.test(part) || /[. ]$/.test(part))) {
      return `the name ${JSON.stringify(name)}`;
    }
  }
  if (parts.length > 500 || name.length > 32_000) return "a name without an end";
  return undefined;
}

/**
 * Why a link may not be made, or `undefined`. `name` is its own, which was found to be safe.
 *
 * It may go up only at its start, where the folders that it leaves are real ones: behind another link ".." leads
 * anywhere.
 */
export function unsafeLink(name: string, target: unknown, windows: boolean): string | undefined {
  if (typeof target !== "string") return `the link ${JSON.stringify(name)} to nothing`;
  const refused = `the link ${JSON.stringify(name)} to ${JSON.stringify(target)}`;
  if (target === "" || target.startsWith("/") || target.includes("\0")) return refused;
  if (windows && WINDOWS.test(target)) return refused;
  const parts = target.split("/").filter((part) => part !== "" && part !== ".");
  const down = parts.findIndex((part) => part !== "..");
  const up = down < 0 ? parts.length : down;
  if (up > name.split("/").length - 1) return refused;
  return parts.slice(up).includes("..") ? refused : undefined;
}

/** An entry as it should be, of what came from the other side. */
export function checkEntry(value: unknown): Entry | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { type, size, mode, mtime, target, path } = value as Record<string, unknown>;
  if (typeof type !== "string" || !TYPES.has(type)) return undefined;
  for (const number of [size, mode, mtime]) {
    if (typeof number !== "number" || !Number.isFinite(number)) return undefined;
  }
  if (!((size as number) >= 0)) return undefined;
  return {
    type: type as Entry["type"],
    size: size as number,
    mode: mode as number,
    mtime: mtime as number,
    target: typeof target === "string" ? target : undefined,
    path: typeof path === "string" ? path : undefined,
  };
}
