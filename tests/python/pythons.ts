/**
 * The Python interpreters that this machine has.
 *
 * @module
 */

import { connect, type Connection, type ConnectOptions } from "../../mod.ts";

/** An interpreter, and its version. */
export interface Python {
  path: string;
  version: string;
  pypy: boolean;
}

async function probe(path: string): Promise<Python | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(path, {
      args: ["-c", "import sys;print('%d.%d.%d'%sys.version_info[:3],sys.implementation.name)"],
      stderr: "null",
    }).output();
    if (!success) return undefined;
    const [version, name] = new TextDecoder().decode(stdout).trim().split(" ");
    if (version!.startsWith("2.")) return undefined;
    return { path, version: version!, pypy: name === "pypy" };
  } catch {
    return undefined;
  }
}

async function find(): Promise<Python[]> {
  const paths = ["/usr/bin/python3", "/usr/bin/pypy3"];
  const home = Deno.env.get("HOME");
  try {
    for await (const { name } of Deno.readDir(`${home}/.pyenv/versions`)) {
      paths.push(`${home}/.pyenv/versions/${name}/bin/python3`);
    }
  } catch {
    // No pyenv here.
  }
  const found = await Promise.all(paths.sort().map(probe));
  return found.filter((python) => python !== undefined);
}

/** All of them. */
export const PYTHONS: readonly Python[] = await find();

/** The one that most tests use. */
export const PYTHON = PYTHONS.find(({ path }) => path === "/usr/bin/python3") ?? PYTHONS[0];

/** A connection to an interpreter of this machine, without types. */
export async function python(
  options: ConnectOptions<"python"> = {},
  interpreter: string | readonly string[] = PYTHON!.path,
): Promise<Connection<"python">> {
  return await connect("local:", { runtime: "python", interpreter, ...options });
}

/** A promise that keeps the program alive: an idle connection does not. */
export async function held<T>(promise: Promise<T>): Promise<T> {
  const timer = setInterval(() => {}, 1000);
  try {
    return await promise;
  } finally {
    clearInterval(timer);
  }
}

/** A stream that keeps what is written to it, and can be waited on. */
export class Printed extends WritableStream<Uint8Array> {
  text = "";
  #waiting: (() => void)[] = [];

  constructor() {
    const decoder = new TextDecoder();
    super({
      write: (bytes) => {
        this.text += decoder.decode(bytes, { stream: true });
        for (const check of [...this.#waiting]) check();
      },
    });
  }

  /** Resolves when `part` has been printed. */
  has(part: string): Promise<void> {
    return held(
      new Promise((resolve) => {
        const check = () => {
          if (!this.text.includes(part)) return;
          this.#waiting = this.#waiting.filter((other) => other !== check);
          resolve();
        };
        this.#waiting.push(check);
        check();
      }),
    );
  }
}
