/**
 * The descriptors that the protocol runs on: 3 to read, 4 to write.
 *
 * Deno has two ways to read a descriptor. A file is there at once, but each read visits a thread; a socket
 * of `node:net` waits as the event loop does, but that module takes a while to load. So a file is
 * used first, and the socket once there has been so much traffic that it pays. Sockets, another user's
 * pipes, and a sandbox without access to files leave the socket alone.
 *
 * A process on Windows has no descriptors but the first three: there the loader hands over what it took of
 * those.
 *
 * @module
 */

import { deno, host } from "./host.ts";

/** What the loader found, and hands over. */
export interface Loaded {
  /** The file that it read from, if it could be opened. */
  file?: { read(buffer: Uint8Array): Promise<number | null> };
  /** The socket that it read from otherwise. */
  socket?: Socket;
  /** What it read too much. */
  rest?: Uint8Array;
  /** Unpacks what is packed as this agent was: by Brotli. */
  unpack?(bytes: Uint8Array): Promise<Uint8Array>;
  /** What to write to, under Deno, instead of the descriptor. */
  output?: Output;
  /** The descriptor to write to, under Node, where that is another. */
  descriptor?: number;
}

interface Output {
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
}

interface Socket {
  on(event: string, listener: (argument: Uint8Array) => void): void;
  removeAllListeners(event?: string): void;
  write(bytes: Uint8Array, done: (error?: Error | null) => void): boolean;
  resume(): void;
}

/** The protocol's two directions. */
export interface Wires {
  /** Hands over what arrives, until the end. */
  read(receive: (bytes: Uint8Array) => void, end: () => void): void;
  /** Writes all of it. If it gives a promise, the next bytes wait for that. */
  write(bytes: Uint8Array): void | Promise<void>;
}

const READ = 3;
const WRITE = 4;
/** After so many reads of a file, a socket takes over. */
const PATIENCE = 300;
/** After so many bytes of large writes, whatever has arrived meanwhile is looked at first. */
const LARGE = 256 << 10;

/** Opens the two directions, with what the loader has opened already. */
export async function openWires(loaded: Loaded): Promise<Wires> {
  const write = await openWrite(loaded);
  return {
    write,
    read(receive, end) {
      if (loaded.rest?.length) receive(loaded.rest);
      if (loaded.file) void readFile(loaded.file, receive, end, !loaded.output);
      else if (loaded.socket) readSocket(loaded.socket, receive, end);
      else if (host.name === "bun") void readDescriptor(receive, end);
      else {
        loadSocket()
          .then((Socket) => readSocket(newReader(Socket, receive), receive, end), end);
      }
    },
  };
}

type SocketClass = new (options: {
  fd: number;
  readable: boolean;
  writable: boolean;
  allowHalfOpen: boolean;
  onread?: { buffer: Uint8Array; callback(length: number, buffer: Uint8Array): boolean };
}) => Socket;

async function loadSocket(): Promise<SocketClass> {
  return (await import("node:net")).Socket as unknown as SocketClass;
}

/** Reads from the moment that it is made. The two directions may be one socket: the end of one is not the other's. */
function newReader(Socket: SocketClass, receive: (bytes: Uint8Array) => void): Socket {
  return new Socket({
    fd: READ,
    readable: true,
    writable: false,
    allowHalfOpen: true,
    // One buffer for all reads, and no stream between: a tenth of a call's time.
    onread: {
      buffer: new Uint8Array(64 << 10),
      callback(length, buffer) {
        receive(buffer.subarray(0, length));
        return true;
      },
    },
  });
}

async function readFile(
  file: NonNullable<Loaded["file"]>,
  receive: (bytes: Uint8Array) => void,
  end: () => void,
  replaceable: boolean,
): Promise<void> {
  const buffer = new Uint8Array(64 << 10);
  let Socket: SocketClass | undefined;
  for (let reads = 0; Socket === undefined; reads++) {
    let length: number | null;
    try {
      length = await file.read(buffer);
    } catch {
      length = null;
    }
    if (length === null || length === 0) return end();
    receive(buffer.subarray(0, length));
    if (reads === PATIENCE && replaceable && host.name === "deno") {
      loadSocket().then((loaded) => Socket = loaded, () => {});
    }
  }
  // Only now that no read of the file is under way: there must never be two readers.
  readSocket(newReader(Socket, receive), receive, end);
}

function readSocket(
  socket: Socket,
  receive: (bytes: Uint8Array) => void,
  end: () => void,
): void {
  socket.removeAllListeners("data");
  let ended = false;
  const endOnce = () => {
    if (!ended) end();
    ended = true;
  };
  // The loader's own socket, and interpreters that do not know `onread`. A Buffer's slices are views.
  socket.on("data", ({ buffer, byteOffset, length }) => {
    receive(new Uint8Array(buffer, byteOffset, length));
  });
  socket.on("end", endOnce);
  socket.on("error", endOnce);
  socket.on("close", endOnce);
  socket.resume();
}

/** Bun's sockets do not take a descriptor over. */
async function readDescriptor(receive: (bytes: Uint8Array) => void, end: () => void) {
  const fs = await import("node:fs");
  const buffer = new Uint8Array(64 << 10);
  const next = () =>
    fs.read(READ, buffer, 0, buffer.length, null, (error, length) => {
      if (error?.code === "EAGAIN") setTimeout(next, 1);
      else if (error || length === 0) end();
      else {
        receive(buffer.subarray(0, length));
        next();
      }
    });
  next();
}

async function openWrite(loaded: Loaded): Promise<Wires["write"]> {
  const file = await openWriteFile(loaded);
  if (file) {
    let large = 0;
    return (bytes) => {
      if (bytes.length >= 32 << 10 && (large += bytes.length) >= LARGE) {
        large = 0;
        return file.yielding(bytes);
      }
      for (let at = 0; at < bytes.length;) at += file.write(at === 0 ? bytes : bytes.subarray(at));
      return undefined;
    };
  }
  const Socket = await loadSocket();
  const socket = new Socket({ fd: WRITE, readable: false, writable: true, allowHalfOpen: true });
  socket.on("error", () => {});
  return (bytes) =>
    new Promise((resolve, reject) =>
      socket.write(bytes, (error) => error ? reject(error) : resolve())
    );
}

interface WriteFile {
  /** Writes some of it, and waits for that. */
  write(bytes: Uint8Array): number;
  /** Writes all of it, while the event loop looks at what has arrived. */
  yielding(bytes: Uint8Array): Promise<void>;
}

async function openWriteFile(loaded: Loaded): Promise<WriteFile | undefined> {
  try {
    if (deno) {
      const file = loaded.output ?? deno.openSync(`/dev/fd/${WRITE}`, { write: true });
      return {
        write: (bytes) => file.writeSync(bytes),
        // A task of the event loop's own would not do: Deno looks at its descriptors only when it is idle.
        async yielding(bytes) {
          for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
        },
      };
    }
    const fs = await import("node:fs");
    // A descriptor of its own: the reading side makes a shared one non-blocking.
    const fd = loaded.descriptor ??
      (host.name === "bun" ? WRITE : fs.openSync(`/dev/fd/${WRITE}`, "w"));
    const write = (bytes: Uint8Array) => fs.writeSync(fd, bytes);
    return {
      write,
      yielding(bytes) {
        for (let at = 0; at < bytes.length;) at += write(bytes.subarray(at));
        return new Promise((resolve) => setImmediate(resolve));
      },
    };
  } catch {
    return undefined;
  }
}

declare function setImmediate(callback: () => void): unknown;
