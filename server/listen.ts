/**
 * Where a server listens: TCP, TLS, a Unix socket, a named pipe, or a socket that systemd has opened.
 *
 * @module
 */

import { ConnChannel, NodeChannel, type NodeSocket } from "../transport/daemon/channel.ts";
import type { Arrival } from "./admission.ts";
import type { Log } from "./log.ts";

/** Where a server is reached. */
export type ServerAddress =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "pipe"; readonly path: string }
  | { readonly transport: "stdio" };

/** Something that connections come from. */
export interface Door {
  readonly address: ServerAddress;
  /** How many it lets in at once, where that is limited. */
  readonly places?: number;
  /** Stops to listen. Connections that are there stay. */
  close(): Promise<void>;
}

/** What a server does with those who come. */
export type OnArrival = (arrival: Arrival) => void;

/** PEM texts. */
export interface ServerCertificates {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
  /** How long the handshake of TLS may take, in ms. */
  readonly handshakeTimeout: number;
}

/** How many connections the system keeps while the server is busy. */
const BACKLOG = 1024;

/** Hands on what a listener of Deno's accepts. */
async function accept(
  listener: Deno.Listener,
  arrivalOf: (conn: Deno.Conn) => Arrival,
  onArrival: OnArrival,
  log: Log,
): Promise<void> {
  for (;;) {
    let conn: Deno.Conn;
    try {
      conn = await listener.accept();
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        return;
      }
      // Out of descriptors, or the client has gone already: the next one may do better.
      log({ event: "accept failed", reason: (error as Error).message });
      await new Promise((resolve) => setTimeout(resolve, 20));
      continue;
    }
    try {
      onArrival(arrivalOf(conn));
    } catch (error) {
      log({ event: "accept failed", reason: (error as Error).message });
      conn.close();
    }
  }
}

function nameOf(hostname: string, port: number): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function doorOf(listener: Deno.Listener, address: ServerAddress, accepting: Promise<void>): Door {
  return {
    address,
    async close() {
      listener.close();
      await accepting;
    },
  };
}

/** Listens on a TCP port. */
export function listenTcp(
  hostname: string,
  port: number,
  onArrival: OnArrival,
  log: Log,
): Door {
  const listener = Deno.listen({ hostname, port, tcpBacklog: BACKLOG });
  const address = listener.addr;
  const arrivalOf = (conn: Deno.Conn): Arrival => {
    const tcp = conn as Deno.TcpConn;
    const remote = tcp.remoteAddr;
    const local = tcp.localAddr;
    tcp.setNoDelay(true);
    tcp.setKeepAlive(true);
    return {
      channel: new ConnChannel(conn),
      peer: nameOf(remote.hostname, remote.port),
      host: remote.hostname,
      place: `${local.hostname}:${local.port}`,
    };
  };
  return doorOf(
    listener,
    { transport: "tcp", hostname: address.hostname, port: address.port },
    accept(listener, arrivalOf, onArrival, log),
  );
}

/** Listens on a Unix socket of mode 0600. A socket that a server has left behind is replaced. */
export async function listenUnix(path: string, onArrival: OnArrival, log: Log): Promise<Door> {
  await removeStale(path);
  // The mode that a socket is made with is what the mask leaves of it: at no time may anybody else connect.
  const mask = Deno.build.os === "windows" ? undefined : Deno.umask(0o177);
  let listener: Deno.UnixListener;
  try {
    listener = Deno.listen({ transport: "unix", path });
  } finally {
    if (mask !== undefined) Deno.umask(mask);
  }
  const { ino } = await Deno.stat(path);
  const arrivalOf = (conn: Deno.Conn): Arrival => ({
    channel: new ConnChannel(conn),
    peer: "unix",
    host: "unix",
    place: "",
  });
  const door = doorOf(
    listener,
    { transport: "unix", path },
    accept(listener, arrivalOf, onArrival, log),
  );
  return {
    ...door,
    async close() {
      await door.close();
      // Another server may have taken the path over.
      const now = await Deno.stat(path).catch(() => undefined);
      if (now && now.ino === ino) await Deno.remove(path).catch(() => {});
    },
  };
}

/** Removes a socket that nobody listens on any more. Anything else is left where it is. */
export async function removeStale(path: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!info.isSocket) throw new TypeError(`Cannot listen on ${path}: there is something else`);
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    await Deno.remove(path);
    return;
  }
  throw new Deno.errors.AddrInUse(`Cannot listen on ${path}: another server does`);
}

/** What is needed of a server of `node:net` or `node:tls`. */
interface NodeServer {
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): unknown;
  // deno-lint-ignore no-explicit-any
  once(event: string, listener: (...args: any[]) => void): unknown;
  // deno-lint-ignore no-explicit-any
  listen(options: any, done: () => void): unknown;
  close(done: () => void): unknown;
  address(): unknown;
}

interface AcceptedSocket extends NodeSocket {
  readonly remoteAddress?: string;
  readonly remotePort?: number;
  readonly localAddress?: string;
  readonly localPort?: number;
  setNoDelay?(on: boolean): unknown;
  setKeepAlive?(on: boolean): unknown;
}

/**
 * Listens by means of Node's modules: for TLS, for sockets that systemd has opened, and for the named pipes of
 * Windows. Deno's own listener for TLS asks clients for no certificate, and cannot let go of one that is silent.
 */
export async function listenNode(
  where: { hostname: string; port: number } | { fd: number } | { path: string },
  certificates: ServerCertificates | undefined,
  onArrival: OnArrival,
  log: Log,
): Promise<Door> {
  const onSocket = (socket: AcceptedSocket) => {
    const { remoteAddress = "", remotePort = 0, localAddress, localPort } = socket;
    if (remoteAddress) {
      socket.setNoDelay?.(true);
      socket.setKeepAlive?.(true);
    }
    onArrival({
      channel: new NodeChannel(socket),
      peer: remoteAddress ? nameOf(remoteAddress, remotePort) : "path" in where ? "pipe" : "unix",
      host: remoteAddress,
      place: certificates || !localAddress ? "" : `${localAddress}:${localPort}`,
    });
  };
  const server = certificates
    ? await tlsServer(certificates, onSocket, log)
    : (await import("node:net")).createServer(onSocket as never) as NodeServer;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const options = "hostname" in where
      ? { host: where.hostname, port: where.port, backlog: BACKLOG }
      : where;
    server.listen(options, resolve);
  });
  server.on("error", (error: Error) => log({ event: "accept failed", reason: error.message }));
  const bound = server.address() as { address: string; port: number } | string | null;
  const address: ServerAddress = typeof bound === "object" && bound !== null
    ? { transport: "tcp", hostname: bound.address, port: bound.port }
    : "path" in where
    ? { transport: "pipe", path: where.path }
    : { transport: "unix", path: typeof bound === "string" ? bound : "" };
  return { address, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

async function tlsServer(
  { cert, key, clientCa, handshakeTimeout }: ServerCertificates,
  onSocket: (socket: AcceptedSocket) => void,
  log: Log,
): Promise<NodeServer> {
  const { createServer } = await import("node:tls");
  const server = createServer(
    {
      cert,
      key,
      minVersion: "TLSv1.2",
      handshakeTimeout,
      ...(clientCa === undefined
        ? {}
        : { ca: [clientCa], requestCert: true, rejectUnauthorized: true }),
    },
    (socket) => {
      // It is asked for above, and asked once more: this is the only guard that there is.
      if (clientCa !== undefined && !socket.authorized) {
        socket.destroy();
        return;
      }
      onSocket(socket as unknown as AcceptedSocket);
    },
  ) as unknown as NodeServer;
  server.on("tlsClientError", (error: Error, socket?: AcceptedSocket) => {
    log({ event: "refused", peer: socket?.remoteAddress, reason: `TLS: ${error.message}` });
    socket?.destroy();
  });
  return server;
}
