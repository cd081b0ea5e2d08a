/**
 * The `daemon` transport: an interpreter that runs already, behind a TCP port or a Unix socket.
 *
 * ```ts ignore
 * await connect("daemon:localhost");
 * await connect("daemon:host:10101", { token, tls: { caCerts: ["/etc/pushy/ca.pem"] } });
 * await connect("daemon:/run/pushy.sock");
 * ```
 *
 * The server is `run()` of `@pushy/core/server`, or `deno task server`. On the loopback, the token that the
 * server has made for its user is found without being named. Any other host is reached over TLS, unless
 * `tls` is `false`; there is no way back from TLS to plain TCP that a server or somebody between could choose.
 *
 * Needs `--allow-net` for the host, or all of `--allow-net=unix:PATH`, `--allow-read` and `--allow-write` for a socket's
 * path; to find the token, `--allow-read` for its file and `--allow-env=HOME,XDG_STATE_HOME`.
 *
 * @module
 */

import { isLoopback, parseAddress, type Place, showPlace } from "./daemon/address.ts";
import { ConnChannel, type SocketChannel } from "./daemon/channel.ts";
import { describeFailure, type Stage } from "./daemon/failure.ts";
import { checkHealth, enter, tokenKey } from "./daemon/handshake.ts";
import { readKeyPem, readPem } from "./daemon/private_file.ts";
import { findToken, namedToken } from "./daemon/token.ts";
import { ConnectionError } from "./errors.ts";
import type { BaseTransport, ByteChannel, PopenOptions, TransportStatus } from "./popen.ts";

export { DEFAULT_PORT } from "./daemon/address.ts";

/** A daemon transport reaches an interpreter that is running already. */
export const reaches = "interpreter";

/** How a daemon is reached over TLS. A certificate or key is PEM text, or the path of a file. */
export interface DaemonTls {
  /** Authorities that the server's certificate may come from, beside those that the system trusts. */
  caCerts?: string | readonly string[];
  /** The certificate of this client, where the server asks for one. */
  cert?: string;
  /** The key of that certificate. A file that other users can read is refused. */
  key?: string;
  /** The name that the server's certificate is for. Default: the host that is connected to. */
  serverName?: string;
}

/** The options of the daemon transport. */
export interface DaemonOptions extends PopenOptions {
  /** The port, where the address has none. Default: 10101. */
  port?: number;
  /**
   * The token that both sides prove to know. Default: that of `PUSHY_TOKEN`, or of the file that `PUSHY_TOKEN_FILE`
   * names; on the loopback, that of this user's own server.
   */
  token?: string;
  /** A file that has the token. One that other users can read is refused. */
  tokenFile?: string;
  /** TLS, or `false` for none. Default: none on the loopback and on Unix sockets, else TLS. */
  tls?: DaemonTls | boolean;
}

/** The names of the options that this transport adds. */
export const options: readonly string[] = [
  "port",
  "token",
  "tokenFile",
  "tls",
] satisfies readonly (keyof DaemonOptions)[];

/** How long a server may take to answer in the handshake, in ms, if the whole start may take longer. */
const ANSWER_TIMEOUT = 10_000;

/**
 * Connects to a daemon, and proves to it who is there. `command` is ignored: the interpreter runs already.
 *
 * Resolves to the transport once both sides know each other; its `stderr` is at its end. Rejects with a `TypeError` for
 * an address or options that mean nothing, before anything is sent; with an `AuthenticationError` if the token or the
 * certificate is not the right one; with a `HostKeyError` if the server's certificate is not to be trusted; with a
 * `ConnectionError` if nothing listens there, or what listens is not a Pushy server; with the signal's reason if
 * `options.signal` is aborted.
 *
 * @example
 * ```ts ignore
 * import { Popen } from "@pushy/core/transport/daemon";
 *
 * await using transport = await Popen([], { address: "localhost", token: "…" });
 * ```
 */
export async function Popen(
  _command: readonly string[],
  options: DaemonOptions,
): Promise<BaseTransport> {
  const place = parseAddress(options.address, options.port);
  const attempt = new Attempt(place, options);
  return await attempt.run(async (channel, reached) => {
    const rest = await attempt.enter(channel, reached);
    channel.unread(rest);
    return new DaemonTransport(options.address, channel);
  });
}

/**
 * Asks a daemon for a sign of life: needs no token, and learns nothing else.
 *
 * Resolves if the daemon answers. Rejects as {@linkcode Popen} does.
 */
export async function probe(options: DaemonOptions): Promise<void> {
  const attempt = new Attempt(parseAddress(options.address, options.port), options);
  await attempt.run(async (channel) => {
    await checkHealth(channel);
    channel.close();
  });
}

/** What was reached. */
interface Reached {
  /** The address of the other end, if it is a port of the loopback. */
  readonly loopback: { hostname: string; port: number } | undefined;
  readonly secure: boolean;
}

/** One attempt to get in. */
class Attempt {
  readonly #place: Place;
  readonly #options: DaemonOptions;
  readonly #tls: DaemonTls | undefined;
  readonly #over = new AbortController();
  #stage: Stage = "connect";

  constructor(place: Place, options: DaemonOptions) {
    this.#place = place;
    this.#options = options;
    this.#tls = checkTls(place, options.tls);
  }

  /** Connects, and does `work` within the time; whatever was opened is closed if that fails. */
  async run<T>(work: (channel: SocketChannel, reached: Reached) => Promise<T>): Promise<T> {
    const { signal, connectTimeout = 30_000 } = this.#options;
    signal?.throwIfAborted();
    const abort = () => this.#over.abort(signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const timer = connectTimeout > 0
      ? setTimeout(() => this.#over.abort(this.#late(connectTimeout)), connectTimeout)
      : undefined;
    let answerTimer: ReturnType<typeof setTimeout> | undefined;
    let channel: SocketChannel | undefined;
    const opened: Promise<unknown>[] = [];
    const close = () => channel?.close();
    this.#over.signal.addEventListener("abort", close, { once: true });
    try {
      // What opens after all once nobody waits for it any more is closed.
      const opening = this.#open().then((open) => {
        channel = open.channel;
        if (this.#over.signal.aborted) close();
        return open.reached;
      });
      opened.push(opening);
      const reached = await this.#before(opening);
      this.#stage = "handshake";
      const limit = connectTimeout > 0
        ? Math.min(ANSWER_TIMEOUT, connectTimeout * 0.8)
        : ANSWER_TIMEOUT;
      answerTimer = setTimeout(() => this.#over.abort(this.#late(limit)), limit);
      return await this.#before(work(channel!, reached));
    } catch (error) {
      close();
      if (this.#over.signal.aborted) throw this.#over.signal.reason;
      throw describeFailure(error, this.#stage, this.#place, this.#tls);
    } finally {
      clearTimeout(timer);
      clearTimeout(answerTimer);
      signal?.removeEventListener("abort", abort);
      this.#over.signal.removeEventListener("abort", close);
      for (const promise of opened) promise.catch(() => {});
    }
  }

  #late(ms: number): ConnectionError {
    const where = showPlace(this.#place);
    const [summary, hint] = this.#stage === "connect"
      ? [`no answer within ${ms} ms`, "is the host up, and does a firewall let the port through?"]
      : this.#stage === "tls"
      ? [`TLS was not agreed on within ${ms} ms`, "does the server speak TLS there?"]
      : [
        `it accepted the connection and said nothing for ${ms} ms`,
        "is a Pushy server there, and does it expect TLS? See the options tls and port. Or its interpreter " +
        "is busy with a call that does not give way",
      ];
    return new ConnectionError(`Cannot connect to daemon:${where}: ${summary}`, {
      stage: this.#stage,
      code: "ETIMEDOUT",
      hint,
    });
  }

  async #before<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#over;
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await Promise.race([promise, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
      promise.catch(() => {});
    }
  }

  async #open(): Promise<{ channel: SocketChannel; reached: Reached }> {
    const place = this.#place;
    if (place.kind === "unix") {
      const conn = await Deno.connect({ transport: "unix", path: place.path });
      return { channel: new ConnChannel(conn), reached: { loopback: undefined, secure: false } };
    }
    const tls = this.#tls;
    if (!tls) {
      const conn = await this.#dial(place.host, place.port);
      const { hostname, port } = conn.remoteAddr as Deno.NetAddr;
      const loopback = isLoopback(hostname) ? { hostname, port } : undefined;
      return { channel: new ConnChannel(conn), reached: { loopback, secure: false } };
    }
    const caCerts = await Promise.all([tls.caCerts ?? []].flat().map(readPem));
    const cert = tls.cert === undefined ? undefined : await readPem(tls.cert);
    const key = tls.key === undefined ? undefined : await readKeyPem(tls.key);
    const { host, port } = place;
    const name = tls.serverName ?? host;
    const loopback = isLoopback(host) ? { hostname: host, port } : undefined;
    const reached = { loopback, secure: true };
    if (cert !== undefined && key !== undefined) {
      // Deno presents a certificate only where it connects by the name that it is to find there.
      this.#stage = "tls";
      const { connectWithCertificate } = await import("./daemon/client_certificate.ts");
      const certificates = { caCerts, cert, key };
      const { signal } = this.#over;
      const channel = await connectWithCertificate({ host, port, name }, certificates, signal);
      return { channel, reached };
    }
    const conn = await this.#dial(host, port);
    this.#stage = "tls";
    const secure = await Deno.startTls(conn, { hostname: name, caCerts });
    const close = () => secure.close();
    this.#over.signal.addEventListener("abort", close, { once: true });
    try {
      await secure.handshake();
    } catch (error) {
      if (!this.#over.signal.aborted) secure.close();
      throw error;
    } finally {
      this.#over.signal.removeEventListener("abort", close);
    }
    return { channel: new ConnChannel(secure), reached };
  }

  async #dial(host: string, port: number): Promise<Deno.TcpConn> {
    const { signal } = this.#over;
    // IPv4 first, in a fixed order: servers listen on 127.0.0.1 by default.
    const hosts = host.toLowerCase() === "localhost" ? ["127.0.0.1", "::1"] : [host];
    let refused: unknown;
    for (const hostname of hosts) {
      try {
        const conn = await Deno.connect({ hostname, port, signal });
        conn.setNoDelay(true);
        conn.setKeepAlive(true);
        return conn;
      } catch (error) {
        refused ??= error;
        if (!(error instanceof Deno.errors.ConnectionRefused)) break;
      }
    }
    throw refused;
  }

  /** The handshake. Gives what came behind it. */
  async enter(channel: ByteChannel, { loopback, secure }: Reached): Promise<Uint8Array> {
    const { token, tokenFile } = this.#options;
    const insists = token !== undefined || tokenFile !== undefined;
    const named = await namedToken(this.#options);
    const find = memoize(async () => loopback ? await findToken(loopback.port) : undefined);
    return await enter(
      channel,
      async () => {
        if (named !== undefined) return { key: await tokenKey(named), place: "" };
        const token = await find();
        if (token === undefined) return undefined;
        // Nobody on another address of this machine may stand between.
        const place = secure ? "" : `${loopback!.hostname}:${loopback!.port}`;
        return { key: await tokenKey(token), place };
      },
      async () => {
        if (insists) return true;
        if (this.#place.kind === "unix") await checkOwner(this.#place.path);
        if (this.#place.kind === "unix" || secure) return false;
        return named !== undefined || await find() !== undefined;
      },
    );
  }
}

function memoize<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => result ??= work();
}

/** A socket that this user could be lured to, in a folder that others can write to, is not the user's server. */
async function checkOwner(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  const { uid } = await Deno.stat(path);
  if (uid === null || uid === 0 || uid === Deno.uid()) return;
  const { AuthenticationError } = await import("./errors.ts");
  throw new AuthenticationError(
    `Cannot trust the server at daemon:${path}: the socket belongs to another user (uid ${uid})`,
    { stage: "authenticate", hint: "give both sides a token: then the server proves who it is" },
  );
}

function checkTls(place: Place, tls: DaemonOptions["tls"]): DaemonTls | undefined {
  if (place.kind === "unix") {
    if (tls) throw new TypeError("Cannot use TLS on a Unix socket: nobody is between");
    return undefined;
  }
  if (tls === undefined) return isLoopback(place.host) ? undefined : {};
  if (tls === false) return undefined;
  if (tls === true) return {};
  if (typeof tls !== "object" || tls === null) {
    throw new TypeError(`Cannot use tls ${String(tls)}: expected true, false or its options`);
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    throw new TypeError(
      "Cannot use a certificate without its key, or a key without its certificate",
    );
  }
  return tls;
}

/** A connection to a daemon, as the streams of a process. */
class DaemonTransport implements BaseTransport {
  readonly address: string;
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly channel: ByteChannel;
  readonly #socket: SocketChannel;
  #settle!: (status: TransportStatus) => void;
  #closed = false;

  constructor(address: string, socket: SocketChannel) {
    this.address = address;
    this.#socket = socket;
    this.status = new Promise((resolve) => this.#settle = resolve);
    this.channel = {
      read: (buffer) => this.#read(buffer),
      write: (chunk) => socket.write(chunk),
    };
    this.stdin = new WritableStream({
      write: (chunk) => socket.write(chunk),
      close: () => socket.finish(),
      abort: () => this.#end(),
    });
    this.stdout = new ReadableStream({
      type: "bytes",
      autoAllocateChunkSize: 64 << 10,
      pull: async (controller) => {
        const request = controller.byobRequest!;
        const view = request.view as Uint8Array;
        const length = await this.#read(view);
        if (length === null) controller.close();
        request.respond(length ?? 0);
      },
      cancel: () => this.#end(),
    }, { highWaterMark: 0 });
    this.stderr = new ReadableStream({ start: (controller) => controller.close() });
  }

  #read(buffer: Uint8Array): Promise<number | null> {
    return this.#socket.read(buffer).then(this.#onRead, this.#onReadFailed);
  }

  readonly #onRead = (length: number | null): number | null => {
    if (length === null) this.#end();
    return length;
  };

  readonly #onReadFailed = (error: unknown): null => {
    // To close it ends a read that waits.
    if (this.#closed) return null;
    this.#end(error instanceof Error ? error : new Error(String(error)));
    throw error;
  };

  #end(reason?: Error): void {
    this.#closed = true;
    this.#socket.close();
    this.#settle({ code: null, signal: null, ...(reason ? { reason } : {}) });
  }

  close(): Promise<TransportStatus> {
    this.#end();
    return this.status;
  }

  ref(): void {
    this.#socket.hold(true);
  }

  unref(): void {
    this.#socket.hold(false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
