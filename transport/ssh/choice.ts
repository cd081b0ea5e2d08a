/**
 * Which client makes a connection: a program of the system's, or npm:ssh2 in this process.
 *
 * @module
 */

import { delimiter, join } from "node:path";
import { variable } from "../environment.ts";
import type { SshOptions } from "./options.ts";

/** A client program, and whose command line it has. */
export interface NativeClient {
  readonly program: string;
  readonly kind: "openssh" | "putty";
}

/**
 * Gives the client program for these options, or `undefined` for the client of this process.
 *
 * @throws {Error} if the system's client was asked for and there is none.
 */
export async function chooseClient(options: SshOptions): Promise<NativeClient | undefined> {
  if (options.useNative === false) return undefined;
  if (options.useNative === undefined) {
    const needsOwn = options.password !== undefined || options.privateKey !== undefined ||
      typeof options.missingHostKeyPolicy === "function";
    if (needsOwn) return undefined;
  }
  const client = await findClient();
  if (client === undefined) {
    if (options.useNative !== true) return undefined;
    throw new Error(
      "Cannot find a native ssh client: there is neither ssh nor plink on the PATH. Install " +
        "OpenSSH's client, name a program in PUSHY_NATIVE_SSH, or use useNative: false.",
    );
  }
  // PuTTY's was found to be slower than the client of this process.
  if (client.kind === "putty" && options.useNative !== true && Deno.build.os === "windows") {
    return undefined;
  }
  return client;
}

function kindOf(program: string): NativeClient["kind"] {
  return /plink(?:\.exe)?$/i.test(program) ? "putty" : "openssh";
}

async function findClient(): Promise<NativeClient | undefined> {
  const named = variable("PUSHY_NATIVE_SSH");
  if (named) return { program: named, kind: kindOf(named) };
  const suffix = Deno.build.os === "windows" ? ".exe" : "";
  const path = variable("PATH");
  let hidden = path === undefined;
  const folders = (path ?? "").split(delimiter).filter((folder) => folder !== "");
  for (const name of ["ssh", "plink"]) {
    for (const folder of folders) {
      const program = join(folder, name + suffix);
      try {
        if ((await Deno.stat(program)).isFile) return { program, kind: kindOf(program) };
      } catch (error) {
        // Not there, or not to be looked at: the next folder.
        hidden ||= error instanceof Deno.errors.NotCapable;
      }
    }
  }
  // A program that this one may run, and not look for, is started by its name.
  if (hidden) {
    const { state } = await Deno.permissions.query({ name: "run", command: "ssh" });
    if (state === "granted") return { program: "ssh", kind: "openssh" };
  }
  return undefined;
}
