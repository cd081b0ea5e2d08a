/**
 * Where tokens are: given, in the environment, or in the file that a server makes for its own user.
 *
 * @module
 */

import { hiddenVariables, variable } from "../environment.ts";
import { readPrivateFile } from "./private_file.ts";

/** A token, or the path of the file that has it. */
export interface TokenSource {
  /** The token. */
  token?: string;
  /** A file that has the token, and that nobody else can read. */
  tokenFile?: string;
}

/**
 * The token that was named: by options, or by `PUSHY_TOKEN` or `PUSHY_TOKEN_FILE` in the environment.
 *
 * Throws a `TypeError` for one that is empty, or if two are named.
 */
export async function namedToken(
  { token, tokenFile }: TokenSource,
  environment = true,
): Promise<string | undefined> {
  if (token !== undefined && tokenFile !== undefined) {
    throw new TypeError("Cannot use both a token and a tokenFile: name one of them");
  }
  if (token !== undefined) return checkToken(token, "token");
  let path = tokenFile;
  if (path === undefined && environment) {
    const value = variable("PUSHY_TOKEN");
    if (value !== undefined) return checkToken(value, "PUSHY_TOKEN");
    path = variable("PUSHY_TOKEN_FILE");
  }
  if (path === undefined) return undefined;
  return checkToken((await readPrivateFile(path, "token file")).trim(), path);
}

function checkToken(token: string, where: string): string {
  if (typeof token !== "string" || token.trim() === "") {
    throw new TypeError(`Cannot use an empty token (${where})`);
  }
  return token;
}

/** The folder in which a user's servers keep their state, or `undefined` if the environment does not tell. */
export function stateFolder(): string | undefined {
  const named = variable("XDG_STATE_HOME");
  if (named?.startsWith("/")) return `${named}/pushy`;
  if (Deno.build.os === "windows") {
    const data = variable("LOCALAPPDATA");
    return data && `${data}\\pushy`;
  }
  const home = variable("HOME");
  return home && `${home}/.local/state/pushy`;
}

/** The token file of a server on this port of the loopback. */
export function tokenFileOf(port: number): string | undefined {
  const folder = stateFolder();
  return folder && `${folder}/daemon-${port}.token`;
}

/**
 * Why no token of this user's own server was found for a port of the loopback: what the program lacks, or where one would
 * be. The words go on from others, and may be none.
 */
export function whyNoToken(port: number): string {
  const folder = Deno.build.os === "windows" ? "LOCALAPPDATA" : "HOME";
  const hidden = variable("XDG_STATE_HOME") ? [] : hiddenVariables(folder, "XDG_STATE_HOME");
  const find = "; to find the one that a server of this user on this machine has left, run with ";
  if (hidden.length > 0) return `${find}--allow-env=${folder},XDG_STATE_HOME`;
  const file = tokenFileOf(port);
  if (file === undefined) return "";
  return Deno.permissions.querySync({ name: "read", path: file }).state === "granted"
    ? `; a server of this user on this machine would have left one in ${file}`
    : `${find}--allow-read=${file}`;
}

/** The token of this user's own server on a port of the loopback; `undefined` if there is none. */
export async function findToken(port: number): Promise<string | undefined> {
  const path = tokenFileOf(port);
  if (path === undefined || !await exists(path)) return undefined;
  return checkToken((await readPrivateFile(path, "token file")).trim(), path);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // A program that may not look there has no token.
    if (error instanceof Deno.errors.NotCapable) return false;
    throw error;
  }
}

/** The token in a file; makes both if there is none yet. The file appears complete, and with mode 0600. */
export async function makeToken(path: string): Promise<string> {
  if (await exists(path)) {
    return checkToken((await readPrivateFile(path, "token file")).trim(), path);
  }
  await Deno.mkdir(path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"))), {
    recursive: true,
    mode: 0o700,
  });
  const token = [...crypto.getRandomValues(new Uint8Array(32))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const partial = `${path}.${crypto.randomUUID()}`;
  await Deno.writeTextFile(partial, `${token}\n`, { createNew: true, mode: 0o600 });
  await Deno.rename(partial, path);
  return token;
}
