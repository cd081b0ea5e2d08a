/**
 * A connection by npm:ssh2: reached, its host checked, and logged in.
 *
 * @module
 */

import { AuthenticationError, ConnectionError } from "../errors.ts";
import { checkHostKey, type KnownHost, lookUp } from "./known_hosts.ts";
import { type CheckedTarget, parseAddress, type SshOptions } from "./options.ts";
import { type HostConfig, hostConfig } from "./ssh_config.ts";
import { Login } from "./ssh2_auth.ts";
import { loadLibraries, type Ssh2Channel, type Ssh2Client } from "./ssh2_library.ts";
import { CipherKeeper, CIPHERS } from "./ssh2_ciphers.ts";
import { Ssh2Socket } from "./ssh2_socket.ts";
import { endsWithin } from "./waiting.ts";

/** A connection that is logged in. */
export interface Ssh2Session {
  readonly client: Ssh2Client;
  /** `user@host:port` as it was reached. */
  readonly target: string;
  /** Resolves when the link is gone: to why, or to nothing where this side ended it. */
  readonly lost: Promise<ConnectionError | undefined>;
  /** Says goodbye and waits until nothing of the connection is left. */
  close(): Promise<void>;
  ref(): void;
  unref(): void;
}

const CLOSE_GRACE = 2_000;
const MOST_JUMPS = 8;
const PREFERRED_KEYS = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
  "ssh-rsa",
];

/**
 * Connects and logs in.
 *
 * @param stage told what is being done, for the error of a time limit
 */
export async function openSession(
  given: CheckedTarget,
  options: SshOptions,
  signal: AbortSignal,
  stage: (name: string) => void,
): Promise<Ssh2Session> {
  const { sshConfig } = await loadLibraries();
  const config = await hostConfig(sshConfig, given.host, {
    username: given.username,
    port: given.port,
    configFile: options.configFile,
  });
  const through: Ssh2Session[] = [];
  const closeAll = async () => {
    for (const session of through.reverse()) await session.close();
  };
  try {
    if (config.jumps.length > MOST_JUMPS) {
      throw new TypeError(`Cannot connect: more than ${MOST_JUMPS} jump hosts.`);
    }
    let before: Ssh2Session | undefined;
    for (const jump of config.jumps) {
      const address = parseAddress(jump);
      const hop = await hostConfig(sshConfig, address.host, {
        username: address.username,
        port: address.port,
        configFile: options.configFile,
      });
      // The password is for the named host alone; of its jumps, only the first one's are followed.
      const { password: _password, privateKey: _key, ...rest } = options;
      before = await openOne(hop, { ...given, identityFiles: [] }, rest, before, signal, stage);
      through.push(before);
    }
    const session = await openOne(config, given, options, before, signal, stage);
    return {
      client: session.client,
      target: session.target,
      lost: session.lost,
      close: async () => {
        await session.close();
        await closeAll();
      },
      ref: () => [session, ...through].forEach((each) => each.ref()),
      unref: () => [session, ...through].forEach((each) => each.unref()),
    };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function openOne(
  config: HostConfig,
  given: CheckedTarget,
  options: SshOptions,
  through: Ssh2Session | undefined,
  signal: AbortSignal,
  stage: (name: string) => void,
): Promise<Ssh2Session> {
  const { ssh2 } = await loadLibraries();
  const { hostName, port, user } = config;
  const target = `${user}@${hostName.includes(":") ? `[${hostName}]` : hostName}:${port}`;
  const files = given.knownHosts ?? config.userKnownHosts;
  const known = await lookUp(
    [...files, ...config.globalKnownHosts],
    config.hostKeyAlias ?? hostName,
    config.hostKeyAlias === undefined ? port : 22,
  );
  const agent = options.agent ?? config.agent ?? Deno.env.get("SSH_AUTH_SOCK");
  const login = new Login(ssh2, {
    username: user,
    password: options.password,
    privateKey: options.privateKey,
    passphrase: options.passphrase,
    namedFiles: given.identityFiles,
    configFiles: given.identityFiles.length > 0 ? [] : config.identityFiles,
    identitiesOnly: config.identitiesOnly,
    agent: agent === false || agent === "" ? undefined : agent,
    prompt: options.prompt,
  });
  stage("connect");
  const socket = through === undefined
    ? await reach(hostName, port, target, signal)
    : await reachThrough(through, hostName, port, target);
  signal.throwIfAborted();

  const client = new ssh2.Client();
  const alive = given.keepAlive ?? config.keepAlive;
  const ready = Promise.withResolvers<void>();
  const lost = Promise.withResolvers<ConnectionError | undefined>();
  let hostKeyError: unknown;
  let failure: Error | undefined;
  let isReady = false;
  let closing = false;
  let banner = "";
  client.on("ready", () => {
    isReady = true;
    ready.resolve();
  });
  client.on("banner", (text: string) => banner = text);
  const ciphers = new CipherKeeper(client);
  client.on("handshake", () => {
    ciphers.exchange();
    stage("authenticate");
  });
  client.on("error", (error: Error & { level?: string }) => {
    // An agent that is not there is one way less to log in.
    if (error.level === "agent") {
      login.skipped.push(`agent: ${error.message}`);
      return;
    }
    failure ??= error;
    if (!isReady) ready.reject(error);
  });
  client.on("close", () => {
    ready.reject(failure ?? new Error("The connection was closed."));
    ciphers.finish();
    lost.resolve(closing ? undefined : lostError(target, failure));
  });
  const onAbort = () => {
    ready.reject(signal.reason);
    client.destroy();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const close = async () => {
    closing = true;
    client.end();
    if (!await endsWithin(lost.promise, CLOSE_GRACE)) client.destroy();
    await lost.promise;
  };
  stage("handshake");
  try {
    client.connect({
      sock: socket,
      username: user,
      readyTimeout: 0,
      keepaliveInterval: alive?.interval ?? 0,
      keepaliveCountMax: alive?.count ?? 3,
      algorithms: { serverHostKey: keyOrder(known), cipher: [...CIPHERS] },
      authHandler: login.handler,
      hostVerifier: (key: Uint8Array, verify: (good: boolean) => void) => {
        stage("hostkey");
        checkHostKey(known, key, {
          policy: options.missingHostKeyPolicy ?? "reject",
          files,
          hash: config.hashKnownHosts,
        }).then(() => verify(true), (error) => {
          hostKeyError = error;
          verify(false);
        });
      },
    });
    await ready.promise;
  } catch (error) {
    await close();
    if (hostKeyError !== undefined) throw hostKeyError;
    if (signal.aborted) throw signal.reason;
    throw startError(target, error, login, banner);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  return {
    client,
    target,
    lost: lost.promise,
    close,
    ref: () => socket instanceof Ssh2Socket && socket.ref(),
    unref: () => socket instanceof Ssh2Socket && socket.unref(),
  };
}

// A server with several keys is asked for one that is known (as OpenSSH does).
function keyOrder(known: KnownHost): string[] {
  const types = new Set(known.keys.filter((key) => !key.revoked).map((key) => key.type));
  if (types.has("ssh-rsa")) types.add("rsa-sha2-512").add("rsa-sha2-256");
  return [
    ...PREFERRED_KEYS.filter((type) => types.has(type)),
    ...PREFERRED_KEYS.filter((type) => !types.has(type)),
  ];
}

async function reach(
  hostname: string,
  port: number,
  target: string,
  signal: AbortSignal,
): Promise<Ssh2Socket> {
  try {
    return new Ssh2Socket(await Deno.connect({ hostname, port, signal }));
  } catch (cause) {
    signal.throwIfAborted();
    throw reachError(target, cause);
  }
}

function reachError(target: string, cause: unknown): unknown {
  if (!(cause instanceof Error)) return cause;
  const code = (cause as { code?: string }).code;
  const fail = (summary: string, stage: string, name: string, hint: string) =>
    new ConnectionError(summary, { stage, code: name, hint, cause });
  if (cause instanceof Deno.errors.ConnectionRefused) {
    return fail(
      `The connection to ${target} was refused.`,
      "connect",
      "ECONNREFUSED",
      "Is the SSH daemon running there, and on this port?",
    );
  }
  if (/lookup address|not known|No address/i.test(cause.message)) {
    return fail(
      `Cannot find the host of ${target}.`,
      "resolve",
      "ENOTFOUND",
      "Check the name's spelling, the ssh configuration's aliases and the name service.",
    );
  }
  if (cause instanceof Deno.errors.TimedOut || code === "ETIMEDOUT") {
    return fail(
      `The connection to ${target} timed out.`,
      "connect",
      "ETIMEDOUT",
      "Does a firewall drop the packets? A longer time is given with connectTimeout.",
    );
  }
  if (cause instanceof Deno.errors.NotCapable) return cause;
  return fail(
    `There is no way to ${target}: ${cause.message}.`,
    "connect",
    code ?? "EHOSTUNREACH",
    "Check the network, a VPN, or whether a jump host (ProxyJump) is needed.",
  );
}

function reachThrough(
  through: Ssh2Session,
  host: string,
  port: number,
  target: string,
): Promise<Ssh2Channel> {
  return new Promise((resolve, reject) => {
    through.client.forwardOut("127.0.0.1", 0, host, port, (error, channel) => {
      if (!error) return resolve(channel);
      reject(
        new ConnectionError(`The jump host ${through.target} cannot reach ${target}.`, {
          stage: "connect",
          code: "EJUMP",
          hint: "Is the address right as seen from there, and does it allow TCP forwarding?",
          cause: error,
        }),
      );
    });
  });
}

function startError(
  target: string,
  cause: unknown,
  login: Login,
  banner: string,
): ConnectionError {
  const error = cause as Error & { level?: string; code?: unknown };
  const stderr = banner === "" ? undefined : banner;
  if (error.level === "client-authentication" || /authentication failures/i.test(error.message)) {
    const skipped = login.skipped.length > 0 ? ` Not usable: ${login.skipped.join("; ")}.` : "";
    return new AuthenticationError(
      `${target} did not accept any way to log in. Tried: ${login.tried.join(", ")}. ` +
        `It offers: ${login.offered.join(", ") || "nothing more"}.${skipped}`,
      {
        stage: "authenticate",
        code: "EAUTH",
        stderr,
        hint: "Is the user right? Is the public key in the account's authorized_keys, is the " +
          "private key in the agent or named by identityFile? A password is given with password.",
        cause: login.failure ?? cause,
      },
    );
  }
  if (/no matching/i.test(error.message)) {
    return new ConnectionError(`${target} and this client have no algorithm in common.`, {
      stage: "handshake",
      code: "ENEGOTIATE",
      hint: "Use useNative: true; OpenSSH's client may know the host's algorithms.",
      cause,
    });
  }
  return new ConnectionError(
    `The connection to ${target} ended before the login: ${error.message}`,
    {
      stage: "handshake",
      code: "ECONNRESET",
      stderr,
      hint: "Is it an SSH daemon that listens there? Its log says why it closed.",
      cause,
    },
  );
}

function lostError(target: string, cause: Error | undefined): ConnectionError {
  const timeout = (cause as { level?: string } | undefined)?.level === "client-timeout";
  return new ConnectionError(
    timeout
      ? `The connection to ${target} was lost: no sign of life.`
      : `The connection to ${target} was closed by the other side.`,
    {
      stage: "session",
      code: timeout ? "ETIMEDOUT" : "ECONNRESET",
      hint: timeout
        ? "The network or the host went away."
        : "The SSH daemon or the network ended it; the daemon's log says why.",
      cause,
    },
  );
}
