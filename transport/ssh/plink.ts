/**
 * PuTTY's command-line client, `plink`: which words its command line has.
 *
 * It knows no ssh configuration, but its own saved sessions by name. It reads a password from a
 * file; here that is a named pipe in a private folder, so the password is on no disk. Host keys are
 * in PuTTY's own cache; with the option `knownHosts`, they are taken from those files instead.
 *
 * @module
 */

import { HostKeyError } from "../errors.ts";
import { ClientProcess } from "./client_process.ts";
import { makeFifo } from "./askpass.ts";
import { explainEnd } from "./failures.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { lookUp } from "./known_hosts.ts";
import type { RemoteFiles } from "./remote_files.ts";
import type { RemoteRequest } from "./remote_command.ts";
import { type CheckedTarget, describeTarget, type SshOptions } from "./options.ts";

/** Starts plink for `request`. @throws {TypeError} for an option that it has no word for. */
export async function startPlink(
  program: string,
  request: RemoteRequest,
  target: CheckedTarget,
  options: SshOptions,
  files: RemoteFiles | undefined,
): Promise<ClientProcess> {
  const without = (name: string, given: boolean, instead: string) => {
    if (!given) return;
    throw new TypeError(`Cannot use ssh option ${name} with PuTTY's client. ${instead}`);
  };
  const own = "Use useNative: false.";
  without("prompt", options.prompt !== undefined, own);
  without("passphrase", options.passphrase !== undefined, `Load the key into pageant, or ${own}`);
  without("privateKey", options.privateKey !== undefined, `Use identityFile, or ${own}`);
  without("configFile", options.configFile !== undefined, "It reads PuTTY's saved sessions.");
  without("controlMaster", options.controlMaster === true, own);
  without("keepAlive", target.keepAlive !== undefined, `Set it in a saved session, or ${own}`);
  without(
    "missingHostKeyPolicy",
    options.missingHostKeyPolicy !== undefined && options.missingHostKeyPolicy !== "reject",
    own,
  );
  const args = ["-ssh", "-batch", "-T", "-no-antispoof"];
  if (target.username !== undefined) args.push("-l", target.username);
  if (target.port !== undefined) args.push("-P", String(target.port));
  for (const file of target.identityFiles) args.push("-i", file);
  if (options.agent === false) args.push("-noagent");
  const expected: string[] = [];
  if (target.knownHosts !== undefined) {
    const known = await lookUp(target.knownHosts, target.host, target.port ?? 22);
    for (const { key, revoked } of [...known.keys, ...known.portless]) {
      if (!revoked) expected.push(await fingerprintOf(key));
    }
    // With no key at all, plink would go by its own cache.
    for (const key of expected.length > 0 ? expected : [`SHA256:${"A".repeat(43)}`]) {
      args.push("-hostkey", key);
    }
  }
  const secret = options.password === undefined ? undefined : await passwordPipe(options.password);
  try {
    if (secret) args.push("-pwfile", secret.path);
    args.push(...options.sshArgs ?? []);
    if ("subsystem" in request) args.push("-s");
    args.push(target.host, "subsystem" in request ? request.subsystem : request.line);
    const command = "subsystem" in request ? request.subsystem : request.shown;
    const shown = [program, ...args.slice(0, -1), command].join(" ");
    return new ClientProcess({
      address: options.address,
      files,
      program,
      args,
      env: typeof options.agent === "string" ? { SSH_AUTH_SOCK: options.agent } : undefined,
      onStarted: () => {
        secret?.close();
      },
      explain: async (end) => {
        const error = await explainEnd({
          ...end,
          target: describeTarget(target),
          command: shown,
          program: "program" in request ? request.program : request.subsystem,
        });
        if (error?.code !== "EHOSTKEYUNKNOWN" || expected.length === 0) return error;
        return new HostKeyError(
          `The host key of ${describeTarget(target)} is not the one that is known: ` +
            `${expected.join(", ")}; plink does not say what was sent.`,
          { ...error, code: "EHOSTKEYCHANGED", hint: "Ask whoever runs the host for its key." },
        );
      },
      onEnd: () => secret?.close(),
    });
  } catch (error) {
    await secret?.close();
    throw error;
  }
}

async function passwordPipe(
  password: string,
): Promise<{ path: string; close(): Promise<void> }> {
  if (Deno.build.os === "windows") {
    throw new Deno.errors.NotSupported(
      "Cannot give a password to PuTTY's client on Windows without writing it to a file. " +
        "Use useNative: false.",
    );
  }
  const folder = await Deno.makeTempDir({ prefix: "pushy-plink-" });
  const path = `${folder}/answer`;
  try {
    await Deno.chmod(folder, 0o700);
    await makeFifo(path);
    // Opened both ways, so that opening does not wait for a reader.
    const pipe = await Deno.open(path, { read: true, write: true });
    await pipe.write(new TextEncoder().encode(`${password}\n`));
    let closed: Promise<void> | undefined;
    return {
      path,
      close: () =>
        closed ??= (() => {
          pipe.close();
          return Deno.remove(folder, { recursive: true });
        })(),
    };
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
}
