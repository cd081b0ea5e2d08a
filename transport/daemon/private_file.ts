/**
 * Files that nobody else may read: tokens and keys.
 *
 * @module
 */

import { ConnectionError } from "../errors.ts";
import { variable } from "../environment.ts";

/**
 * Reads a file of secrets.
 *
 * Rejects with a {@linkcode ConnectionError} if it cannot be read, if other users can read or change it, or if it
 * belongs to somebody other than this user and root.
 *
 * @param what What it is, for the error: `"token file"`.
 */
export async function readPrivateFile(path: string, what: string): Promise<string> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new ConnectionError(`Cannot read the ${what} ${path}: ${message}`, {
      stage: "authenticate",
      code: missing ? "ENOENT" : "EACCES",
      cause,
    });
  }
  using opened = file;
  const { mode, uid, isFile } = await opened.stat();
  if (isFile === false) {
    throw new ConnectionError(`Cannot use the ${what} ${path}: it is not a file`, {
      stage: "authenticate",
    });
  }
  if (mode !== null && Deno.build.os !== "windows") {
    // systemd's credentials are given to the service by an ACL, whose mask stands where the group's bits are.
    const folder = variable("CREDENTIALS_DIRECTORY");
    const credential = folder !== undefined && path.startsWith(`${folder}/`);
    if ((mode & (credential ? 0o037 : 0o077)) !== 0) {
      const bits = (mode & 0o777).toString(8).padStart(4, "0");
      throw new ConnectionError(
        `Cannot use the ${what} ${path}: other users can read or change it (its mode is ${bits})`,
        { stage: "authenticate", code: "EPERM", hint: `chmod 600 ${path}` },
      );
    }
    if (uid !== null && uid !== 0 && uid !== Deno.uid()) {
      throw new ConnectionError(
        `Cannot use the ${what} ${path}: it belongs to another user (its uid is ${uid})`,
        { stage: "authenticate", code: "EPERM" },
      );
    }
  }
  return await new Response(opened.readable).text();
}

/** A PEM text, or the path of a file that has it. */
export async function readPem(pem: string): Promise<string> {
  if (pem.includes("-----BEGIN ")) return pem;
  try {
    return await Deno.readTextFile(pem);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new ConnectionError(`Cannot read the certificate ${pem}: ${message}`, {
      stage: "authenticate",
      cause,
    });
  }
}

/** A private key as PEM text, or the path of a file that has it and that nobody else can read. */
export async function readKeyPem(pem: string): Promise<string> {
  return pem.includes("-----BEGIN ") ? pem : await readPrivateFile(pem, "key file");
}
