/**
 * The hostile agent where a daemon would be: it knows the token, and proves it; then it misbehaves.
 *
 * @module
 */

import { acceptSambaPipe } from "../../server/samba_pipe.ts";
import { ConnChannel } from "../../transport/daemon/channel.ts";
import { admit, tokenKey } from "../../transport/daemon/handshake.ts";
import { HostileAgent } from "./agent.mjs";

/** What the listeners need. */
export interface HostileOptions {
  /** Where the Unix socket is made. */
  folder: string;
  token: string;
  /** Paths of PEM files. Without them there is no TLS. */
  certificates?: { cert: string; key: string };
  /** The folder of Samba's pipes. Without it there is no pipe. */
  sambaFolder?: string;
}

/** Where it listens. */
export interface HostileListeners extends AsyncDisposable {
  readonly tcp: number;
  readonly tls?: number;
  readonly unix: string;
  /** The name of the pipe. */
  readonly pipe?: string;
}

/** Listens on each kind of address. */
export async function listenHostile(options: HostileOptions): Promise<HostileListeners> {
  const { folder, token, certificates, sambaFolder } = options;
  const key = await tokenKey(token);
  const loopback = { hostname: "127.0.0.1", port: 0 };
  const listeners: Deno.Listener[] = [];
  const listen = <L extends Deno.Listener>(
    listener: L,
    enter: (conn: Deno.Conn) => Promise<Uint8Array>,
  ): L => {
    listeners.push(listener);
    void serve(listener, enter);
    return listener;
  };
  const door = { refusal: () => undefined, takePlace: () => undefined, delay: async () => {} };
  const prove = async (conn: Deno.Conn) =>
    (await admit(new ConnChannel(conn), { key, place: "", ...door }))!;
  const openDoor = async (conn: Deno.Conn) =>
    (await admit(new ConnChannel(conn), { key: undefined, place: "", ...door }))!;

  const tcp = listen(Deno.listen(loopback), prove).addr.port;
  const unix = `${folder}/hostile.sock`;
  listen(Deno.listen({ transport: "unix", path: unix }), openDoor);
  let tls: number | undefined;
  if (certificates) {
    const [cert, key] = await Promise.all([
      Deno.readTextFile(certificates.cert),
      Deno.readTextFile(certificates.key),
    ]);
    tls = (listen(Deno.listenTls({ ...loopback, cert, key }), prove).addr as Deno.NetAddr).port;
  }
  let pipe: string | undefined;
  if (sambaFolder) {
    pipe = "hostile";
    listen(Deno.listen({ transport: "unix", path: `${sambaFolder}/${pipe}` }), async (conn) => {
      await acceptSambaPipe(conn, { admit: () => true, timeout: 10_000 });
      return new Uint8Array(0);
    });
  }
  return {
    tcp,
    tls,
    unix,
    pipe,
    [Symbol.asyncDispose]() {
      for (const listener of listeners) listener.close();
      return Promise.resolve();
    },
  };
}

async function serve(
  listener: Deno.Listener,
  enter: (conn: Deno.Conn) => Promise<Uint8Array>,
): Promise<void> {
  for await (const conn of listener) {
    attack(conn, enter).catch(() => {}).finally(() => new ConnChannel(conn).close());
  }
}

async function attack(
  conn: Deno.Conn,
  enter: (conn: Deno.Conn) => Promise<Uint8Array>,
): Promise<void> {
  const rest = await enter(conn);
  const channel = new ConnChannel(conn);
  let hears = true;
  const agent = new HostileAgent({
    runtime: "deno",
    loaded: false,
    send: (bytes: Uint8Array) => channel.write(bytes),
    deafen: () => hears = false,
  });
  agent.receive(rest);
  const buffer = new Uint8Array(64 << 10);
  try {
    while (hears) {
      const length = await channel.read(buffer);
      if (length === null) return;
      agent.receive(buffer.slice(0, length));
    }
    // The connection stays open for as long as this process lives.
    await new Promise(() => {});
  } finally {
    agent.end();
  }
}
