/**
 * A server: a live interpreter that clients connect to, closed to everyone else.
 *
 * ```ts ignore
 * import { run } from "@pushy/core/server";
 *
 * await using server = await run();          // for this user, on this machine: connect("daemon:localhost")
 * await server.finished;
 * ```
 *
 * @module
 */

import type { Limits } from "../protocol/limits.ts";
import type { Permissions, RuntimeName } from "../runtime/runtimes.ts";
import { DEFAULT_PORT, isLoopback } from "../transport/daemon/address.ts";
import { tokenKey } from "../transport/daemon/handshake.ts";
import { readKeyPem, readPem } from "../transport/daemon/private_file.ts";
import { makeToken, namedToken, tokenFileOf } from "../transport/daemon/token.ts";
import { Admission, type Arrival } from "./admission.ts";
import { isolateInterpreters } from "./isolated.ts";
import {
  type Door,
  listenNode,
  listenTcp,
  listenUnix,
  type ServerAddress,
  type ServerCertificates,
} from "./listen.ts";
import { DEFAULT_GRACE } from "./last_resort.ts";
import { type Log, type LogEvent, stderrLog } from "./log.ts";
import { type Interpreter, type Served, shareInterpreter } from "./shared.ts";
import { standardStreams } from "./stdio.ts";

export { DEFAULT_PORT };
export type { LogEvent, ServerAddress };

/** TLS of a server. Each is PEM text, or the path of a file. */
export interface ServerTls {
  /** The server's certificate, with those between it and the authority behind it. */
  cert: string;
  /** Its key. A file that other users can read is refused. */
  key: string;
  /** The authority whose certificates clients must have. Default: clients need none, but a token. */
  clientCa?: string;
}

/** Somebody who is connected. */
export interface Peer {
  /** A number of its own. */
  readonly id: number;
  /** Where it comes from: `"192.0.2.1:40000"`, `"unix"`, `"OFFICE\\me"`. */
  readonly peer: string;
}

/** What {@linkcode run} takes. */
export interface RunOptions {
  /** The address to listen on. Default: `"127.0.0.1"`. Any but the loopback needs `tls`, and a token or `clientCa`. */
  hostname?: string;
  /** The port. Default: 10101; `0` is any that is free. */
  port?: number;
  /** The path of a Unix socket to listen on instead. Its mode is 0600. */
  unix?: string;
  /** The name of a named pipe to listen on instead: on Windows, or behind Samba. */
  pipe?: string;
  /** Serves this program's standard input and output instead, to whoever has started it. */
  stdio?: boolean;
  /** An open socket to listen on instead, as systemd passes them: the number of its descriptor. */
  fd?: number;
  /** TLS. Default: none, which only the loopback may have. */
  tls?: ServerTls;
  /**
   * The token that both sides prove to know. Default: that of `PUSHY_TOKEN` or of the file that `PUSHY_TOKEN_FILE` names; on
   * the loopback, one that is made at the first start, in a file that only this user can read.
   */
  token?: string;
  /** A file that has the token. One that other users can read is refused. */
  tokenFile?: string;
  /** Lets everybody in who reaches the address, or lets the bytes go in the clear. It is logged. Default: false. */
  allowInsecure?: boolean;
  /** Who may come in through a pipe of Samba's. Default: the user that runs the server. */
  allowUsers?: readonly string[];
  /** The folder of Samba's that the pipe's socket is made in. Default: `/run/samba/ncalrpc/np`. */
  sambaFolder?: string;
  /** `"process"`: each connection gets an interpreter of its own. Default: all share this program's. */
  isolate?: "process" | false;
  /** What the interpreters of `isolate: "process"` may do. Default: everything. */
  permissions?: Permissions;
  /** What the interpreters of `isolate: "process"` are. Default: `"deno"`. */
  runtime?: RuntimeName;
  /** Their program's path or argv. Default: this program's own Deno, or the runtime's name on the PATH. */
  interpreter?: string | readonly string[];
  /** Their working folder. */
  cwd?: string;
  /** Variables added to their environment. */
  env?: Record<string, string>;
  /**
   * How many may be connected at once; others are told. Default: 4000, or 64 with `isolate: "process"`. A pipe of
   * Windows takes 200 at most.
   */
  maxConnections?: number;
  /** How long a client may take to say who it is, in ms. Default: 10 000. */
  handshakeTimeout?: number;
  /** A client that makes no call for so long is sent away, in ms. Default: 0, never. */
  idleTimeout?: number;
  /** Limits to what a client may make the server hold, where clients share an interpreter. */
  limits?: Partial<Limits>;
  /** Called once the server listens. Default: a line in the log. */
  onListen?: (address: ServerAddress) => void;
  /** Called when somebody was let in. */
  onConnect?: (peer: Peer) => void;
  /** Called when somebody has gone, with the reason. */
  onClose?: (peer: Peer, reason: Error) => void;
  /** Takes the log. Default: one JSON object a line, on standard error. */
  onLog?: (event: LogEvent) => void;
  /** No log. Default: false. */
  quiet?: boolean;
  /** Shuts the server down when it is aborted. */
  signal?: AbortSignal;
}

/** A running server. */
export interface Server extends AsyncDisposable {
  /** Where it is reached. */
  readonly addr: ServerAddress;
  /** How many are connected. */
  readonly connections: number;
  /** Resolves when it has ended. */
  readonly finished: Promise<void>;
  /**
   * Ends it: nobody new comes in; calls that run may finish within `grace` ms (default 5000); then the rest is ended, and
   * clients are told why. Resolves when nothing is left. May be called more than once; the shortest grace counts.
   */
  shutdown(grace?: number): Promise<void>;
}

const HANDSHAKE_TIMEOUT = 10_000;
/** How often what is idle is looked at, in ms, at the least. */
const TICK = 5000;

/**
 * Serves a live interpreter: to clients of `connect("daemon:…")`, or of `connect("smb:…")` with `pipe`.
 *
 * By default it listens on port 10101 of the loopback, for the user that runs it and nobody else. Clients share
 * this program's interpreter: what one of them changes in a module, the others see. What a call prints goes to
 * the client that made it.
 *
 * Resolves once it listens. Rejects with a `TypeError` if the options do not go together or would let anybody in, and
 * with the system's error if the address cannot be had.
 *
 * @example
 * ```ts ignore
 * import { run } from "@pushy/core/server";
 *
 * await using server = await run({ port: 0, isolate: "process", permissions: { read: true } });
 * console.log(server.addr);
 * ```
 */
export async function run(options: RunOptions | "stdio" = {}): Promise<Server> {
  const checked = check(options === "stdio" ? { stdio: true } : options);
  checked.signal?.throwIfAborted();
  const server = new RunningServer(checked);
  await server.start();
  return server;
}

function check(options: RunOptions): RunOptions {
  const kinds = ["unix", "pipe", "stdio", "fd"] as const;
  const places = kinds.filter((kind) => options[kind] !== undefined && options[kind] !== false);
  const { hostname, port } = options;
  if (places.length > 1) throw new TypeError(`Cannot serve ${places.join(" and ")} at once`);
  if (places.length > 0 && (hostname !== undefined || port !== undefined)) {
    throw new TypeError(`Cannot serve ${places[0]} and a TCP port at once`);
  }
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65535)) {
    throw new TypeError(`Cannot listen on port ${port}: it is a number from 0 to 65535`);
  }
  for (const kind of ["unix", "pipe", "stdio"] as const) {
    if (options.tls && places[0] === kind) throw new TypeError(`Cannot use TLS with ${kind}`);
  }
  const secret = options.token ?? options.tokenFile;
  if (secret !== undefined && (places[0] === "pipe" || places[0] === "stdio")) {
    throw new TypeError(`Cannot use a token with ${places[0]}: who comes in is known already`);
  }
  if (options.allowUsers && (places[0] !== "pipe" || Deno.build.os === "windows")) {
    throw new TypeError("Cannot use allowUsers: only a pipe of Samba's tells who the user is");
  }
  const { isolate } = options;
  if (isolate !== undefined && isolate !== false && isolate !== "process") {
    throw new TypeError(`Cannot isolate by "${isolate}": expected "process"`);
  }
  if (!isolate) {
    for (const name of ["permissions", "runtime", "interpreter", "cwd", "env"] as const) {
      if (options[name] !== undefined) {
        throw new TypeError(
          `Cannot use ${name} where all share one interpreter: it needs isolate: "process"`,
        );
      }
    }
  }
  for (const name of ["maxConnections", "handshakeTimeout"] as const) {
    const value = options[name];
    if (value !== undefined && !(value > 0)) {
      throw new TypeError(`Cannot use ${name} ${value}: expected a positive number`);
    }
  }
  if (options.idleTimeout !== undefined && !(options.idleTimeout >= 0)) {
    throw new TypeError(`Cannot use idleTimeout ${options.idleTimeout}: expected milliseconds`);
  }
  return options;
}

class RunningServer implements Server {
  readonly finished: Promise<void>;
  readonly #options: RunOptions;
  readonly #log: Log;
  readonly #standard: ReturnType<typeof standardStreams> | undefined;
  readonly #served = new Map<number, Served>();
  #address!: ServerAddress;
  #interpreter!: Interpreter;
  #admission: Admission | undefined;
  #door: Door | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #arriving = new Set<Promise<void>>();
  /** Places of those who are almost in. */
  #reserved = 0;
  #lastId = 0;
  #stopping: Promise<void> | undefined;
  #deadline = Infinity;
  #hurry: (() => void) | undefined;
  #cleanUp: (() => Promise<void>) | undefined;
  #settle!: () => void;
  readonly #onAbort = () => void this.shutdown();

  constructor(options: RunOptions) {
    this.#options = options;
    this.#log = options.quiet ? () => {} : options.onLog ?? stderrLog();
    // Before the methods that it uses are replaced, to catch what programs print.
    this.#standard = options.stdio ? standardStreams() : undefined;
    this.finished = new Promise((resolve) => this.#settle = resolve);
  }

  get addr(): ServerAddress {
    return this.#address;
  }

  get connections(): number {
    return this.#served.size;
  }

  async start(): Promise<void> {
    const { signal } = this.#options;
    const { idleTimeout = 0 } = this.#options;
    this.#interpreter = this.#startInterpreter();
    try {
      await this.#listen();
    } catch (error) {
      this.#admission?.close();
      await this.#door?.close();
      this.#interpreter.close();
      throw error;
    }
    const interval = idleTimeout > 0 ? Math.min(TICK, Math.max(idleTimeout / 4, 10)) : TICK;
    this.#ticking = setInterval(() => {
      const now = performance.now();
      for (const served of this.#served.values()) served.tick(now);
    }, interval);
    Deno.unrefTimer(this.#ticking as unknown as number);
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#log({ event: "listening", ...this.#address, pid: Deno.pid });
    this.#options.onListen?.(this.#address);
  }

  #startInterpreter(): Interpreter {
    const options = this.#options;
    const { idleTimeout = 0, isolate, interpreter } = options;
    const log = this.#log;
    if (!isolate) {
      const own = options.stdio ? 2 : 1;
      return shareInterpreter({ limits: options.limits, idleTimeout, own, log });
    }
    return isolateInterpreters({
      permissions: options.permissions,
      runtime: options.runtime ?? "deno",
      interpreter: typeof interpreter === "string" ? [interpreter] : interpreter,
      cwd: options.cwd,
      env: options.env,
      idleTimeout,
      log,
    });
  }

  async #listen(): Promise<void> {
    const { stdio, pipe, unix, fd } = this.#options;
    if (stdio) {
      this.#address = { transport: "stdio" };
      const { channel, finished } = this.#standard!;
      this.#serve(channel, "stdio");
      void finished.then(() => this.shutdown(0));
    } else if (pipe !== undefined) {
      await this.#listenPipe(pipe);
    } else if (unix !== undefined) {
      const token = await namedToken(this.#options, false);
      this.#openAdmission(token === undefined ? undefined : await tokenKey(token));
      this.#enterBy(await listenUnix(unix, (arrival) => this.#arrive(arrival), this.#log));
    } else if (fd !== undefined) {
      await this.#listenDescriptor(fd);
    } else {
      await this.#listenTcp();
    }
  }

  #enterBy(door: Door): void {
    this.#door = door;
    this.#address = door.address;
  }

  #openAdmission(key: CryptoKey | undefined): void {
    const { handshakeTimeout = HANDSHAKE_TIMEOUT } = this.#options;
    this.#admission = new Admission({
      key,
      handshakeTimeout,
      refusal: () => this.#stopping ? "stopping" : this.#full ? "full" : undefined,
      reserve: (places) => this.#reserved += places,
      log: this.#log,
    });
  }

  get #full(): boolean {
    const { isolate, maxConnections = isolate ? 64 : 4000 } = this.#options;
    const places = Math.min(maxConnections, this.#door?.places ?? Infinity);
    return this.#served.size + this.#reserved >= places;
  }

  async #certificates(): Promise<ServerCertificates | undefined> {
    const { tls, handshakeTimeout = HANDSHAKE_TIMEOUT } = this.#options;
    if (!tls) return undefined;
    return {
      handshakeTimeout,
      cert: await readPem(tls.cert),
      key: await readKeyPem(tls.key),
      ...(tls.clientCa === undefined ? {} : { clientCa: await readPem(tls.clientCa) }),
    };
  }

  async #listenTcp(): Promise<void> {
    const options = this.#options;
    const { hostname = "127.0.0.1", port = DEFAULT_PORT, tls, allowInsecure } = options;
    let token = await namedToken(options);
    this.#checkSafety(hostname, token !== undefined);
    const certificates = await this.#certificates();
    // Who comes before the token is there waits for it.
    const ready = Promise.withResolvers<void>();
    const arrive = (arrival: Arrival) => void ready.promise.then(() => this.#arrive(arrival));
    const door = certificates
      ? await listenNode({ hostname, port }, certificates, arrive, this.#log)
      : listenTcp(hostname, port, arrive, this.#log);
    this.#enterBy(door);
    if (token === undefined && tls?.clientCa === undefined && !allowInsecure) {
      const { port } = door.address as { port: number };
      token = await this.#ownToken(port);
    }
    this.#openAdmission(token === undefined ? undefined : await tokenKey(token));
    ready.resolve();
  }

  /** The token of this user's own clients on this machine. */
  async #ownToken(port: number): Promise<string> {
    const path = tokenFileOf(port);
    if (path === undefined) {
      throw new TypeError(
        "Cannot keep a token: neither HOME nor XDG_STATE_HOME is set. Give one as token or tokenFile",
      );
    }
    const token = await makeToken(path);
    this.#log({ event: "token", file: path });
    if (this.#options.port === 0) {
      // Nobody will look for this port again.
      this.#cleanUp = () => Deno.remove(path).catch(() => {});
    }
    return token;
  }

  #checkSafety(hostname: string, hasToken: boolean): void {
    const { tls, allowInsecure } = this.#options;
    if (isLoopback(hostname)) {
      if (allowInsecure && !hasToken && !tls?.clientCa) {
        this.#warn("every user of this machine is let in");
      }
      return;
    }
    const missing = !tls
      ? "without TLS everybody on the way could read and change what is sent (give tls)"
      : !hasToken && tls.clientCa === undefined
      ? "everybody could run anything here (give a token, or tls.clientCa)"
      : undefined;
    if (missing === undefined) return;
    if (!allowInsecure) {
      throw new TypeError(
        `Cannot listen on ${hostname}: ${missing}. ` +
          "allowInsecure: true is the only way round",
      );
    }
    this.#warn(missing);
  }

  #warn(reason: string): void {
    this.#log({ event: "insecure", reason });
  }

  /** A socket that systemd has opened: its address is only known now. */
  async #listenDescriptor(fd: number): Promise<void> {
    const { tls } = this.#options;
    const certificates = await this.#certificates();
    const ready = Promise.withResolvers<void>();
    const arrive = (arrival: Arrival) => void ready.promise.then(() => this.#arrive(arrival));
    const door = await listenNode({ fd }, certificates, arrive, this.#log);
    this.#enterBy(door);
    const unix = door.address.transport === "unix";
    let token = await namedToken(this.#options, !unix);
    if (door.address.transport === "tcp") {
      const { hostname, port } = door.address;
      this.#checkSafety(hostname, token !== undefined);
      if (token === undefined && tls?.clientCa === undefined && !this.#options.allowInsecure) {
        token = await this.#ownToken(port);
      }
    }
    this.#openAdmission(token === undefined ? undefined : await tokenKey(token));
    ready.resolve();
  }

  async #listenPipe(name: string): Promise<void> {
    const { listenPipe } = await import("./pipe.ts");
    const { allowUsers, sambaFolder, handshakeTimeout = HANDSHAKE_TIMEOUT } = this.#options;
    const door = await listenPipe(name, {
      allowUsers,
      sambaFolder,
      handshakeTimeout,
      log: this.#log,
      onPipe: (channel, peer) => {
        if (this.#stopping || this.#full) {
          this.#log({ event: "refused", peer, reason: this.#stopping ? "stopping" : "full" });
          channel.close();
          return;
        }
        this.#serve(channel, peer);
      },
    });
    this.#enterBy(door);
  }

  #arrive(arrival: Arrival): void {
    const admission = this.#admission!;
    if (this.#stopping) {
      arrival.channel.close();
      return;
    }
    const receiving = admission.receive(arrival).then((isIn) => {
      if (!isIn) return;
      this.#reserved--;
      if (this.#stopping) arrival.channel.close();
      else this.#serve(arrival.channel, arrival.peer);
    }).catch((error) => {
      this.#log({ event: "error", peer: arrival.peer, reason: String(error) });
      arrival.channel.close();
    }).finally(() => this.#arriving.delete(receiving));
    this.#arriving.add(receiving);
  }

  #serve(channel: Parameters<Interpreter["serve"]>[0], name: string): void {
    const id = ++this.#lastId;
    const peer: Peer = { id, peer: name };
    const start = performance.now();
    const served = this.#interpreter.serve(channel);
    this.#served.set(id, served);
    this.#log({ event: "connected", id, peer: name, connections: this.#served.size });
    this.#tell(() => this.#options.onConnect?.(peer));
    void served.over.then((reason) => {
      this.#served.delete(id);
      this.#log({
        event: "disconnected",
        id,
        peer: name,
        reason: reason.message,
        seconds: Math.round((performance.now() - start) / 100) / 10,
        connections: this.#served.size,
      });
      this.#tell(() => this.#options.onClose?.(peer, reason));
      this.#hurry?.();
    });
  }

  /** A callback that fails must not end the server. */
  #tell(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#log({ event: "error", reason: `a callback failed: ${String(error)}` });
    }
  }

  shutdown(grace: number = DEFAULT_GRACE): Promise<void> {
    this.#deadline = Math.min(this.#deadline, performance.now() + grace);
    this.#hurry?.();
    return this.#stopping ??= this.#stop();
  }

  async #stop(): Promise<void> {
    this.#log({ event: "stopping", connections: this.#served.size });
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    const closing = this.#door?.close();
    this.#admission?.close();
    const reason = new Error("The server is shutting down");
    for (;;) {
      const now = performance.now();
      for (const served of this.#served.values()) {
        if (served.working === 0 || now >= this.#deadline) served.end(reason);
      }
      if (this.#served.size === 0) break;
      await this.#nextLook(now);
    }
    await Promise.all(this.#arriving);
    await closing;
    clearInterval(this.#ticking);
    this.#interpreter.close();
    await this.#cleanUp?.();
    this.#log({ event: "stopped" });
    this.#settle();
  }

  /** Waits until somebody has gone, or a while. */
  #nextLook(now: number): Promise<void> {
    const wait = now >= this.#deadline ? 1000 : Math.min(20, this.#deadline - now);
    return new Promise((resolve) => {
      const timer = setTimeout(done, wait);
      const hurry = () => done();
      this.#hurry = hurry;
      const clear = () => {
        clearTimeout(timer);
        this.#hurry = undefined;
      };
      function done() {
        clear();
        resolve();
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}
