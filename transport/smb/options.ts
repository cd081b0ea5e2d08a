/**
 * What users may say about a connection over SMB, and what they are told of it.
 *
 * @module
 */

import type { BaseTransport, PopenOptions } from "../popen.ts";
import type { DialectName } from "./negotiate.ts";

/** The options of the smb transport. `address` is `host`, `host:port` or `\\host`. */
export interface SmbOptions extends PopenOptions {
  /** The user: `me`, `OFFICE\me` or `me@office.example`. Default: the current user's name. */
  username?: string;
  /** The password. Without one the login is refused before it begins. */
  password?: string;
  /** The domain of the user, or the server's name for its own accounts. Default: none. */
  domain?: string;
  /** The TCP port, where the address has none. Default: 445. */
  port?: number;
  /** The name of the pipe. Default: `pushy`. */
  pipe?: string;
  /** Refuses a server that does not encrypt. Default: encrypted only where the server asks. */
  encrypt?: boolean;
  /** Accepts being the server's guest. There is no signature then. Default: refused. */
  guest?: boolean;
  /** Logs in as nobody. There is no signature then. Default: refused. */
  anonymous?: boolean;
  /** The oldest dialect that is spoken. Default: 2.0.2. */
  minDialect?: DialectName;
  /** The newest dialect that is spoken. Default: 3.1.1. */
  maxDialect?: DialectName;
  /** After how many ms of silence the server is asked for an echo; 0 never. Default: 30 000. */
  echoInterval?: number;
  /**
   * Opens the pipe by its path, as Windows programs do, under the current user's credentials.
   * Default: on Windows, when neither a user, a password nor a port is given.
   */
  native?: boolean;
}

/** The names of the options that this transport adds. */
export const options: readonly string[] = [
  "username",
  "password",
  "domain",
  "port",
  "pipe",
  "encrypt",
  "guest",
  "anonymous",
  "minDialect",
  "maxDialect",
  "echoInterval",
  "native",
] satisfies readonly (keyof SmbOptions)[];

/** What is known of a connection over SMB. */
export interface SmbTransport extends BaseTransport {
  /** The dialect, the signatures and the cipher; `null` where Windows itself speaks SMB. */
  readonly security: {
    /** `"3.1.1"` … */
    readonly dialect: DialectName;
    /** `"HMAC-SHA256"`, `"AES-CMAC"` or `"AES-GMAC"`; `null` for guests. */
    readonly signing: string | null;
    /** `"AES-128-GCM"` …; `null` where messages are signed but not encrypted. */
    readonly encryption: string | null;
  } | null;
}
