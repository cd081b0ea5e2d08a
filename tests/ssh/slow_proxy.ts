/**
 * A TCP proxy with a delay in each direction, which counts how often the client waited for the server.
 *
 * @module
 */

/** A proxy that listens. */
export interface SlowProxy extends AsyncDisposable {
  readonly port: number;
  /**
   * How often the client has sent something new after it had heard from the server: a round trip
   * each.
   */
  turns(): number;
  /** Passes nothing on any more, and says so to nobody. */
  freeze(): void;
  /** Ends every connection. */
  cut(): void;
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await to.write(bytes.subarray(sent));
}

/** Starts a proxy to a loopback port; `delay` is one way, in milliseconds. */
export function startSlowProxy(port: number, delay: number): SlowProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const pumps: Promise<void>[] = [];
  const open = new Set<Deno.Conn>();
  let turns = 0;
  let heard = true;
  let frozen = false;
  const later = (work: () => void) => {
    setTimeout(work, delay);
  };
  const pump = async (from: Deno.Conn, to: Deno.Conn, passed: () => void, arrived: () => void) => {
    const buffer = new Uint8Array(65536);
    let writing = Promise.resolve();
    const ended = Promise.withResolvers<void>();
    try {
      for (let count; (count = await from.read(buffer)) !== null;) {
        const bytes = buffer.slice(0, count);
        arrived();
        later(() => {
          if (frozen) return;
          passed();
          writing = writing.then(() => writeAll(to, bytes)).catch(() => {});
        });
      }
    } catch {
      // The connection was ended: the other side is told in the same way.
    }
    later(() => {
      writing.then(() => to.closeWrite()).then(ended.resolve, ended.resolve);
    });
    await ended.promise;
  };
  const serve = async () => {
    for await (const client of listener) {
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      open.add(client).add(server);
      pumps.push(pump(client, server, () => {}, () => {
        if (heard) turns++;
        heard = false;
      }));
      pumps.push(pump(server, client, () => heard = true, () => {}));
    }
  };
  const close = () => {
    for (const connection of open) connection.close();
    open.clear();
  };
  const serving = serve();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    turns: () => turns,
    freeze: () => {
      frozen = true;
    },
    cut: close,
    async [Symbol.asyncDispose]() {
      listener.close();
      await serving;
      if (frozen) close();
      await Promise.all(pumps);
      close();
    },
  };
}
