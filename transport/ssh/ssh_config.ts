/**
 * The user's ssh configuration, for the client of this process.
 *
 * The syntax and the choice among `Host` and `Match` blocks are npm:ssh-config's; this file finds
 * the files, follows `Include`, and expands what stands in the values. Honoured are `HostName`,
 * `User`, `Port`, `IdentityFile`, `IdentitiesOnly`, `IdentityAgent`, `ProxyJump`, `HostKeyAlias`,
 * `UserKnownHostsFile`, `GlobalKnownHostsFile`, `HashKnownHosts` and `ServerAliveInterval`.
 * `ProxyCommand` is refused, since it is not.
 *
 * @module
 */

import { dirname, isAbsolute, join } from "node:path";
import { homedir, hostname, userInfo } from "node:os";
import type { SshConfigLibrary } from "./ssh2_library.ts";

/** What the configuration says of one host. */
export interface HostConfig {
  readonly hostName: string;
  readonly user: string;
  readonly port: number;
  readonly identityFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** The agent's socket, `false` for none, `undefined` where nothing is said. */
  readonly agent: string | false | undefined;
  /** The jump hosts, as `[user@]host[:port]`, the nearest first. */
  readonly jumps: readonly string[];
  readonly hostKeyAlias: string | undefined;
  readonly userKnownHosts: readonly string[];
  readonly globalKnownHosts: readonly string[];
  readonly hashKnownHosts: boolean;
  readonly keepAlive: { interval: number; count: number } | undefined;
}

const MOST_INCLUDES = 16;
const DEFAULT_KEYS = ["id_rsa", "id_ecdsa", "id_ed25519"];

/** The local user's name. */
export function localUser(): string {
  return userInfo().username;
}

/** Reads the configuration of `host`. `username` and `port` are what the user gave beside it. */
export async function hostConfig(
  library: SshConfigLibrary,
  host: string,
  given: {
    username?: string | undefined;
    port?: number | undefined;
    configFile?: string | undefined;
  },
): Promise<HostConfig> {
  const home = homedir();
  const text = await configText(given.configFile, home);
  const values = library.parse(text).compute(
    given.username === undefined ? { Host: host } : { Host: host, User: given.username },
    { ignoreCase: true },
  );
  const list = (name: string): string[] => {
    const value = values[name];
    return value === undefined ? [] : Array.isArray(value) ? value : [value];
  };
  const one = (name: string): string | undefined => list(name)[0];
  const hostName = expand(one("hostname") ?? host, { "%": "%", h: host });
  const user = given.username ?? one("user") ?? localUser();
  const port = given.port ?? Number(one("port") ?? 22);
  const tokens: Record<string, string> = {
    "%": "%",
    d: home,
    h: hostName,
    i: String(Deno.uid() ?? ""),
    L: hostname().split(".")[0]!,
    l: hostname(),
    n: host,
    p: String(port),
    r: user,
    u: localUser(),
  };
  const path = (value: string): string => {
    const full = expand(value, tokens).replace(
      /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g,
      (_, name) => Deno.env.get(name) ?? "",
    );
    return full === "~" || full.startsWith("~/") ? home + full.slice(1) : full;
  };
  const words = (name: string): string[] | undefined => {
    const found = list(name);
    return found.length === 0 ? undefined : found.flatMap((value) => value.split(/[ \t]+/));
  };
  const proxyCommand = list("proxycommand").join(" ");
  const jump = one("proxyjump");
  if (jump === undefined && proxyCommand !== "" && !/^none$/i.test(proxyCommand)) {
    throw new TypeError(
      `Cannot connect to ${host} in this process: its ssh configuration has a ProxyCommand. ` +
        "Use useNative: true, or write it as ProxyJump.",
    );
  }
  const identityAgent = one("identityagent");
  const interval = Number(one("serveraliveinterval") ?? 0);
  const identityFiles = list("identityfile");
  return {
    hostName,
    user,
    port,
    identityFiles: identityFiles.length > 0
      ? identityFiles.filter((file) => !/^none$/i.test(file)).map(path)
      : DEFAULT_KEYS.map((name) => join(home, ".ssh", name)),
    identitiesOnly: /^yes$/i.test(one("identitiesonly") ?? ""),
    agent: identityAgent === undefined
      ? undefined
      : /^none$/i.test(identityAgent)
      ? false
      : identityAgent === "SSH_AUTH_SOCK"
      ? Deno.env.get("SSH_AUTH_SOCK") ?? false
      : path(identityAgent.replace(/^\$([A-Za-z_]\w*)$/, "$${$1}")),
    jumps: jump === undefined || /^none$/i.test(jump)
      ? []
      : jump.split(",").map((entry) => entry.trim().replace(/^ssh:\/\//, "")),
    hostKeyAlias: one("hostkeyalias"),
    userKnownHosts: (words("userknownhostsfile") ?? ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"])
      .filter((file) => !/^none$/i.test(file)).map(path),
    globalKnownHosts:
      (words("globalknownhostsfile") ?? ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"])
        .filter((file) => !/^none$/i.test(file)).map(path),
    hashKnownHosts: /^yes$/i.test(one("hashknownhosts") ?? ""),
    keepAlive: interval > 0
      ? { interval: interval * 1000, count: Number(one("serveralivecountmax") ?? 3) }
      : undefined,
  };
}

function expand(text: string, tokens: Record<string, string>): string {
  return text.replace(
    /%(.)/g,
    (whole, name: string) => Object.hasOwn(tokens, name) ? tokens[name]! : whole,
  );
}

async function configText(configFile: string | undefined, home: string): Promise<string> {
  if (configFile === "none") return "";
  if (configFile !== undefined) {
    return await included(configFile, dirname(configFile), home, 0, true);
  }
  const user = join(home, ".ssh");
  const first = await included(join(user, "config"), user, home, 0, false);
  const system = Deno.build.os === "windows"
    ? join(Deno.env.get("ProgramData") ?? "C:\\ProgramData", "ssh")
    : "/etc/ssh";
  const second = await included(join(system, "ssh_config"), system, home, 0, false);
  // The last block of the one file does not go on in the other.
  return `${first}\nHost *\n${second}`;
}

async function included(
  file: string,
  folder: string,
  home: string,
  depth: number,
  needed: boolean,
): Promise<string> {
  if (depth > MOST_INCLUDES) {
    throw new Error(
      `Cannot read the ssh configuration: more than ${MOST_INCLUDES} nested Includes.`,
    );
  }
  let text: string;
  try {
    text = await Deno.readTextFile(file);
  } catch (error) {
    if (!needed && error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
  const lines: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    const include = /^\s*Include[\s=]+(.*)$/i.exec(line);
    if (!include) {
      lines.push(line);
      continue;
    }
    for (const [, quoted, plain] of include[1]!.matchAll(/"([^"]*)"|(\S+)/g)) {
      let pattern = (quoted ?? plain)!;
      if (pattern.startsWith("~/")) pattern = home + pattern.slice(1);
      if (!isAbsolute(pattern)) pattern = join(folder, pattern);
      for (const path of await glob(pattern)) {
        lines.push(await included(path, folder, home, depth + 1, false));
      }
    }
  }
  return lines.join("\n");
}

// Wildcards in the last part of a path, in the order of the alphabet, as Include has them.
async function glob(pattern: string): Promise<string[]> {
  const folder = dirname(pattern);
  const name = pattern.slice(folder.length).replace(/^[/\\]/, "");
  if (!/[*?]/.test(name)) return [pattern];
  const source = name.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")
    .replaceAll("?", ".");
  const found: string[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) {
      if (!entry.isDirectory && new RegExp(`^${source}$`).test(entry.name)) {
        found.push(join(folder, entry.name));
      }
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found.sort();
}
