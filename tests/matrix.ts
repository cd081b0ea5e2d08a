/**
 * The transport × runtime matrix: every way to connect, what it needs, and what it lacks.
 *
 * A new transport or runtime is a row here; the capability suite and the others that ask for rows then
 * run over it.
 *
 * ```ts ignore
 * capability("adds", async ({ con }) => assertEquals(await con.eval("1 + 2"), 3));
 * ```
 *
 * @module
 */

import {
  type BaseTransport,
  connect,
  type Connection,
  type ConnectOptions,
  type PopenOptions,
  type RuntimeName,
} from "../mod.ts";
import { Popen as openLocal } from "../transport/local.ts";
import { Popen as openSsh, type SshOptions } from "../transport/ssh.ts";
import { SAMBA_MISSING } from "./smb/samba.ts";
import { type Addresses, type AllAddresses, startDaemons } from "./support/daemons.ts";
import { type LeakGuard, leakGuard } from "./support/leaks.ts";
import { findProgram, type ProgramName } from "./support/programs.ts";
import { type Requirement, requires, requiresAll, requiresThat } from "./support/requirement.ts";

/** What a row may lack. */
export type Feature =
  /** Code in JavaScript. */
  | "javascript"
  /** Code in Python. */
  | "python"
  /** The remote side is a process of its own, whose life this side's connection decides. */
  | "own process"
  /** The remote side sees this side's files. */
  | "same files"
  /** What a child of the remote side writes to the descriptors that it inherits arrives here. */
  | "inherited descriptors";

/** One way to connect. */
export interface Row {
  /** `"local × deno"`: it begins the name of each of the row's tests. */
  readonly name: string;
  /** The transport's name. */
  readonly transport: string;
  /** The runtime's name. */
  readonly runtime: RuntimeName;
  /** Whether it can run on this machine, and why not. */
  readonly requirement: Requirement;
  /** What it lacks, with the reason. */
  readonly lacks?: Partial<Record<Feature, string>>;
  /** Connects; the remote side has the guard's environment. `servers`: other ones than {@linkcode SERVERS}. */
  connect(
    guard: LeakGuard,
    options?: ConnectOptions,
    servers?: Addresses,
  ): Promise<TestConnection>;
}

/** What remote code makes has no types in these tests: they are written for what happens at run time. */
// deno-lint-ignore no-explicit-any
export type Anything = any;

type Untyped = "eval" | "scope" | "compile" | "import" | "builtins";

/** The connection of a test, with the modules of the JavaScript runtimes. */
export type TestConnection =
  & Omit<Connection<"deno" | "node" | "bun">, Untyped>
  & Record<Untyped, Anything>
  & AsyncDisposable;

function local(
  runtime: RuntimeName,
  name: string,
  programs: ProgramName[],
): Row {
  const path = programs.map(findProgram)[0];
  return {
    name: `local × ${name}`,
    transport: "local",
    runtime,
    requirement: requires(...programs),
    lacks: runtime === "python"
      ? { javascript: "it runs Python" }
      : { python: "it runs JavaScript" },
    connect: (guard, options = {}) =>
      connect("local:", {
        runtime,
        interpreter: path,
        stderr: "null",
        ...options,
        env: { ...guard.env, ...options.env },
      }),
  };
}

/** The servers of the rows. Started before any test, so that no test is said to have left them behind. */
export const SERVERS: AllAddresses = await startDaemons();

function daemon(
  name: string,
  lacks: Row["lacks"],
  programs: ProgramName[],
  where: (addresses: Addresses) => [target: string, options?: ConnectOptions],
): Row {
  return {
    name: `${name} × deno`,
    transport: "daemon",
    runtime: "deno",
    requirement: requires(...programs),
    lacks: {
      python: "it runs JavaScript",
      "inherited descriptors": "they are the server's own",
      ...lacks,
    },
    connect(_guard, options = {}, servers = SERVERS) {
      const [target, more] = where(servers);
      return connect(target, { stderr: "null", ...more, ...options });
    },
  };
}

type Login = Pick<SshOptions, "useNative" | "controlMaster">;

const SSH_RUNTIMES = {
  deno: Deno.execPath(),
  node: findProgram("node"),
  python: findProgram("python3"),
};

/** Options that reach an SSH daemon of the tests. */
function sshOptions(login: Login, server: NonNullable<AllAddresses["ssh"]>) {
  const { key: identityFile, knownHosts } = server;
  return { identityFile, knownHosts, agent: false as const, configFile: "none", ...login };
}

// A login of the native client takes a third of a second. The row of Deno makes one for each test; the
// other native rows share this one, as the user's programs do with the same option.
const SHARED_LOGIN = { useNative: true, controlMaster: true };
const nativeClient = requires("ssh", "sshd", "ssh-keygen");
if (SERVERS.ssh && !nativeClient.ignore) {
  const address = `127.0.0.1:${SERVERS.ssh.port}`;
  const held = await openSsh(["cat"], { address, ...sshOptions(SHARED_LOGIN, SERVERS.ssh) });
  held.unref?.();
  Deno.test.afterAll(async () => {
    held.ref?.();
    await held.close();
  });
}

function ssh(way: "ssh" | "ssh2", runtime: keyof typeof SSH_RUNTIMES, login: Login): Row {
  return {
    name: `${way} × ${runtime}`,
    transport: "ssh",
    runtime,
    requirement: requiresAll(
      way === "ssh" ? nativeClient : requires("sshd", "ssh-keygen"),
      requires(
        ...runtime === "node"
          ? ["node"] as const
          : runtime === "python"
          ? ["python3"] as const
          : [],
      ),
    ),
    lacks: {
      ...runtime === "python" ? { javascript: "it runs Python" } : { python: "it runs JavaScript" },
      "same files": "a copy goes over SFTP, whose own tests are beside its transport",
    },
    connect: (guard, options = {}, { ssh } = SERVERS) =>
      connect(`ssh:127.0.0.1:${ssh!.port}`, {
        runtime,
        interpreter: SSH_RUNTIMES[runtime],
        stderr: "null",
        ...sshOptions(login, ssh!),
        ...options,
        env: { ...guard.env, ...options.env },
      }),
  };
}

const SHARED = { "own process": "all clients share the server's" };

/** Every row. */
export const ROWS: readonly Row[] = [
  local("deno", "deno", []),
  local("node", "node 18", ["node18"]),
  local("node", "node", ["node"]),
  local("node", "node 22", ["node22"]),
  local("node", "node 24", ["node24"]),
  local("bun", "bun", ["bun"]),
  local("python", "python", ["python3"]),
  daemon("daemon tcp", SHARED, [], ({ tcp, token }) => [`daemon:127.0.0.1:${tcp}`, { token }]),
  daemon("daemon tls", SHARED, ["openssl"], ({ tls, token }) => [
    `daemon:localhost:${tls!.port}`,
    { token, tls: { caCerts: tls!.ca } },
  ]),
  daemon(
    "daemon unix",
    { "own process": "the server's connection decides its life" },
    [],
    ({ unix }) => [`daemon:${unix}`],
  ),
  ssh("ssh", "deno", { useNative: true }),
  ssh("ssh", "node", SHARED_LOGIN),
  ssh("ssh", "python", SHARED_LOGIN),
  ssh("ssh2", "deno", { useNative: false }),
  ssh("ssh2", "node", { useNative: false }),
  ssh("ssh2", "python", { useNative: false }),
  {
    ...daemon("smb", SHARED, [], ({ smb }) => ["smb:127.0.0.1", { ...smb }]),
    transport: "smb",
    requirement: requiresAll(
      requires("smbd"),
      requiresThat(SAMBA_MISSING === undefined, SAMBA_MISSING ?? "", "run the tests as root"),
    ),
  },
];

/** One transport, for the contract that all of them keep. */
export interface TransportRow {
  /** The transport's name: it begins the name of each of the row's tests. */
  readonly name: string;
  /** Whether it can run on this machine, and why not. */
  readonly requirement: Requirement;
  /** What it cannot do, with the reason. */
  readonly lacks?: Partial<Record<TransportFeature, string>>;
  /** Starts a command by the transport; it has the guard's environment. */
  open(
    command: readonly string[],
    guard: LeakGuard,
    options?: Partial<PopenOptions> & Record<string, unknown>,
  ): Promise<BaseTransport>;
}

/** What a transport may lack. */
export type TransportFeature =
  /** It starts a command of the user's choice. */
  | "commands"
  /** Standard error apart from standard output. */
  | "stderr"
  /** The end of standard input, while output goes on. */
  | "half close"
  /** The exit code and the signal of the process. */
  | "exit status"
  /** A working folder. */
  | "cwd"
  /** Its own file transfer. */
  | "files"
  /** Ending the process ends what it started. */
  | "process group";

/** Every transport. */
export const TRANSPORTS: readonly TransportRow[] = [
  {
    name: "local",
    requirement: { ignore: false },
    open: (command, guard, options = {}) =>
      openLocal(command, { address: "", ...options, env: { ...guard.env, ...options.env } }),
  },
];

/** What a test of the capability suite gets. */
export interface Peer {
  readonly row: Row;
  readonly con: TestConnection;
  readonly guard: LeakGuard;
  /** The source in the row's own language. */
  code(source: Source): string;
  /** Makes a remote function of source in the row's own language. */
  make(source: Source): Anything;
}

/** The same code in each language. */
export interface Source {
  readonly js?: string;
  readonly py?: string;
}

/** How a test of the capability suite is run. */
export interface CapabilityOptions {
  /** What the row must have. Default: code in JavaScript. */
  readonly needs?: readonly Feature[];
  /** Options of the connection. */
  readonly connect?: ConnectOptions;
  /** Only the rows that this leaves. */
  readonly rows?: (row: Row) => boolean;
}

/** A test over every row of the matrix, each with a connection of its own, which leaves nothing behind. */
export function capability(
  name: string,
  test: (peer: Peer) => Promise<void>,
  options: CapabilityOptions = {},
): void {
  const { needs = ["javascript"] } = options;
  for (const row of ROWS) {
    if (needs.some((feature) => row.lacks?.[feature] !== undefined)) continue;
    if (options.rows && !options.rows(row)) continue;
    Deno.test({
      name: `${row.name}: ${name}`,
      ignore: row.requirement.ignore,
      async fn() {
        // What watches over an agent on a host sees within two seconds that it ended abruptly.
        await using guard = leakGuard({ grace: row.transport === "ssh" ? 5000 : 1000 });
        await using con = await row.connect(guard, options.connect);
        await test(peerOf(row, con, guard));
      },
    });
  }
}

/** What a test of the capability suite gets, for a connection of the row. */
export function peerOf(row: Row, con: TestConnection, guard: LeakGuard): Peer {
  const code = ({ js, py }: Source) => {
    const source = row.runtime === "python" ? py : js;
    if (source === undefined) throw new Error(`This test has no source for ${row.runtime}`);
    return source;
  };
  return { row, con, guard, code, make: (source) => con.compile(code(source)) };
}
