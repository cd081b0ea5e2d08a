/**
 * The interpreter's modules, as properties: reading a name imports it.
 *
 * @module
 */

import { STEP, type Stepping } from "../../protocol/access.ts";
import { How } from "../../protocol/messages.ts";
import { host } from "./host.ts";

/** Reading a property of it imports the module of that name. */
export class Modules implements Stepping {
  readonly #loaded = new Map<string, unknown>();
  readonly #import: (name: string) => Promise<unknown>;

  /** Imports by `importModule`. */
  constructor(importModule: (name: string) => Promise<unknown>) {
    this.#import = importModule;
  }

  [STEP](how: How, key: string): unknown {
    if (how === How.keys) return [...this.#loaded.keys()];
    if (how !== How.get) throw new TypeError("Modules can only be read");
    const loaded = this.#loaded.get(key);
    if (loaded) return loaded;
    return this.#import(key).then((module) => {
      this.#loaded.set(key, module);
      return module;
    });
  }
}

/** Imports a module by its name, a path from the working folder, or a URL. */
export async function importModule(name: string, cached: boolean): Promise<unknown> {
  if (typeof name !== "string" || name === "") {
    throw new TypeError(`Cannot import ${String(name)}: a module has a name`);
  }
  if (/^\.{0,2}\//.test(name) || /^[A-Za-z]:[\\/]/.test(name)) {
    const { resolve } = await import("node:path");
    return await importFile(resolve(name));
  }
  if (host.name === "deno") {
    const fetched = /^(npm|jsr|https?):/.test(name);
    if (fetched && !cached) {
      throw new TypeError(
        `Cannot import ${name}: it would be written to the remote's cache folder. ` +
          `Connect with { cache: true } to allow that`,
      );
    }
    // A name alone is that of one of Node's modules, or an error, which Deno words better.
    if (!name.includes(":")) return await import(`node:${name}`).catch(() => import(name));
    return await import(name);
  }
  if (/^[a-z]+:/.test(name)) return await import(name);
  // A package is looked for where a script in the working folder would find it; a module of Node's has no path.
  const { createRequire } = await import("node:module");
  const resolved = createRequire(`${host.cwd()}/`).resolve(name);
  return await (/^\w:\\|^\//.test(resolved) ? importFile(resolved) : import(resolved));
}

async function importFile(path: string): Promise<unknown> {
  const { pathToFileURL } = await import("node:url");
  return await import(pathToFileURL(path).href);
}
