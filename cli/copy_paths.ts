/**
 * What `pushy cp` copies: the paths of its command line, and where each thing goes.
 *
 * @module
 */

/** A path of one side. */
export interface CopyPath {
  /** The target, or `undefined` for this side. */
  readonly target: string | undefined;
  /** The path there. */
  readonly path: string;
}

/**
 * Takes an argument apart: `ssh:web1:/etc/hosts`, `ssh:me@web1:2222:/etc/hosts`, `local::/etc/hosts`, `daemon:[::1]:file`.
 *
 * What begins with the name of a transport and a colon is remote; its path is what follows the last part of the address
 * that can be one: digits behind a host are a port. `./a:b` is a file of this side whatever its name.
 *
 * @throws {TypeError} for a remote argument without a path.
 */
export function parseCopyPath(argument: string): CopyPath {
  const remote = /^([a-z][a-z0-9+-]+):(.*)$/is.exec(argument);
  // One letter is a drive of Windows.
  if (!remote) return { target: undefined, path: argument };
  const [, transport, rest] = remote as unknown as [string, string, string];
  const address = transport === "local" ? /^()?:(.*)$/s.exec(rest) : rest.startsWith("/")
    // A Unix socket: its path goes up to the next colon.
    ? /^([^:]*):(.*)$/s.exec(rest)
    : /^((?:[^@:/]*@)?(?:\[[^\]]*\]|[^:/\\]+|\\\\[^:]+)(?::\d+(?=:))?):(.*)$/s.exec(rest);
  const path = address?.[2];
  if (!path) {
    throw new TypeError(
      `Cannot copy "${argument}": a remote path is TARGET:PATH, like "ssh:web1:/etc/hosts" or "local::/etc/hosts"; ` +
        `a local file of that name is "./${argument}"`,
    );
  }
  return { target: `${transport}:${address[1] ?? ""}`, path };
}

/** The last part of a path: what a copy into a folder is called there. */
export function nameOf(path: string): string {
  const name = path.replace(/[\\/]+$/, "").split(/[\\/]/).at(-1)!;
  return name === "." || name === ".." ? "" : name;
}
