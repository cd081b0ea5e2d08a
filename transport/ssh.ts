/**
 * The `ssh:` transport: an interpreter on another machine, through its SSH daemon.
 *
 * The address is `[user@]host[:port]`, an IPv6 host in brackets, or an alias of the ssh
 * configuration. There are two ways, with one behaviour: the system's own client (OpenSSH's `ssh`,
 * or PuTTY's `plink`), and the library npm:ssh2 in this process, which is loaded only when it is
 * used. The environment variable `PUSHY_NATIVE_SSH` names another client program.
 *
 * With the system's client, {@linkcode Popen} resolves when that client is started, so that what
 * is written to `stdin` travels with the login. How the connection then fails is told by
 * `status`: its `reason` is a `ConnectionError`, an `AuthenticationError` or a `HostKeyError`. With
 * the client of this process, `Popen` itself rejects with these.
 *
 * A program that may run no client, and has all the permissions for the one in this process, uses that.
 *
 * A program that may run `sh` beside the client leaves no client behind when it is killed.
 *
 * @module
 */

import { type BaseTransport, quoteCommand } from "./popen.ts";
import { checkOptions, type SshOptions } from "./ssh/options.ts";
import { remoteCommandLine } from "./ssh/remote_command.ts";
import { windowsCommandLine } from "./ssh/windows_command.ts";
import { startNative } from "./ssh/native.ts";
import { chooseClient, explainPermission } from "./ssh/choice.ts";
import { startSsh2 } from "./ssh/ssh2_transport.ts";

export type {
  MissingHostKeyPolicy,
  PromptCallback,
  SshOptions,
  SshPrompt,
  UnknownHostKey,
} from "./ssh/options.ts";

/** The names of the options that this transport adds. */
export const options: readonly string[] = [
  "username",
  "password",
  "useNative",
  "port",
  "missingHostKeyPolicy",
  "identityFile",
  "privateKey",
  "passphrase",
  "agent",
  "knownHosts",
  "configFile",
  "sshArgs",
  "keepAlive",
  "controlMaster",
  "prompt",
] satisfies readonly (keyof SshOptions)[];

/**
 * Starts `command` on another machine.
 *
 * @param command the argv; its words are quoted so that every usual login shell reads them alike
 * @param options the address, and how to get there
 * @returns the transport. With the system's client it is given at once; see the module's text.
 * @throws {TypeError} if the address, the command or an option cannot be used; nothing was sent
 * @throws {ConnectionError | AuthenticationError | HostKeyError} with the client of this process, or where Deno lets
 *   neither work
 */
export async function Popen(
  command: readonly string[],
  options: SshOptions,
): Promise<BaseTransport> {
  const target = checkOptions(command, options);
  options.signal?.throwIfAborted();
  const line = options.platform === "windows"
    ? windowsCommandLine(command, options)
    : remoteCommandLine(command, options);
  const client = await chooseClient(options);
  const request = { line, program: command[0]!, shown: quoteCommand(command) };
  try {
    return client === undefined
      ? await startSsh2(request, target, options)
      : await startNative(client, request, target, options);
  } catch (error) {
    throw explainPermission(error, client, options.address);
  }
}
