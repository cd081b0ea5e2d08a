/**
 * The system's own SSH client, OpenSSH's: which words its command line has.
 *
 * It is the user's own client, so all of the user's configuration holds: aliases, jump hosts,
 * agents, certificates, hardware keys. Only what would hang a program, or break the byte stream, is
 * overridden.
 *
 * @module
 */

import type { ConnectionError } from "../errors.ts";
import { Askpass } from "./askpass.ts";
import { ClientProcess } from "./client_process.ts";
import { type CheckedTarget, describeTarget, type SshOptions } from "./options.ts";
import { guarded, shareConnection } from "./control_master.ts";
import { explainEnd, noteOn, UNKNOWN_END } from "./failures.ts";
import { fileCipherArgs } from "./file_cipher.ts";
import type { NativeClient } from "./choice.ts";
import type { RemoteRequest } from "./remote_command.ts";
import { RemoteFiles } from "./remote_files.ts";
import { startPlink } from "./plink.ts";

/** Paths with blanks go inside quotation marks; `checkOptions` refused those that have such marks. */
function quotePaths(paths: readonly string[]): string {
  return paths.map((path) => `"${path}"`).join(" ");
}

/** Starts a client program for `request`, and gives it as a transport that can copy files too. */
export function startNative(
  client: NativeClient,
  request: RemoteRequest,
  target: CheckedTarget,
  options: SshOptions,
): Promise<ClientProcess> {
  const files = new RemoteFiles(async () => {
    const subsystem = { subsystem: "sftp" };
    const link = await startClient(client, subsystem, target, options, undefined);
    return {
      channel: link.channel,
      close: async () => {
        const { reason } = await link.close();
        // A server that had to be ended is not a reason of its own.
        return (reason as ConnectionError | undefined)?.code === UNKNOWN_END.code
          ? undefined
          : reason;
      },
    };
  }, options.cwd);
  return startClient(client, request, target, options, files);
}

function startClient(
  client: NativeClient,
  request: RemoteRequest,
  target: CheckedTarget,
  options: SshOptions,
  files: RemoteFiles | undefined,
): Promise<ClientProcess> {
  return client.kind === "putty"
    ? startPlink(client.program, request, target, options, files)
    : startOpenSsh(client.program, request, target, options, files);
}

async function startOpenSsh(
  program: string,
  request: RemoteRequest,
  target: CheckedTarget,
  options: SshOptions,
  files: RemoteFiles | undefined,
): Promise<ClientProcess> {
  if (options.privateKey !== undefined) {
    throw new TypeError(
      "Cannot use ssh option privateKey with the native client, which reads keys from files. " +
        "Use identityFile, an agent, or useNative: false.",
    );
  }
  if (typeof options.missingHostKeyPolicy === "function") {
    throw new TypeError(
      "Cannot ask a missingHostKeyPolicy function from the native client. Use useNative: false.",
    );
  }
  const connection = await connectionArgs(program, target, options);
  const words = [
    ...("subsystem" in request ? ["-s"] : []),
    "--",
    target.host,
    "subsystem" in request ? request.subsystem : request.line,
  ];
  const about = {
    address: options.address,
    name: "subsystem" in request ? request.subsystem : request.program,
    target: describeTarget(target),
    shown: "subsystem" in request ? request.subsystem : request.shown,
  };
  if (!options.controlMaster) {
    const cipher = "subsystem" in request
      ? await fileCipherArgs(program, connection, target.host)
      : [];
    return await runClient(program, [...cipher, ...connection, ...words], options, {
      ...about,
      files,
    });
  }
  const shared = await shareConnection(
    program,
    connection,
    target.host,
    (name, args) => runClient(name, args, options, { ...about, shown: target.host, wrap: guarded }),
    { connectTimeout: target.connectTimeout, signal: options.signal },
  );
  try {
    return await runClient(program, [...shared.args, ...connection, ...words], {}, {
      ...about,
      files,
      onEnd: shared.release,
    });
  } catch (error) {
    await shared.release();
    throw error;
  }
}

// Runs the client, with somebody to answer its questions where there are answers.
async function runClient(
  program: string,
  args: readonly string[],
  answers: Pick<SshOptions, "password" | "passphrase" | "prompt">,
  about: {
    address: string;
    target: string;
    name: string;
    shown: string;
    files?: RemoteFiles | undefined;
    wrap?: (program: string, args: readonly string[]) => { program: string; args: string[] };
    onEnd?: () => Promise<void>;
  },
): Promise<ClientProcess> {
  const { password, passphrase, prompt } = answers;
  const askpass = password === undefined && passphrase === undefined && prompt === undefined
    ? undefined
    : await Askpass.open({ password, passphrase, prompt });
  const end = async () => {
    await askpass?.close();
    await about.onEnd?.();
  };
  try {
    let start = { program, args: [...args] };
    if (askpass) start = askpass.launch(start.program, start.args);
    if (about.wrap) start = about.wrap(start.program, start.args);
    return new ClientProcess({
      address: about.address,
      files: about.files,
      ...start,
      env: askpass?.env,
      onStarted: () => {
        askpass?.close();
      },
      explain: async (ended) => {
        const error = await explainEnd({
          ...ended,
          target: about.target,
          // The command line is the last word.
          command: [program, ...args.slice(0, -1), about.shown].join(" "),
          program: about.name,
        });
        if (error && askpass?.failure !== undefined) error.cause ??= askpass.failure;
        return error;
      },
      noteOn,
      onEnd: end,
    });
  } catch (error) {
    await askpass?.close();
    throw error;
  }
}

/** The options of a connection, for every client of OpenSSH's that takes `-o`. */
export async function connectionArgs(
  program: string,
  target: CheckedTarget,
  options: SshOptions,
): Promise<string[]> {
  const args = ["-T", "-o", "RemoteCommand=none"];
  const set = (name: string, value: string | number) => args.push("-o", `${name}=${value}`);
  if (options.configFile !== undefined) args.push("-F", options.configFile);
  if (target.username !== undefined) args.push("-l", target.username);
  if (target.port !== undefined) args.push("-p", String(target.port));
  for (const file of target.identityFiles) args.push("-i", file);
  if (options.agent !== undefined) {
    set("IdentityAgent", options.agent === false ? "none" : quotePaths([options.agent]));
  }
  if (options.prompt !== undefined) {
    set("BatchMode", "no");
  } else if (options.password !== undefined || options.passphrase !== undefined) {
    set("BatchMode", "no");
    set("NumberOfPasswordPrompts", 1);
  } else {
    set("BatchMode", "yes");
  }
  let known = target.knownHosts;
  const policy = options.missingHostKeyPolicy;
  if (policy === "autoadd") set("StrictHostKeyChecking", "accept-new");
  else if (policy === "reject") set("StrictHostKeyChecking", "yes");
  else if (policy === "warning") {
    set("StrictHostKeyChecking", "accept-new");
    // New keys go to the first file: into nothing.
    known = ["/dev/null", ...known ?? await userKnownHosts(program, target, options)];
  } else if (options.prompt === undefined && !args.includes("BatchMode=yes")) {
    // Nobody is there to be asked, and a password must not go to a host that is not known.
    set("StrictHostKeyChecking", "yes");
  }
  if (known !== undefined) set("UserKnownHostsFile", quotePaths(known));
  if (target.connectTimeout > 0) {
    set("ConnectTimeout", Math.max(1, Math.ceil(target.connectTimeout / 1000)));
  }
  if (target.keepAlive) {
    set("ServerAliveInterval", Math.ceil(target.keepAlive.interval / 1000));
    set("ServerAliveCountMax", target.keepAlive.count);
  }
  return [...args, ...options.sshArgs ?? []];
}

// Which files the user's configuration names, by asking the client, which connects nowhere for it.
async function userKnownHosts(
  program: string,
  target: CheckedTarget,
  options: SshOptions,
): Promise<string[]> {
  const config = options.configFile === undefined ? [] : ["-F", options.configFile];
  const { stdout } = await new Deno.Command(program, {
    args: ["-G", ...config, "--", target.host],
    stdin: "null",
    stderr: "null",
  }).output();
  const line = /^userknownhostsfile (.*)$/m.exec(new TextDecoder().decode(stdout));
  const home = Deno.env.get("HOME") ?? "~";
  return line ? line[1]!.split(" ").map((file) => file.replace(/^~(?=\/)/, home)) : [];
}
