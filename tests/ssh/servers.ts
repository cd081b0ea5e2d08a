/**
 * Real SSH daemons on loopback ports, with keys and accounts of their own, started and ended by
 * the tests.
 *
 * @module
 */

/** Where a program is, or `undefined`. */
export function which(name: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"];
  for (const folder of folders) {
    try {
      if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
    } catch {
      // The next folder.
    }
  }
  return undefined;
}

const skipped = new Set<string>();

/** Which of these a test lacks: programs by name, `"root"`. Says so, once; for `ignore`. */
export function lacking(...needs: string[]): boolean {
  const missing = needs.filter((need) =>
    need === "root" ? Deno.build.os === "windows" || Deno.uid() !== 0 : !which(need)
  );
  for (const need of missing) {
    if (!skipped.has(need)) console.log(`ssh tests that need ${need} are skipped: it is not here`);
    skipped.add(need);
  }
  return missing.length > 0;
}

/** Runs a program to its end; its failure is an error with its words. */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, stdin: "null" })
    .output();
  const text = new TextDecoder();
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${code}\n${text.decode(stderr)}`);
  return text.decode(stdout);
}

/** A free port of the loopback address. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** The user who runs the tests. */
export async function whoami(): Promise<string> {
  return (await run("id", "-un")).trim();
}

/** A daemon that is up. */
export interface Server extends AsyncDisposable {
  readonly port: number;
  /** A folder of the test's own, mode 0700. */
  readonly folder: string;
  /** The private key that every account accepts; `${key}.pub` is beside it. */
  readonly key: string;
  readonly knownHosts: string;
  /** The host's private key; `${hostKey}.pub` is beside it. */
  readonly hostKey: string;
  readonly authorizedKeys: string;
  readonly pid: number;
  /** What it logged so far. */
  log(): string;
}

/** Options that reach a server with the test's own key and nothing of the user's. */
export function reach(server: Server, username?: string) {
  return {
    address: `127.0.0.1:${server.port}`,
    ...(username === undefined ? {} : { username }),
    identityFile: server.key,
    knownHosts: server.knownHosts,
    agent: false as const,
    configFile: "none",
  };
}

async function keysIn(folder: string, hostKeyType: string) {
  const key = `${folder}/id`;
  const hostKey = `${folder}/hostkey`;
  await run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", key);
  await run("ssh-keygen", "-q", "-t", hostKeyType, "-N", "", "-C", "test", "-f", hostKey);
  const authorizedKeys = `${folder}/authorized_keys`;
  await Deno.copyFile(`${key}.pub`, authorizedKeys);
  await Deno.chmod(authorizedKeys, 0o644);
  return { key, hostKey, authorizedKeys };
}

async function knownHostsIn(folder: string, hostKey: string, port: number): Promise<string> {
  const [type, blob] = (await Deno.readTextFile(`${hostKey}.pub`)).split(" ");
  const file = `${folder}/known_hosts`;
  await Deno.writeTextFile(file, `[127.0.0.1]:${port} ${type} ${blob}\n`, { mode: 0o600 });
  return file;
}

// Starts a daemon and waits until it says that it listens.
async function startDaemon(
  folder: string,
  program: string,
  args: string[],
  ready: RegExp,
): Promise<{ pid: number; log(): string; end(): Promise<void> }> {
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const up = Promise.withResolvers<void>();
  let text = "";
  const reader = child.stderr.getReader();
  const pump = (async () => {
    const decoder = new TextDecoder();
    while (true) {
      const { value, done } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
      if (ready.test(text)) up.resolve();
    }
    up.reject(new Error(`${program} did not start:\n${text}`));
  })();
  up.promise.catch(() => {});
  try {
    await up.promise;
  } catch (error) {
    await child.status;
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
  return {
    pid: child.pid,
    log: () => text,
    end: async () => {
      child.kill("SIGTERM");
      await child.status;
      // Not to its end: the daemon's processes for connections hold it open too.
      await reader.cancel();
      await pump;
    },
  };
}

/**
 * Lines for a daemon that hundreds of logins are made to: a login takes a third of the time.
 *
 * The key exchange that OpenSSH prefers takes 50 ms on each side. Bash reads `.bashrc` for the daemon
 * where it finds itself the outermost shell, and what is in it belongs to the machine.
 */
export const QUICK_LOGIN = ["KexAlgorithms curve25519-sha256", "SetEnv SHLVL=1"];

/** Starts OpenSSH's daemon; `lines` are more lines of its configuration. */
export async function startSshd(
  lines: string[] = [],
  { hostKeyType = "ed25519" }: { hostKeyType?: string } = {},
): Promise<Server> {
  const folder = await Deno.makeTempDir({ prefix: "ssh-test-" });
  await Deno.chmod(folder, 0o711);
  const { key, hostKey, authorizedKeys } = await keysIn(folder, hostKeyType);
  if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true });
  const port = freePort();
  const config = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${hostKey}`,
    "PidFile none",
    "StrictModes no",
    "PermitRootLogin yes",
    "LogLevel VERBOSE",
    // The first value counts, so the test's own lines stand before the defaults.
    ...lines,
    `AuthorizedKeysFile ${authorizedKeys}`,
    "UsePAM no",
    ...(lines.some((line) => line.startsWith("Subsystem")) ? [] : ["Subsystem sftp internal-sftp"]),
    "MaxStartups 100",
  ];
  await Deno.writeTextFile(`${folder}/sshd_config`, config.join("\n") + "\n");
  const daemon = await startDaemon(
    folder,
    which("sshd")!,
    ["-D", "-e", "-f", `${folder}/sshd_config`],
    /Server listening on/,
  );
  return server(folder, port, daemon, key, hostKey, authorizedKeys);
}

/** Starts dropbear, which reads the authorized keys of the accounts' own home folders. */
export async function startDropbear(args: string[] = []): Promise<Server> {
  const folder = await Deno.makeTempDir({ prefix: "ssh-test-" });
  await Deno.chmod(folder, 0o711);
  const { key, hostKey, authorizedKeys } = await keysIn(folder, "ed25519");
  const own = `${folder}/dropbear_hostkey`;
  const port = freePort();
  await run("dropbearkey", "-t", "ed25519", "-f", own);
  const line = (await run("dropbearkey", "-y", "-f", own)).split("\n")
    .find((text) => text.startsWith("ssh-ed25519"))!;
  await Deno.writeTextFile(`${hostKey}.pub`, line + "\n");
  const daemon = await startDaemon(
    folder,
    which("dropbear")!,
    ["-F", "-E", "-r", own, "-p", `127.0.0.1:${port}`, "-P", `${folder}/pid`, ...args],
    /Not backgrounding/,
  );
  return server(folder, port, daemon, key, hostKey, authorizedKeys);
}

async function server(
  folder: string,
  port: number,
  daemon: Awaited<ReturnType<typeof startDaemon>>,
  key: string,
  hostKey: string,
  authorizedKeys: string,
): Promise<Server> {
  return {
    port,
    folder,
    key,
    hostKey,
    authorizedKeys,
    knownHosts: await knownHostsIn(folder, hostKey, port),
    pid: daemon.pid,
    log: daemon.log,
    async [Symbol.asyncDispose]() {
      await daemon.end();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

/** An account of the test's own. */
export interface Account extends AsyncDisposable {
  readonly name: string;
  readonly home: string;
  readonly password: string;
}

/** Makes an account with a home folder and a login shell; needs root. */
export async function makeAccount(
  shell: string,
  { authorized, password = "correct horse" }: { authorized?: string; password?: string } = {},
): Promise<Account> {
  const name = `sshtest${crypto.randomUUID().slice(0, 8)}`;
  const home = await Deno.makeTempDir({ prefix: "ssh-home-" });
  const hash = (await run("openssl", "passwd", "-6", password)).trim();
  await run("useradd", "-M", "-d", home, "-s", shell, "-p", hash, name);
  if (authorized) {
    await Deno.mkdir(`${home}/.ssh`, { mode: 0o700 });
    await Deno.copyFile(authorized, `${home}/.ssh/authorized_keys`);
  }
  await run("chown", "-R", name, home);
  await Deno.chmod(home, 0o755);
  return {
    name,
    home,
    password,
    async [Symbol.asyncDispose]() {
      await run("userdel", "-f", name);
      await Deno.remove(home, { recursive: true });
    },
  };
}

/** Both ways of connecting. */
export const WAYS = [
  { way: "native", useNative: true, needs: ["ssh"] },
  { way: "ssh2", useNative: false, needs: [] },
] as const;

/** All of a stream as text. */
export async function textOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  return await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).text();
}

/** The processes whose command line has `text`, as their command lines. */
export function processesWith(text: string): string[] {
  const found: string[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(entry.name)) continue;
    try {
      const line = Deno.readTextFileSync(`/proc/${entry.name}/cmdline`).replaceAll("\0", " ");
      if (line.includes(text)) found.push(line);
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}
