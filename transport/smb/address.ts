/**
 * The addresses of the smb transport: `host`, `host:port`, `[::1]:445` and UNC.
 *
 * @module
 */

/** Where a pipe is. */
export interface PipeAddress {
  /** A name or an IP address, without brackets. */
  readonly host: string;
  /** Where the address names one. */
  readonly port?: number;
  /** Where the address is a UNC path to a pipe. */
  readonly pipe?: string;
}

/** Reads `host`, `host:port`, `\\host` and `\\host\pipe\name`. Throws a `TypeError`. */
export function parseAddress(address: string): PipeAddress {
  const refuse = (why: string) =>
    new TypeError(
      `Cannot use the address ${JSON.stringify(address)}: ${why}. ` +
        "It is smb:host, smb:host:port or smb:\\\\host",
    );
  const [, slashes, place, path] = /^(\\\\|\/\/)?([^\\/]*)(?:[\\/](.*))?$/s.exec(address) ?? [];
  if (!place) throw refuse("it names no host");
  let pipe: string | undefined;
  if (path !== undefined && path !== "") {
    pipe = slashes === undefined ? undefined : /^pipe[\\/](.+)$/i.exec(path)?.[1];
    if (pipe === undefined) throw refuse("after the host only \\pipe\\name may follow");
  }
  const match = /^\[([0-9A-Fa-f:.%\w]+)\](?::(\d+))?$/.exec(place) ??
    (/^[^:]*:[^:]*:/.test(place) ? /^([0-9A-Fa-f:.%\w]+)$/ : /^([^:[\]]+)(?::(\d+))?$/).exec(place);
  if (match === null) throw refuse("it is no host");
  const host = match[1]!;
  // deno-lint-ignore no-control-regex
  if (host.startsWith("-") || /[\x00-\x20\x7f"*<>|?@]/.test(host)) throw refuse("it is no host");
  const result: { host: string; port?: number; pipe?: string } = { host };
  if (match[2] !== undefined) result.port = checkPort(Number(match[2]), refuse);
  if (pipe !== undefined) result.pipe = checkPipe(pipe);
  return result;
}

/** Refuses what is no port. */
export function checkPort(
  port: number,
  refuse = (why: string): TypeError => new TypeError(`Cannot use the port ${port}: ${why}`),
): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw refuse("a port is a number from 1 to 65535");
  }
  return port;
}

/** Refuses what is no name of a pipe. */
export function checkPipe(pipe: string): string {
  // deno-lint-ignore no-control-regex
  if (pipe === "" || pipe.length > 200 || /[\x00-\x1f"*<>|?:/]/.test(pipe)) {
    throw new TypeError(`Cannot use the pipe name ${JSON.stringify(pipe)}: it is no file name`);
  }
  return pipe;
}
