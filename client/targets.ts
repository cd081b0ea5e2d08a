/**
 * Targets and the transports that they name.
 *
 * @module
 */

import * as local from "../transport/local.ts";
import type { PopenOptions, TransportModule } from "../transport/popen.ts";

const registered = new Map<string, () => Promise<TransportModule>>([
  ["local", () => Promise.resolve(local as TransportModule)],
  ["ssh", async () => await import("../transport/ssh.ts") as TransportModule],
  ["smb", async () => await import("../transport/smb.ts") as TransportModule],
  ["daemon", async () => await import("../transport/daemon.ts") as TransportModule],
]);

/** Takes a target apart, or says what is wrong with it. */
export function parseTarget(target: string): { transport: string; address: string } {
  if (typeof target !== "string") {
    throw new TypeError(
      `Cannot connect to ${String(target)}: a target is a string, like "ssh:web1"`,
    );
  }
  const colon = target.indexOf(":");
  if (colon < 1) {
    throw new TypeError(
      `Cannot connect to "${target}": a target is "transport:address", like "local:" or "ssh:web1"`,
    );
  }
  return { transport: target.slice(0, colon), address: target.slice(colon + 1) };
}

/** The module of a transport, or a `TypeError` that lists those there are. */
export function findTransport(name: string): Promise<TransportModule> {
  const load = registered.get(name);
  if (!load) {
    throw new TypeError(
      `Cannot connect by "${name}:": the transports are ${
        [...registered.keys()].map((known) => `${known}:`).join(", ")
      } (see registerTransport)`,
    );
  }
  return load();
}

/**
 * Makes a transport of one's own known: afterwards `connect("<name>:<address>")` uses its `Popen`.
 *
 * Throws a `TypeError` if the name is taken, or is no name, or the module has no `Popen`.
 *
 * @example
 * ```ts
 * import { connect, registerTransport } from "@pushy/core";
 * import { Popen } from "@pushy/core/transport/local";
 *
 * registerTransport("nice", {
 *   Popen: (command, options) => Popen(["nice", ...command], { ...options, address: "" }),
 * });
 * await using con = await connect("nice:");
 * console.log(await con.eval("1 + 2"));
 * ```
 */
export function registerTransport<Options extends PopenOptions>(
  name: string,
  module: TransportModule<Options>,
): void {
  if (!/^[a-z][a-z0-9+.-]*$/i.test(name)) {
    throw new TypeError(`Cannot register transport "${name}": that is not a name`);
  }
  if (registered.has(name)) throw new TypeError(`Cannot register transport "${name}": it is taken`);
  if (typeof module?.Popen !== "function") {
    throw new TypeError(`Cannot register transport "${name}": it has no Popen`);
  }
  registered.set(name, () => Promise.resolve(module as unknown as TransportModule));
}
