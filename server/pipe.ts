/**
 * The named pipe of a server: Windows' own, or the one that Samba hands on.
 *
 * @module
 */

import { userInfo } from "node:os";
import { ConnChannel, type SocketChannel } from "../transport/daemon/channel.ts";
import { type Door, listenNode, type OnArrival, removeStale } from "./listen.ts";
import type { Log } from "./log.ts";
import { acceptSambaPipe, isAllowed } from "./samba_pipe.ts";

/** How a pipe is served. */
export interface PipeOptions {
  allowUsers: readonly string[] | undefined;
  sambaFolder: string | undefined;
  handshakeTimeout: number;
  log: Log;
  /** Somebody has opened the pipe, and may. */
  onPipe: (channel: SocketChannel, peer: string) => void;
}

/** Debian's and Fedora's Samba have their `ncalrpc dir` there; the folder `np` in it is root's alone. */
const SAMBA_FOLDER = "/run/samba/ncalrpc/np";

/**
 * How many may be connected to a pipe of Windows. Deno 2.9 takes as the most that may be open at once what Node reads
 * from this variable as the number of those that wait, and once there are so many, it never listens again: so it is
 * set as high as can be, and far fewer are admitted.
 */
const WINDOWS_PIPE_CLIENTS = 200;
const INSTANCES = "NODE_PENDING_PIPE_INSTANCES";

/** Listens on a named pipe. */
export async function listenPipe(name: string, options: PipeOptions): Promise<Door> {
  if (!/^[\w.-]+$/.test(name) || name.startsWith(".")) {
    throw new TypeError(`Cannot listen on the pipe "${name}": that is not a name`);
  }
  if (Deno.build.os === "windows") {
    const { log, onPipe } = options;
    const where = { path: `\\\\.\\pipe\\${name}` };
    await refuseTaken(where.path);
    const before = Deno.env.get(INSTANCES);
    Deno.env.set(INSTANCES, "254");
    try {
      const arrive: OnArrival = ({ channel, peer }) => onPipe(channel, peer);
      return { ...await listenNode(where, undefined, arrive, log), places: WINDOWS_PIPE_CLIENTS };
    } finally {
      if (before === undefined) Deno.env.delete(INSTANCES);
      else Deno.env.set(INSTANCES, before);
    }
  }
  return await listenSamba(name, options);
}

/** Windows lets two programs of a user serve one pipe, and gives each client to either of them. */
async function refuseTaken(path: string): Promise<void> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
  }
  throw new Deno.errors.AddrInUse(`Cannot listen on ${path}: another server does`);
}

async function listenSamba(name: string, options: PipeOptions): Promise<Door> {
  const { sambaFolder = SAMBA_FOLDER, handshakeTimeout, log, onPipe } = options;
  await checkFolder(sambaFolder);
  const allowed = options.allowUsers ?? [userInfo().username];
  // Samba asks for a pipe by its name in small letters.
  const path = `${sambaFolder}/${name.toLowerCase()}`;
  await removeStale(path);
  const mask = Deno.umask(0o177);
  let listener: Deno.UnixListener;
  try {
    listener = Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(mask);
  }
  const waiting = new Set<Deno.Conn>();
  const receive = async (conn: Deno.Conn) => {
    waiting.add(conn);
    try {
      const { user } = await acceptSambaPipe(conn, {
        admit: (user) => isAllowed(user, allowed),
        timeout: handshakeTimeout,
      });
      onPipe(new ConnChannel(conn), `${user.domain}\\${user.account}@${user.clientAddress}`);
    } catch (error) {
      log({ event: "refused", peer: "samba", reason: (error as Error).message });
    } finally {
      waiting.delete(conn);
    }
  };
  const accepting = (async () => {
    for (;;) {
      try {
        void receive(await listener.accept());
      } catch (error) {
        if (
          error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted
        ) return;
        log({ event: "accept failed", reason: (error as Error).message });
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  })();
  return {
    address: { transport: "pipe", path },
    async close() {
      listener.close();
      for (const conn of waiting) {
        try {
          conn.close();
        } catch {
          // It has been refused meanwhile.
        }
      }
      await accepting;
      await Deno.remove(path).catch(() => {});
    },
  };
}

/** Whoever can connect there says who the user is: it must be Samba alone. */
async function checkFolder(folder: string): Promise<void> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(folder);
  } catch (cause) {
    throw new Error(
      `Cannot listen on a pipe in ${folder}: ${(cause as Error).message}. ` +
        "Is Samba running, and may this user look there? " +
        "The folder is np in what testparm says of the `ncalrpc dir` (option sambaFolder)",
      { cause },
    );
  }
  if (((info.mode ?? 0) & 0o077) !== 0) {
    throw new TypeError(
      `Cannot listen on a pipe in ${folder}: other users can go there, and say that they are anybody ` +
        "(its mode must be 0700)",
    );
  }
}
