/**
 * Which client makes a connection: a program of the system's, or npm:ssh2 in this process.
 *
 * @module
 */

import { delimiter, join } from "node:path";
import { variable } from "../environment.ts";
import { ConnectionError } from "../errors.ts";
import type { SshOptions } from "./options.ts";

/** A client program, and whose command line it has. */
export interface NativeClient {
  readonly program: string;
  readonly kind: "openssh" | "putty";
}

/**
 * Gives the client program for these options, or `undefined` for the client of this process: also where the program
 * has all the permissions for that one, and none to run the system's.
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
  if (options.useNative === undefined && !await mayRun(client.program) && await mayUseOwn()) {
    return undefined;
  }
  return client;
}

/** What npm:ssh2 asks for while it is loaded and connects. */
const OWN = ["net", "env", "read", "sys"] as const;
const OWN_FLAGS = OWN.map((name) => `--allow-${name}`).join(" ");

async function mayRun(program: string): Promise<boolean> {
  return (await Deno.permissions.query({ name: "run", command: program })).state === "granted";
}

async function mayUseOwn(): Promise<boolean> {
  const all = await Promise.all(OWN.map((name) => Deno.permissions.query({ name })));
  return all.every(({ state }) => state === "granted");
}

/** What is told where Deno does not let a client do its work; any other error is given back as it is. */
export function explainPermission(
  error: unknown,
  client: NativeClient | undefined,
  address: string,
): unknown {
  if (!(error instanceof Deno.errors.NotCapable)) return error;
  const details = { stage: "start", code: "NotCapable", cause: error };
  if (client === undefined) {
    return new ConnectionError(`Cannot connect to ${address} in this process: ${error.message}`, {
      ...details,
      hint: `run with ${OWN_FLAGS} for npm:ssh2; the system's own client needs --allow-run=ssh`,
    });
  }
  return new ConnectionError(`Cannot start ${client.program}: ${error.message}`, {
    ...details,
    // Any other permission is named by Deno's own words.
    hint: /run access/.test(error.message)
      ? `run with --allow-run=${client.program}; or with ${OWN_FLAGS} for npm:ssh2, which ` +
        "{ useNative: false } chooses"
      : undefined,
  });
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
  // What cannot be looked for is started by its name, so that Deno asks for it, or says what is missing.
  return hidden ? { program: "ssh", kind: "openssh" } : undefined;
}
