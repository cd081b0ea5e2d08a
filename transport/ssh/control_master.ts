/**
 * One connection of OpenSSH's client for many transports (ssh_config(5), ControlMaster).
 *
 * The master is a child of this program that runs no remote command. Its socket is in a private
 * folder. It ends with its last user, and, should this program be killed, with this program: a
 * shell beside it waits for the end of its input, which only this program holds.
 *
 * @module
 */

import { ConnectionError } from "../errors.ts";
import type { ClientProcess } from "./client_process.ts";

// Only the client keeps the shell's stdout, and only the reader its stdin. A client that goes on after one SIGTERM must
// not be left behind when the shell is told to end.
const GUARD = 'exec 3<&0; "$@" </dev/null 3<&- & p=$!; trap \'kill "$p"\' TERM; exec 1>&-; ' +
  '(IFS= read -r _ <&3; kill "$p") 2>&- & w=$!; wait "$p"; s=$?; kill "$w" 2>&-; exit "$s"';

/** A share in a connection. */
export interface SharedConnection {
  /** The words that make a client use it. */
  readonly args: readonly string[];
  /** Gives the share back; the last one ends the connection. */
  release(): Promise<void>;
}

/** How a master is started: given the program and words to run, gives the process. */
export type MasterStart = (program: string, args: readonly string[]) => Promise<ClientProcess>;

interface Master {
  readonly socket: string;
  users: number;
  end(): Promise<void>;
}

const masters = new Map<string, Promise<Master>>();

/**
 * Joins the connection for `args`, or makes it.
 *
 * @param args the client's words for the connection, up to and without the host
 * @throws {ConnectionError} if it cannot be made
 */
export async function shareConnection(
  program: string,
  args: readonly string[],
  host: string,
  start: MasterStart,
  limit: { connectTimeout: number; signal?: AbortSignal | undefined },
): Promise<SharedConnection> {
  if (Deno.build.os === "windows") {
    throw new TypeError("Cannot use ssh option controlMaster: Windows' ssh cannot share.");
  }
  const key = JSON.stringify([program, args, host]);
  let opening = masters.get(key);
  if (!opening) {
    opening = openMaster(program, args, host, start, limit, () => {
      if (masters.get(key) === opening) masters.delete(key);
    });
    masters.set(key, opening);
    opening.catch(() => {
      if (masters.get(key) === opening) masters.delete(key);
    });
  }
  const master = await opening;
  master.users++;
  let released: Promise<void> | undefined;
  const release = async () => {
    if (--master.users > 0) return;
    if (masters.get(key) === opening) masters.delete(key);
    await master.end();
  };
  return {
    // BatchMode: should the master be gone, the client connects by itself, and asks nobody.
    args: ["-S", master.socket, "-o", "ControlMaster=no", "-o", "BatchMode=yes"],
    release: () => released ??= release(),
  };
}

async function openMaster(
  program: string,
  args: readonly string[],
  host: string,
  start: MasterStart,
  limit: { connectTimeout: number; signal?: AbortSignal | undefined },
  onLost: () => void,
): Promise<Master> {
  const folder = await Deno.makeTempDir({ prefix: "pushy-ssh-" });
  const remove = () => Deno.remove(folder, { recursive: true });
  let process: ClientProcess;
  const socket = `${folder}/s`;
  try {
    await Deno.chmod(folder, 0o700);
    process = await start(program, [
      ...["-M", "-N", "-S", socket, "-o", "ControlPersist=no"],
      // Says when the login is done; nothing runs on the other side for it.
      ...["-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready"],
      ...args,
      "--",
      host,
    ]);
  } catch (error) {
    await remove();
    throw error;
  }
  const end = async () => {
    await process.close();
    await remove();
  };
  const abort = Promise.withResolvers<never>();
  abort.promise.catch(() => {});
  const onAbort = () => abort.reject(limit.signal!.reason);
  limit.signal?.addEventListener("abort", onAbort, { once: true });
  const timer = limit.connectTimeout === 0 ? undefined : setTimeout(() => {
    abort.reject(
      new ConnectionError(
        `The connection to ${host} was not made within ${limit.connectTimeout} ms.`,
        {
          stage: "connect",
          code: "ETIMEDOUT",
          hint: "A longer time is given with connectTimeout.",
        },
      ),
    );
  }, limit.connectTimeout);
  try {
    limit.signal?.throwIfAborted();
    if (await Promise.race([process.channel.read(new Uint8Array(64)), abort.promise]) === null) {
      const { reason } = await process.status;
      throw reason ?? new ConnectionError(`The connection to ${host} failed.`, { code: "ESSH" });
    }
  } catch (error) {
    await end();
    throw error;
  } finally {
    clearTimeout(timer);
    limit.signal?.removeEventListener("abort", onAbort);
  }
  process.status.then(onLost);
  // Its end is told by those that use it: an idle master does not hold the program.
  process.unref();
  return { socket, users: 0, end };
}

/** The command that runs a master so that it cannot outlive this program. */
export function guarded(program: string, args: readonly string[]): {
  program: string;
  args: string[];
} {
  return { program: "sh", args: ["-c", GUARD, "sh", program, ...args] };
}
