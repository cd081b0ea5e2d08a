/**
 * A real smbd in a folder of its own, on a free port of the loopback, and a Deno listener behind
 * its pipe.
 */

import { acceptSambaPipe, NotAdmittedError, type SambaUser } from "../../server/samba_pipe.ts";

/** The account that every test server has; it is the user that runs the tests. */
export const USER = Deno.env.get("USER") || "root";
export const PASSWORD = "S3cret-ü-pass";

function find(program: string): string | undefined {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/sbin", "/usr/bin"];
  return folders.map((folder) => `${folder}/${program}`).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}

function missing(): string | undefined {
  if (Deno.build.os !== "linux") return "smbd is started on Linux only";
  if (Deno.uid() !== 0) return "smbd wants root to change to the user who logs in";
  const absent = ["smbd", "smbpasswd"].filter((program) => find(program) === undefined);
  return absent.length === 0 ? undefined : `not installed: ${absent.join(", ")}`;
}

/** Why the tests against Samba cannot run here, if they cannot. */
export const SAMBA_MISSING = missing();
if (SAMBA_MISSING !== undefined) console.log(`Samba tests are skipped: ${SAMBA_MISSING}`);

export interface SambaOptions {
  /** Lines of the section [global]. */
  settings?: Record<string, string>;
  /** Default: everybody. */
  admit?: (user: SambaUser) => boolean | Promise<boolean>;
  /** What is behind the pipe. Default: an echo. */
  serve?: (conn: Deno.Conn) => Promise<void>;
  /** Is nothing to listen behind the pipe? */
  silent?: boolean;
}

/** Sends back what comes. */
export async function echo(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(256 * 1024);
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
    for (let at = 0; at < n;) at += await conn.write(buffer.subarray(at, n));
  }
}

async function run(program: string, args: string[], input: string): Promise<void> {
  const child = new Deno.Command(find(program)!, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stderr } = await child.output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** A running smbd. */
export class Samba implements AsyncDisposable {
  readonly port: number;
  /** The Unix socket behind the pipe. */
  readonly socket: string;
  /** Who opened the pipe, in order. */
  readonly users: SambaUser[] = [];
  readonly #folder: string;
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<string>;
  readonly #listener: Deno.Listener | undefined;
  readonly #serving = new Set<Promise<void>>();
  readonly #conns = new Set<Deno.Conn>();

  private constructor(
    folder: string,
    port: number,
    child: Deno.ChildProcess,
    listener: Deno.Listener | undefined,
    options: SambaOptions,
  ) {
    this.#folder = folder;
    this.socket = `${folder}/ncalrpc/np/pushy`;
    this.port = port;
    this.#child = child;
    this.#listener = listener;
    this.#output = new Response(child.stderr).text();
    if (listener !== undefined) this.#track(this.#accept(listener, options));
  }

  static async start(options: SambaOptions = {}): Promise<Samba> {
    const folder = await Deno.makeTempDir({ prefix: "pushy-samba-" });
    const port = freePort();
    for (const name of ["lock", "state", "cache", "private", "pid", "ncalrpc", "log"]) {
      await Deno.mkdir(`${folder}/${name}`, { mode: 0o755 });
    }
    await Deno.mkdir(`${folder}/ncalrpc/np`, { mode: 0o700 });
    const settings: Record<string, string> = {
      "server role": "standalone server",
      "workgroup": "PUSHYTEST",
      "netbios name": "PUSHYSRV",
      "smb ports": `${port}`,
      "interfaces": "127.0.0.1",
      "bind interfaces only": "yes",
      "lock directory": `${folder}/lock`,
      "state directory": `${folder}/state`,
      "cache directory": `${folder}/cache`,
      "private dir": `${folder}/private`,
      "pid directory": `${folder}/pid`,
      "ncalrpc dir": `${folder}/ncalrpc`,
      "passdb backend": `tdbsam:${folder}/private/passdb.tdb`,
      "log file": `${folder}/log/log.%m`,
      "log level": "1",
      "load printers": "no",
      "disable spoolss": "yes",
      "map to guest": "never",
      "usershare max shares": "0",
      "rpc start on demand helpers": "no",
      ...options.settings,
    };
    const conf = `${folder}/smb.conf`;
    const lines = Object.entries(settings).map(([name, value]) => `  ${name} = ${value}`);
    await Deno.writeTextFile(conf, `[global]\n${lines.join("\n")}\n`);
    await run("smbpasswd", ["-c", conf, "-s", "-a", USER], `${PASSWORD}\n${PASSWORD}\n`);
    const listener = options.silent
      ? undefined
      : Deno.listen({ transport: "unix", path: `${folder}/ncalrpc/np/pushy` });
    const child = new Deno.Command(find("smbd")!, {
      args: ["-s", conf, "--foreground", "-l", `${folder}/log`],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const samba = new Samba(folder, port, child, listener, options);
    try {
      await samba.#ready();
    } catch (error) {
      await samba[Symbol.asyncDispose]();
      throw error;
    }
    return samba;
  }

  /** Waits until the port answers, or smbd has ended. */
  async #ready(): Promise<void> {
    let ended = false;
    const status = this.#child.status.then(() => ended = true);
    for (const until = Date.now() + 20_000; Date.now() < until && !ended;) {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port: this.port })).close();
        return;
      } catch {
        await Promise.race([status, new Promise((resolve) => setTimeout(resolve, 20))]);
      }
    }
    throw new Error(`smbd did not start: ${ended ? await this.#output : "no answer"}`);
  }

  async #accept(listener: Deno.Listener, options: SambaOptions): Promise<void> {
    const { admit = () => true, serve = echo } = options;
    for await (const conn of listener) this.#track(this.#serve(conn, admit, serve));
  }

  async #serve(
    conn: Deno.Conn,
    admit: NonNullable<SambaOptions["admit"]>,
    serve: (conn: Deno.Conn) => Promise<void>,
  ): Promise<void> {
    try {
      const { user } = await acceptSambaPipe(conn, { admit, timeout: 3000 });
      this.users.push(user);
    } catch (error) {
      // A test that lets the handshake time out has an eye on the client.
      if (error instanceof NotAdmittedError || /not complete after/.test(`${error}`)) return;
      throw error;
    }
    this.#conns.add(conn);
    try {
      await serve(conn);
    } catch {
      // The client has gone, or the test is over.
    } finally {
      this.#conns.delete(conn);
      try {
        conn.close();
      } catch {
        // It was closed by the test's end.
      }
    }
  }

  #track(work: Promise<void>): void {
    this.#serving.add(work);
    void work.finally(() => this.#serving.delete(work)).catch(() => {});
  }

  /** Kills the smbd processes that serve clients: the connection is lost without a farewell. */
  async dropClients(): Promise<void> {
    for (const pid of await childrenOf(this.#child.pid)) {
      const parent = this.#child.pid;
      if ((await connectionsOf(pid, this.port)) && pid !== parent) Deno.kill(pid, "SIGKILL");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const children = await childrenOf(this.#child.pid);
    this.#listener?.close();
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    for (const pid of children) await gone(pid);
    for (const conn of this.#conns) conn.close();
    const results = await Promise.allSettled(this.#serving);
    await this.#output;
    await Deno.remove(this.#folder, { recursive: true });
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}

/** The children of a process. */
async function childrenOf(pid: number): Promise<number[]> {
  try {
    const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
    return text.trim().split(/\s+/).filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Does the process hold an established connection of `port`? */
async function connectionsOf(pid: number, port: number): Promise<boolean> {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const inodes = new Set<string>();
  for (const line of (await Deno.readTextFile("/proc/net/tcp")).split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === local && fields[3] === "01") inodes.add(`socket:[${fields[9]}]`);
  }
  try {
    for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
      if (inodes.has(await Deno.readLink(`/proc/${pid}/fd/${name}`))) return true;
    }
  } catch {
    // The process has ended, or has closed the descriptor, meanwhile.
  }
  return false;
}

/** Ends a process that its parent has left behind, and waits until it is no more. */
async function gone(pid: number): Promise<void> {
  for (let tries = 0;; tries++) {
    try {
      const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
      if (stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) === "Z") return;
      if (tries === 100) Deno.kill(pid, "SIGKILL");
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
