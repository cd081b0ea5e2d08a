/**
 * TLS with a certificate of the client's own, and a server name that need not be the host's: `node:tls` has both
 * at once.
 *
 * @module
 */

import { isIP } from "node:net";
import { connect } from "node:tls";
import { NodeChannel, type SocketChannel } from "./channel.ts";

/** Where to connect to, and the name that is to be found there. */
export interface NamedPlace {
  readonly host: string;
  readonly port: number;
  readonly name: string;
}

/** What each side shows the other, as PEM texts. */
export interface Certificates {
  readonly caCerts: readonly string[];
  readonly cert: string;
  readonly key: string;
}

/** Connects, and does the TLS handshake. Rejects with the signal's reason if it is aborted first. */
export function connectWithCertificate(
  { host, port, name }: NamedPlace,
  { caCerts, cert, key }: Certificates,
  signal: AbortSignal,
): Promise<SocketChannel> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: host.toLowerCase() === "localhost" ? "127.0.0.1" : host,
      port,
      // An address is not sent as a name, but the certificate is still checked for it.
      ...(isIP(name) ? {} : { servername: name }),
      ...(caCerts.length > 0 ? { ca: [...caCerts] } : {}),
      cert,
      key,
    });
    const abort = () => {
      socket.destroy();
      reject(signal.reason);
    };
    const fail = (error: Error) => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      reject(error);
    };
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", fail);
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", abort);
      socket.removeListener("error", fail);
      socket.setNoDelay(true);
      resolve(new NodeChannel(socket));
    });
  });
}
