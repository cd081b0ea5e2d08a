/**
 * The `smb` transport: an interpreter behind a named pipe of a Windows host, or of any host with
 * Samba.
 *
 * ```ts ignore
 * await connect("smb:host", { username: "me", password: "…", domain: "OFFICE" });
 * ```
 *
 * The SMB client is this package's own and does what a named pipe needs: the dialects 2.0.2 to
 * 3.1.1 over direct TCP, NTLMv2, signatures always, encryption where the server or the caller asks
 * for it. The SMB clients on npm log in with NTLMv1, which Windows and Samba refuse, or neither
 * sign nor encrypt, which Windows 11 24H2 and Server 2025 demand. Files, DFS, printers and
 * Kerberos are not spoken.
 *
 * On Windows, without a user name and a password, the pipe is opened by its path
 * (`\\host\pipe\pushy`), under the credentials of the current user. Deno needs `-A` for that.
 *
 * A named pipe has no half-closed state: closing `stdin` closes the pipe, once the server has
 * taken what was written. Samba can lose what its end writes just before it closes the pipe, so a
 * conversation should be ended by this side.
 *
 * @module
 */

import { userInfo } from "node:os";
import { AuthenticationError, ConnectionError } from "./errors.ts";
import type { TransportStatus } from "./popen.ts";
import { checkPipe, checkPort, parseAddress } from "./smb/address.ts";
import { Connection } from "./smb/connection.ts";
import { type Attempt, describeFailure } from "./smb/failure.ts";
import { Frames } from "./smb/framing.ts";
import { PreauthHash } from "./smb/keys.ts";
import { openNativePipe } from "./smb/native.ts";
import { type DialectName, DIALECTS, Offer } from "./smb/negotiate.ts";
import type { Credentials } from "./smb/ntlm.ts";
import type { SmbOptions, SmbTransport } from "./smb/options.ts";
import { openPipe, type Pipe } from "./smb/pipe.ts";
import { negotiate, Session } from "./smb/session.ts";

export type { DialectName } from "./smb/negotiate.ts";
export { options, type SmbOptions, type SmbTransport } from "./smb/options.ts";

/** The port of SMB over TCP. */
export const SMB_PORT = 445;
/** The name of the pipe that a Pushy server listens on by default. */
export const DEFAULT_PIPE = "pushy";

/** An smb transport reaches an interpreter that is running already. */
export const reaches = "interpreter";

/** How long a polite end may take, in ms. */
const GRACE = 2000;
/** The largest write, in bytes. */
const MOST = 1 << 19;
/** Samba answers a pipe's read with less than 64 KiB, however much is asked for. */
const READ_SIZE = 1 << 16;
/** Reads and writes under way on a server that keeps their order. */
const DEPTH = 4;

/** Who logs in: options, checked before anything is sent. */
function credentials(options: SmbOptions): Credentials | null {
  if (options.anonymous) {
    if (options.username !== undefined || options.password !== undefined) {
      throw new TypeError("Cannot log in anonymously with a username or a password");
    }
    if (options.encrypt) {
      throw new TypeError("Cannot encrypt an anonymous session: it has no key");
    }
    return null;
  }
  let { username, domain = "" } = options;
  if (username === undefined || username === "") username = currentUser();
  const slash = username.indexOf("\\");
  if (slash >= 0) {
    if (domain !== "") {
      throw new TypeError(`Cannot log in as ${username}: there is also the domain ${domain}`);
    }
    domain = username.slice(0, slash);
    username = username.slice(slash + 1);
  }
  if (username === "" || /[\0\\]/.test(username) || domain.includes("\0")) {
    throw new TypeError(`Cannot log in as ${JSON.stringify(username)}: it is no user name`);
  }
  if (options.password === undefined) {
    throw new AuthenticationError(`Cannot log in as ${username}: no password is given`, {
      stage: "authenticate",
      hint: "Pass { username, password }, or { anonymous: true } where the server allows it.",
    });
  }
  return { username, password: options.password, domain };
}

function currentUser(): string {
  try {
    return userInfo().username;
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotCapable)) throw cause;
    throw new AuthenticationError(`Cannot log in as the current user: ${cause.message}`, {
      stage: "authenticate",
      code: "NotCapable",
      hint: "Pass { username, password }, or run with --allow-sys to log in as the current user.",
      cause,
    });
  }
}

/**
 * Opens the pipe of a Pushy server over SMB. `command` is ignored: the interpreter runs already.
 *
 * @param _command Ignored.
 * @param options Where, and as whom. `connectTimeout` (ms, default 30 000) covers everything up to
 * the open pipe.
 * @returns The pipe as `stdin` and `stdout`; `stderr` is at its end.
 * @throws {TypeError} An option is wrong; nothing was sent.
 * @throws {AuthenticationError} The user is not let in; `code` is the status's name.
 * @throws {ConnectionError} The host is not reached, does not speak SMB safely, or has no such pipe.
 */
export async function Popen(
  _command: readonly string[],
  options: SmbOptions,
): Promise<SmbTransport> {
  const place = parseAddress(options.address);
  const port = place.port ?? (options.port === undefined ? SMB_PORT : checkPort(options.port));
  const pipe = place.pipe ?? checkPipe(options.pipe ?? DEFAULT_PIPE);
  options.signal?.throwIfAborted();
  const native = options.native ??
    (Deno.build.os === "windows" && port === SMB_PORT && !options.anonymous &&
      options.username === undefined && options.password === undefined);
  if (native) return await openNativePipe(options, place.host, pipe);

  const least = DIALECTS[options.minDialect ?? "2.0.2"];
  const most = DIALECTS[options.maxDialect ?? "3.1.1"];
  if (least === undefined || most === undefined || least > most) {
    throw new TypeError(
      `Cannot speak SMB from ${options.minDialect} to ${options.maxDialect}: ` +
        `the dialects are ${Object.keys(DIALECTS).join(", ")}`,
    );
  }
  const who = credentials(options);
  const guest = options.guest ?? false;
  const user = who === null
    ? "nobody"
    : who.domain === ""
    ? who.username
    : `${who.domain}\\${who.username}`;
  const attempt: { -readonly [K in keyof Attempt]: Attempt[K] } = {
    stage: "connect",
    host: place.host,
    port,
    pipe,
    user,
  };
  const limit = startLimit(options, attempt);
  let connection: Connection | undefined;
  try {
    const conn = await Deno.connect({ hostname: place.host, port, signal: limit.signal });
    conn.setNoDelay(true);
    const opened = connection = new Connection(new Frames(conn));
    limit.signal.addEventListener("abort", () => opened.fail(limit.signal.reason), { once: true });
    attempt.stage = "negotiate";
    const offer = new Offer(least, most, who !== null && !guest);
    const hash = new PreauthHash();
    const agreement = await negotiate(connection, offer, hash);
    const maxRead = Math.min(agreement.maxRead, READ_SIZE);
    connection.messageLimit = maxRead + 0x1000;
    attempt.stage = "authenticate";
    const session = await Session.logIn(connection, offer, agreement, hash, {
      credentials: who,
      guest,
      encrypt: options.encrypt ?? false,
      host: place.host,
    });
    attempt.stage = "open";
    await session.openTree(place.host);
    const opening = await openPipe(connection, pipe, {
      maxRead,
      maxWrite: Math.min(agreement.maxWrite, MOST),
      depth: session.serverBuild === 0 ? DEPTH : 1,
    }, limit.signal);
    connection.keepAlive(options.echoInterval ?? 30_000);
    return new SmbPipeTransport(options.address, conn, connection, session, opening);
  } catch (error) {
    connection?.close();
    if (limit.signal.aborted) throw limit.signal.reason;
    throw describeFailure(attempt, error);
  } finally {
    limit.done();
  }
}

/** Joins the caller's signal and the time limit of a start. */
function startLimit(
  { signal, connectTimeout = 30_000 }: SmbOptions,
  attempt: Attempt,
): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort(signal!.reason);
  signal?.addEventListener("abort", abort, { once: true });
  const timer = connectTimeout <= 0 ? undefined : setTimeout(() => {
    controller.abort(
      new ConnectionError(
        `Cannot reach the pipe ${attempt.pipe} at ${attempt.host} over SMB: ` +
          `no answer within ${connectTimeout} ms (stage: ${attempt.stage})`,
        {
          stage: attempt.stage,
          code: "ETIMEDOUT",
          hint: attempt.stage === "connect"
            ? "Check the network; port 445 is often closed by a firewall."
            : "Raise connectTimeout, or look at what the server does.",
        },
      ),
    );
  }, connectTimeout);
  return {
    signal: controller.signal,
    done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
}

/** The pipe as the streams of a process. */
class SmbPipeTransport implements SmbTransport {
  readonly address: string;
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly status: Promise<TransportStatus>;
  readonly channel: Pipe;
  readonly security: SmbTransport["security"];
  readonly #conn: Deno.TcpConn;
  readonly #connection: Connection;
  readonly #session: Session;
  #closed: Promise<TransportStatus> | undefined;

  constructor(
    address: string,
    conn: Deno.TcpConn,
    connection: Connection,
    session: Session,
    pipe: Pipe,
  ) {
    this.address = address;
    this.channel = pipe;
    this.#conn = conn;
    this.#connection = connection;
    this.#session = session;
    const { dialect } = session.agreement;
    this.security = {
      dialect: (Object.keys(DIALECTS) as DialectName[]).find((name) => DIALECTS[name] === dialect)!,
      signing: session.signing,
      encryption: session.encryption,
    };
    this.status = pipe.ended.then(async (reason) => {
      await this.#leave();
      return { code: null, signal: null, ...(reason === null ? {} : { reason }) };
    });
    this.stdin = new WritableStream({
      write: (chunk) => pipe.write(chunk),
      close: async () => {
        await pipe.flush();
        await this.close();
      },
      abort: async () => {
        await this.close();
      },
    });
    this.stdout = new ReadableStream({
      type: "bytes",
      pull: async (controller) => {
        const chunk = await pipe.readChunk();
        if (chunk !== null) return controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel: async () => {
        await this.close();
      },
    });
    this.stderr = new ReadableStream({
      start: (controller) => controller.close(),
    });
  }

  close(): Promise<TransportStatus> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<TransportStatus> {
    const timer = setTimeout(() => this.#connection.close(), GRACE);
    try {
      await this.channel.close();
    } catch {
      // The connection is gone, and `status` says why.
      this.#connection.close();
    } finally {
      clearTimeout(timer);
    }
    return await this.status;
  }

  /** Leaves the session as far as the connection still goes. */
  async #leave(): Promise<void> {
    const timer = setTimeout(() => this.#connection.close(), GRACE);
    try {
      await this.channel.close();
      // Samba neither cancels nor ends the reads of a closed pipe, and lets nobody log off before
      // they are answered. The session then ends with its connection.
      if (this.channel.unanswered === 0) await this.#session.logOff();
    } catch {
      // A connection that is gone needs no farewell.
    } finally {
      clearTimeout(timer);
      this.#connection.close();
    }
  }

  ref(): void {
    this.#conn.ref();
    this.#connection.unref(false);
  }

  unref(): void {
    this.#conn.unref();
    this.#connection.unref(true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
