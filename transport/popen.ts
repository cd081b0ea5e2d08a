/**
 * What a transport is: a command started somewhere, and the bytes of its standard streams.
 *
 * A transport knows neither what the bytes mean nor which interpreter speaks them. It adds an
 * argv or a socket, and nothing else. Every file `transport/<name>.ts` exports a `Popen` of the
 * type {@linkcode Popen}; a user's own module of that shape is registered with
 * `registerTransport`.
 *
 * @module
 */

/** How the process, or the link to it, ended. */
export interface TransportStatus {
  /** The exit code, or `null` where it is unknown or the process was ended by a signal. */
  readonly code: number | null;
  /** The name of the signal that ended the process (`"SIGKILL"`), or `null`. */
  readonly signal: string | null;
  /** Why the link ended, where that is not simply the process's own exit. */
  readonly reason?: Error;
  /** What else the code may stand for, where the transport cannot tell. */
  readonly note?: string;
}

/** What every `Popen` takes. A transport adds its own fields. */
export interface PopenOptions {
  /** What followed the first colon of the target: `"web1"` of `"ssh:web1"`. */
  address: string;
  /** The process's working folder. Default: the one that the transport starts in. */
  cwd?: string;
  /** Variables added to the process's environment. */
  env?: Record<string, string>;
  /**
   * What the command is to run on, where that decides how a command line is written. Default: `"unix"`.
   */
  platform?: "unix" | "windows";
  /** Ends the start when it is aborted, and rejects with its reason. It has no effect afterwards. */
  signal?: AbortSignal;
  /** How long the start may take, in milliseconds. Default: 30 000. `0` means no limit. */
  connectTimeout?: number;
}

/** How far a file copy has come. */
export interface CopyProgress {
  /** Bytes copied so far. */
  readonly bytes: number;
  /** The size in bytes of all that is copied, where it is known. */
  readonly total?: number;
  /** Bytes in a second, over the last few seconds. A transport's own copy may leave it out. */
  readonly rate?: number;
  /** The path, at the source, of the file that this is about. A transport's own copy may leave it out. */
  readonly file?: string;
}

/** What a transport's own file copy knows of the options of a copy. */
export interface CopyOptions {
  /** Called as the copy goes on, and once when it is complete. */
  onProgress?: (progress: CopyProgress) => void;
  /** Ends the copy; the destination is then as it was before. */
  signal?: AbortSignal;
}

/**
 * A pair of plain read and write operations for the same bytes as `stdin` and `stdout`, without
 * the cost of web streams. Whoever uses it must leave `stdin` and `stdout` alone.
 */
export interface ByteChannel {
  /**
   * Reads into `buffer`. Resolves to the number of bytes that were read, at least one, or to
   * `null` at the end. At most one read is under way at a time.
   */
  read(buffer: Uint8Array): Promise<number | null>;
  /**
   * Writes all of `chunk`; resolves when it was taken, so that the writer may go on. `chunk` is
   * not looked at after that. At most one write is under way at a time.
   */
  write(chunk: Uint8Array): Promise<void>;
}

/** A process started somewhere, and its standard streams. */
export interface BaseTransport extends AsyncDisposable {
  /** The address that this transport was made for. */
  readonly address: string;
  /** What the process reads. Closing it is the end of its input. */
  readonly stdin: WritableStream<Uint8Array>;
  /** What the process writes: a byte stream (`type: "bytes"`) where the transport can make one. */
  readonly stdout: ReadableStream<Uint8Array>;
  /** The process's diagnostics. A transport without them gives a stream that is at its end. */
  readonly stderr: ReadableStream<Uint8Array>;
  /** Resolves, and never rejects, when the process or the link has ended. */
  readonly status: Promise<TransportStatus>;
  /** A faster way to the bytes of `stdin` and `stdout`, where there is one. */
  readonly channel?: ByteChannel;
  /**
   * Much begins to flow: what stands in its way, such as the size of a pipe, may be changed now. May be called more than
   * once; does not throw.
   */
  expectMuch?(): void;
  /**
   * Ends the process: end of its input, then a grace time, then force. Resolves when nothing of
   * this side is left, to the truth about how it went. A stream that somebody has locked is theirs
   * to read to its end, or to cancel. May be called more than once.
   */
  close(): Promise<TransportStatus>;
  /** Lets the program exit while this transport is open and idle. */
  unref?(): void;
  /** The opposite of {@linkcode BaseTransport.unref}. */
  ref?(): void;
  /**
   * Copies a file of the remote side to a local path, by means of the transport's own. An error may have a property
   * `side`, `"local"` or `"remote"`: which end it is about.
   */
  getfile?(remotePath: string, localPath: string, options?: CopyOptions): Promise<void>;
  /** Copies a local file to a path of the remote side, in the same way. */
  putfile?(localPath: string, remotePath: string, options?: CopyOptions): Promise<void>;
}

/**
 * Starts `command`, an argv whose first word is the program. A transport that hands a single
 * command line to a remote shell joins the words with {@linkcode quoteCommand}; one that reaches an
 * interpreter which runs already ignores it.
 */
export type Popen<Options extends PopenOptions = PopenOptions> = (
  command: readonly string[],
  options: Options,
) => Promise<BaseTransport>;

/** What a transport's module exports. */
export interface TransportModule<Options extends PopenOptions = PopenOptions> {
  /** Starts a command, or reaches an interpreter. */
  Popen: Popen<Options>;
  /**
   * What the transport reaches: a place where a command is started (`"command"`, the default), or
   * a Pushy interpreter that is running there already (`"interpreter"`).
   */
  reaches?: "command" | "interpreter";
  /**
   * The names of the transport's own options, beside those of {@linkcode PopenOptions}. Where they are
   * listed, an option that nobody knows is refused. Default: any option is passed on.
   */
  options?: readonly string[];
}

const PLAIN_WORD = /^[A-Za-z0-9+/=_.:,-]+$/;
const DOUBLE_QUOTABLE = /^[A-Za-z0-9+/=_.:,;@'<>&() -]+$/;

/**
 * Joins an argv to one command line that every login shell reads alike.
 *
 * Words of a safe alphabet go as they are; words that also have blanks, quotes and redirections
 * go inside double quotes, where sh, bash, zsh, ksh, fish, csh, cmd.exe and PowerShell leave
 * them alone; anything else goes inside single quotes, which POSIX shells and fish understand.
 */
export function quoteCommand(command: readonly string[]): string {
  return command.map((word) => {
    if (PLAIN_WORD.test(word)) return word;
    if (DOUBLE_QUOTABLE.test(word)) return `"${word}"`;
    return `'${word.replaceAll("'", `'\\''`)}'`;
  }).join(" ");
}
