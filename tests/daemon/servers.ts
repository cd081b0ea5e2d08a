/**
 * Daemons on free ports, with state folders and certificates of their own.
 *
 * @module
 */

import { connect, type ConnectOptions } from "../../mod.ts";
import { type LogEvent, run, type RunOptions, type Server } from "../../server/run.ts";

/** A temporary folder, which is also where this user's servers keep their state meanwhile. */
export class Home implements AsyncDisposable {
  readonly folder: string = Deno.makeTempDirSync({ prefix: "pushy_daemon_" });
  readonly #before = Deno.env.get("XDG_STATE_HOME");

  constructor() {
    Deno.env.set("XDG_STATE_HOME", this.folder);
  }

  /** A path in it. */
  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#before === undefined) Deno.env.delete("XDG_STATE_HOME");
    else Deno.env.set("XDG_STATE_HOME", this.#before);
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A server, and what it has logged. */
export interface Daemon extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  readonly log: LogEvent[];
  /** Resolves to the first event like this, past ones included. */
  logged(test: (event: LogEvent) => boolean): Promise<LogEvent>;
}

/** Starts a server on a free port of the loopback, unless the options say otherwise. */
export async function daemon(options: RunOptions = {}): Promise<Daemon> {
  const log: LogEvent[] = [];
  const waiting = new Set<() => void>();
  const tcp = options.unix === undefined && options.pipe === undefined && !options.stdio &&
    options.fd === undefined;
  const server = await run({
    ...(tcp ? { port: 0 } : {}),
    onLog(event) {
      log.push(event);
      for (const wake of waiting) wake();
    },
    ...options,
  });
  return {
    server,
    port: server.addr.transport === "tcp" ? server.addr.port : 0,
    log,
    async logged(test) {
      for (;;) {
        const found = log.find(test);
        if (found) return found;
        await new Promise<void>((resolve) => {
          const wake = () => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    async [Symbol.asyncDispose]() {
      await server.shutdown(0);
    },
  };
}

/** Connects, and forgets what is printed. */
export function reach(where: number | string, options: ConnectOptions = {}) {
  const address = typeof where === "number" ? `127.0.0.1:${where}` : where;
  return connect(`daemon:${address}`, { stdout: "null", stderr: "null", ...options });
}

/** Takes what is printed. */
export class Printed {
  text = "";
  readonly stream: WritableStream<Uint8Array> = new WritableStream({
    write: (bytes) => {
      this.text += new TextDecoder().decode(bytes);
    },
  });
}

/** Sends bytes and gives what comes back until the end, as text. */
export async function say(port: number, bytes: string | Uint8Array<ArrayBuffer>): Promise<string> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  return await readAll(conn);
}

/** What comes until the end. A connection that is reset has ended, too. */
export async function readAll(conn: Deno.Conn): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(4096);
  for (;;) {
    let length: number | null;
    try {
      length = await conn.read(buffer);
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionReset) return text;
      throw error;
    }
    if (length === null) return text;
    text += new TextDecoder().decode(buffer.subarray(0, length));
  }
}

/** A listener that does one thing with each connection. */
export function listener(handle: (conn: Deno.TcpConn) => Promise<void>): {
  port: number;
  [Symbol.asyncDispose](): Promise<void>;
} {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const accepting = (async () => {
    const handling: Promise<void>[] = [];
    for await (const conn of listener) {
      open.add(conn);
      handling.push(handle(conn).catch(() => {}));
    }
    await Promise.all(handling);
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const conn of open) {
        try {
          conn.close();
        } catch {
          // Closed already.
        }
      }
      await accepting;
    },
  };
}

/** Paths of PEM files. */
export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCert: string;
  readonly clientKey: string;
  /** Those of another authority. */
  readonly strangerCa: string;
  readonly strangerCert: string;
  readonly strangerKey: string;
}

async function openssl(folder: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command("openssl", { args, cwd: folder }).output();
  if (code !== 0) throw new Error(new TextDecoder().decode(stderr));
}

/** Makes two authorities, and certificates of theirs for `localhost`, `127.0.0.1` and `named.example`. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const authority = (name: string) =>
    openssl(
      folder,
      "req",
      "-x509",
      ...curve,
      ...["-keyout", `${name}.key`, "-out", `${name}.pem`, "-days", "2", "-subj", `/CN=${name}`],
    );
  const certificate = async (name: string, by: string) => {
    const request = `${name}.csr`;
    await openssl(
      folder,
      "req",
      ...curve,
      ...["-keyout", `${name}.key`, "-out", request, "-subj", `/CN=${name}`],
    );
    await openssl(
      folder,
      ...["x509", "-req", "-in", request, "-CA", `${by}.pem`, "-CAkey", `${by}.key`],
      ...["-CAcreateserial", "-days", "2", "-out", `${name}.pem`, "-extfile", "names"],
    );
    await Deno.chmod(`${folder}/${name}.key`, 0o600);
  };
  await Deno.writeTextFile(
    `${folder}/names`,
    "subjectAltName=DNS:localhost,DNS:named.example,IP:127.0.0.1\n",
  );
  await authority("ca");
  await authority("stranger_ca");
  await certificate("server", "ca");
  await certificate("client", "ca");
  await certificate("stranger", "stranger_ca");
  return {
    ca: `${folder}/ca.pem`,
    cert: `${folder}/server.pem`,
    key: `${folder}/server.key`,
    clientCert: `${folder}/client.pem`,
    clientKey: `${folder}/client.key`,
    strangerCa: `${folder}/stranger_ca.pem`,
    strangerCert: `${folder}/stranger.pem`,
    strangerKey: `${folder}/stranger.key`,
  };
}
