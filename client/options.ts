/**
 * Which options an attempt to connect may have: what nobody knows, and what a transport cannot honour, is refused by the
 * compiler, or before a byte is sent.
 *
 * @module
 */

import type { Limits } from "../protocol/limits.ts";
import type { Permissions, Platform, RuntimeName } from "../runtime/runtimes.ts";
import type { DaemonOptions } from "../transport/daemon.ts";
import type { LocalOptions } from "../transport/local.ts";
import type { TransportModule } from "../transport/popen.ts";
import type { SmbOptions } from "../transport/smb.ts";
import type { SshOptions } from "../transport/ssh.ts";
import type { KeepAlive } from "./link.ts";
import type { OutputOption } from "./output.ts";
import type { TraceEvent } from "./trace.ts";

/** Options that every transport has. */
export interface CommonOptions<R extends RuntimeName = RuntimeName> {
  /**
   * The remote interpreter's kind. Default: `"deno"`. Where one runs already (`daemon:`, `smb:`): the kind that is
   * expected, and another is an error; default: whatever answers.
   */
  runtime?: R;
  /** The interpreter's path or argv: `"/opt/deno/bin/deno"`, `["sudo", "python3"]`. Default: found on the PATH. */
  interpreter?: string | readonly string[];
  /**
   * What the interpreter runs on: it is started in another way on Windows. Default: for `local:` this machine's;
   * elsewhere `"unix"`, and if a shell of Windows answers to that, `"windows"` is tried by itself.
   */
  platform?: Platform;
  /**
   * What a remote Deno may do: Deno itself sees to it. Default: everything. An interpreter that runs already has its
   * server's, and this is refused there, as are `interpreter`, `platform`, `cwd` and `env`.
   */
  permissions?: Permissions;
  /** May a remote Deno use its cache folder? Default: for `local:` yes, elsewhere no. */
  cache?: boolean;
  /** The remote working folder. */
  cwd?: string;
  /** Variables added to the remote environment. */
  env?: Record<string, string>;
  /** Where what the remote prints on standard output goes. Default: `"inherit"`. */
  stdout?: OutputOption;
  /** Where what the remote prints on standard error goes. Default: `"inherit"`. */
  stderr?: OutputOption;
  /** Ends the attempt to connect; it has no effect later. */
  signal?: AbortSignal;
  /** How long connecting may take, in milliseconds. `0` means no limit. Default: 30 000. */
  connectTimeout?: number;
  /** How a lost peer is noticed; a number is the interval in milliseconds, `false` or 0 is never. */
  keepAlive?: number | false | KeepAlive;
  /** Are references that were collected here given back? Default: true. */
  gcEnabled?: boolean;
  /** How often they are, in milliseconds. Default: 5000. */
  gcInterval?: number;
  /** Is told what the connection does, stage by stage and frame by frame; values are left out. */
  trace?: (event: TraceEvent) => void;
  /** Limits to what the remote side may make this one hold. */
  limits?: Partial<Limits>;
}

/** Options of `connect()`, where the compiler does not know the transport: it may have more of its own. */
export interface ConnectOptions<R extends RuntimeName = RuntimeName> extends CommonOptions<R> {
  /** The options of the transport. */
  [option: string]: unknown;
}

/** The package's transports, by name, and their options. */
export interface TransportOptions {
  /** {@linkcode LocalOptions} */
  local: LocalOptions;
  /** {@linkcode SshOptions} */
  ssh: SshOptions;
  /** {@linkcode DaemonOptions} */
  daemon: DaemonOptions;
  /** {@linkcode SmbOptions} */
  smb: SmbOptions;
}

/** The options for a target: for one that begins with a transport's name, such as `"ssh:web1"`, no others than it has. */
export type OptionsOf<T extends string, R extends RuntimeName> = T extends
  `${infer Name extends keyof TransportOptions}:${string}`
  ? CommonOptions<R> & Omit<TransportOptions[Name], keyof CommonOptions | "address">
  : ConnectOptions<R>;

/** The options that every transport has, by name. */
const OPTIONS: readonly string[] = [
  "runtime",
  "interpreter",
  "platform",
  "permissions",
  "cache",
  "cwd",
  "env",
  "stdout",
  "stderr",
  "signal",
  "connectTimeout",
  "keepAlive",
  "gcEnabled",
  "gcInterval",
  "limits",
  "trace",
];

/** What only a start can honour, and what to do where an interpreter runs already. */
const OF_A_START: Readonly<Record<string, string>> = {
  permissions: ownOf("permissions"),
  interpreter: ownOf("interpreter"),
  cwd: ownOf("cwd"),
  env: ownOf("env"),
  platform: "It says how a command is started: leave it out",
};

function ownOf(option: string): string {
  return `The server's own decide: run({ ${option}, isolate: "process" })`;
}

/** Refuses the options that would be ignored: a misspelt one, and a fence or a folder that nobody would make. */
export function checkOptions(
  target: string,
  name: string,
  { options: own, reaches }: TransportModule,
  given: Readonly<Record<string, unknown>>,
): void {
  for (const option of Object.keys(given)) {
    if (own !== undefined && !OPTIONS.includes(option) && !own.includes(option)) {
      throw new TypeError(
        `Cannot use option "${option}": connect() and the transport "${name}:" have ` +
          [...OPTIONS, ...own].join(", "),
      );
    }
    if (reaches !== "interpreter" || given[option] === undefined || own?.includes(option)) continue;
    if (Object.hasOwn(OF_A_START, option)) {
      throw new TypeError(
        `Cannot use option "${option}" with "${target}": what answers there runs already. ` +
          OF_A_START[option],
      );
    }
  }
}
