/**
 * Addresses of daemons: `host`, `host:port`, `[::1]:port`, `/run/pushy.sock`.
 *
 * @module
 */

/** The port that a daemon listens on where none is named. */
export const DEFAULT_PORT = 10101;

/** Where a daemon is. */
export type Place =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Takes an address apart. Throws a `TypeError` for one that means nothing. */
export function parseAddress(address: string, port: number = DEFAULT_PORT): Place {
  if (/^(\/|\.{1,2}\/)/.test(address)) {
    if (address.includes("\0")) throw invalid(address, "a path has no NUL character");
    return { kind: "unix", path: address };
  }
  const bracketed = /^\[([^\][]*)\](?::(.*))?$/.exec(address);
  const bare = !bracketed && address.split(":").length > 2;
  const plain = /^([^:]*)(?::(.*))?$/.exec(address);
  const [, host, given] = bracketed ?? (bare ? [address, address, undefined] : plain!);
  if (!host) throw invalid(address, "it has no host");
  if (bracketed || bare ? !/^[0-9a-f:.]+(%[\w.-]+)?$/i.test(host) : !/^[\w.-]+$/.test(host)) {
    throw invalid(address, `"${host}" is not the name of a host`);
  }
  if (host.startsWith("-")) throw invalid(address, "a host does not begin with a dash");
  if (given !== undefined && !/^\d{1,5}$/.test(given)) {
    throw invalid(address, `"${given}" is not a port`);
  }
  return { kind: "tcp", host, port: checkPort(given === undefined ? port : Number(given)) };
}

/** A port that can be connected to, or a `TypeError`. */
export function checkPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new TypeError(`Cannot use port ${port}: it is a number from 1 to 65535`);
  }
  return port;
}

function invalid(address: string, why: string): TypeError {
  return new TypeError(
    `Cannot connect to "daemon:${address}": ${why} ` +
      `(expected host, host:port, [IPv6 address]:port, or the path of a socket)`,
  );
}

/** Is this a name or an address of this machine's own loopback? */
export function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1|(0+:){7}0*1)$/i.test(host.replace(/^\[|\]$/g, ""));
}

/** How a place is written in messages. */
export function showPlace(place: Place): string {
  if (place.kind === "unix") return place.path;
  return place.host.includes(":") ? `[${place.host}]:${place.port}` : `${place.host}:${place.port}`;
}
