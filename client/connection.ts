/**
 * The connection: what a user holds.
 *
 * @module
 */

import { ByRef, type RefOptions } from "../protocol/access.ts";
import { Kwargs } from "../protocol/crossing_live.ts";
import { How } from "../protocol/messages.ts";
import { type Base, type Caller, makeStub, stubInfo, Way } from "../protocol/proxy.ts";
import type { CallOptions, Session, SessionStats } from "../protocol/session.ts";
import type { Banner } from "../runtime/bootstrap.ts";
import type { RuntimeName } from "../runtime/runtimes.ts";
import type { Files } from "../runtime/js/files.ts";
import type { BaseTransport } from "../transport/popen.ts";
import {
  checkFileOptions,
  copyFiles,
  type FileOptions,
  isPlainCopy,
  localSide,
  ownCopy,
  type Side,
} from "./files.ts";
import type { Link } from "./link.ts";
import type {
  AnyFunction,
  Globals,
  Local,
  Modules,
  Remote,
  RemotePromise,
  Scope,
  Untyped,
} from "./remote.ts";

/** What a connection is made of. */
export interface ConnectionParts {
  session: Session;
  link: Link;
  transport: BaseTransport;
  banner: Banner;
  gcEnabled: boolean;
  gcInterval: number;
}

/** Names that a compiled function sees. */
export interface CompileOptions {
  /** Values that the function uses by these names. */
  scope?: Record<string, unknown> | Scope;
}

/** For Python there are no types: what it has is only known there. */
// deno-lint-ignore no-explicit-any
export type Anything = any;

/** What a call gives of which nothing is known: for Python `any`, as its types cannot be known here. */
export type UntypedOf<R extends RuntimeName> = R extends "python" ? Anything : Untyped;

/** The variables of a scope, as a connection to a runtime has them. */
export type ScopeOf<R extends RuntimeName> = R extends "python" ? Anything : Scope;

/** The remote modules, as a connection to a runtime has them. */
export type ModulesOf<R extends RuntimeName> = R extends "python" ? Anything : Modules;

/** What the other side's root has: one way to each, so that it knows where programs went on from there. */
const ROOTS = {
  modules: new Way(["modules"]),
  globals: new Way(["globals"]),
  builtins: new Way(["builtins"]),
  import: new Way(["import"]),
  eval: new Way(["eval"]),
  execute: new Way(["execute"]),
  scope: new Way(["scope"]),
  compile: new Way(["compile"]),
  files: new Way(["files"]),
};

/**
 * A live interpreter on the other side.
 *
 * Events: `"unresponsive"` when the peer gives no sign of life while it works on a call, and
 * `"responsive"` when it does again.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 *
 * await using con = await connect("local:");
 * console.log(await con.modules.os.hostname());
 * console.log(await con.eval("1 + 2")); // 3
 * ```
 */
export class Connection<R extends RuntimeName = "deno"> extends EventTarget
  implements AsyncDisposable {
  readonly #parts: ConnectionParts;
  readonly #caller: Caller;
  #gcEnabled: boolean;
  #gcInterval: number;

  /** Resolves when the connection is over, to the reason: a `ConnectionClosedError` if this side closed it. */
  readonly closed: Promise<Error>;

  /** Connections are made by `connect()`. */
  constructor(parts: ConnectionParts, closed: Promise<Error>, caller?: Caller) {
    super();
    this.#parts = parts;
    this.closed = closed;
    this.#caller = caller ?? parts.session.caller;
    this.#gcEnabled = parts.gcEnabled;
    this.#gcInterval = parts.gcInterval;
  }

  /**
   * The remote modules: reading a name imports it.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * console.log(await con.modules.os.platform());
   * console.log(await con.modules["fs/promises"].readFile("/etc/hostname", "utf8"));
   * ```
   */
  get modules(): ModulesOf<R> {
    return this.#stub("modules") as ModulesOf<R>;
  }

  /** The remote `globalThis`. */
  get globals(): R extends "python" ? Anything : Globals {
    return this.#stub("globals") as R extends "python" ? Anything : Globals;
  }

  /** Python's own functions and classes: `await con.builtins.len(list)`. */
  get builtins(): R extends "python" ? Anything : never {
    return this.#stub("builtins") as R extends "python" ? Anything : never;
  }

  /** The transport; its streams are locked while the connection holds them. */
  get transport(): BaseTransport {
    return this.#parts.transport;
  }

  /** Which interpreter is at the other end: its runtime, version, process id and platform. */
  get interpreter(): Banner {
    return this.#parts.banner;
  }

  /** Live numbers. */
  get stats(): SessionStats {
    return this.#parts.session.stats;
  }

  /** Are references that were collected here given back to the remote side? Default: true. */
  get gcEnabled(): boolean {
    return this.#gcEnabled;
  }

  set gcEnabled(enabled: boolean) {
    this.#gcEnabled = this.#parts.gcEnabled = enabled;
  }

  /** How often collected references are given back, in milliseconds. Default: 5000. */
  get gcInterval(): number {
    return this.#gcInterval;
  }

  set gcInterval(interval: number) {
    if (!(interval > 0)) {
      throw new RangeError(`Cannot set gcInterval to ${interval}: it must be positive`);
    }
    this.#gcInterval = interval;
    this.#parts.link.every(interval, () => this.#parts.session.tick());
  }

  #stub(name: keyof typeof ROOTS): unknown {
    return makeStub(this.#caller, null, ROOTS[name]);
  }

  #call(name: keyof typeof ROOTS, args: unknown[]): unknown {
    return (this.#stub(name) as AnyFunction)(...args);
  }

  /**
   * Imports a remote module by its name, a path there, or a URL.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * const path = await con.import<typeof import("node:path")>("path");
   * console.log(await path.join("a", "b"));
   * ```
   */
  import<M = unknown>(name: string): unknown extends M ? UntypedOf<R> : RemotePromise<M> {
    return this.#call("import", [name]) as unknown extends M ? UntypedOf<R> : RemotePromise<M>;
  }

  /**
   * Evaluates an expression, in which `await` may be used, and gives its value. Source that is no expression is run as
   * statements, and gives the value of the last one.
   *
   * Without a scope it is evaluated in the connection's own, which keeps what is declared in it. Values in place of a
   * scope are the variables of one that nothing else sees. The source is JavaScript: types are not removed from it.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * console.log(await con.eval("x * 2", { x: 21 })); // 42
   * ```
   */
  eval<T = unknown>(
    code: string,
    scope?: Scope | Record<string, unknown>,
  ): unknown extends T ? UntypedOf<R> : RemotePromise<T> {
    return this.#call("eval", this.#within(code, scope)) as unknown extends T ? UntypedOf<R>
      : RemotePromise<T>;
  }

  /**
   * Runs statements. What they declare, `let`, `const` and classes included, is visible to the next
   * `execute` and `eval` with the same scope. It is sloppy mode, without top-level `await`. Values in place of a scope are
   * the variables of one that ends with the call.
   */
  execute(source: string, scope?: Scope | Record<string, unknown>): RemotePromise<void> {
    return this.#call("execute", this.#within(source, scope)) as RemotePromise<void>;
  }

  #within(source: string, scope: Scope | Record<string, unknown> | undefined): unknown[] {
    if (scope === undefined) return [source];
    if (stubInfo(scope)) return [source, scope];
    // What is no object would be taken for something else there.
    if (typeof scope !== "object" || scope === null) {
      throw new TypeError(
        `Cannot run code with ${scope === null ? "null" : `a ${typeof scope}`} for a scope: ` +
          "a scope is made by con.scope({ … }), or is an object of variables",
      );
    }
    return [source, scope];
  }

  /** Makes a scope: variables that outlive the code which made them. They are its properties. */
  scope(initial: Record<string, unknown> = {}): ScopeOf<R> {
    return this.#call("scope", [initial]) as ScopeOf<R>;
  }

  /**
   * Makes a remote function of a function here, or of source.
   *
   * A function's source is sent, and nothing else of it: what it uses from around it must be named in
   * `options.scope`, or exist on the remote side. It runs in strict mode, wholly on the remote side.
   *
   * Rejects with a `TypeError` for native and bound functions, which have no source, and with a `SyntaxError` for source
   * that is none.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * const add = await con.compile((a: number, b: number) => a + b);
   * console.log(await add(1, 2)); // 3
   * ```
   */
  compile<F extends AnyFunction>(source: F, options?: CompileOptions): RemotePromise<F>;
  /** Makes a remote function of its source. */
  compile(source: string, options?: CompileOptions): UntypedOf<R>;
  compile(source: string | AnyFunction, options: CompileOptions = {}): unknown {
    const text = typeof source === "string" ? source : this.#sourceOf(source);
    const { scope } = options;
    // The agents for JavaScript make functions with the rest of themselves.
    if (this.#parts.banner.runtime !== "python") this.#parts.session.reaching?.sendRest();
    if (stubInfo(scope)) return this.#call("compile", [text, [], [], scope]);
    const names = Object.keys(scope ?? {});
    return this.#call("compile", [
      text,
      names,
      names.map((name) => (scope as Record<string, unknown>)[name]),
    ]);
  }

  #sourceOf(source: AnyFunction): string {
    const name = source.name ? ` ${source.name}` : "";
    if (stubInfo(source)) {
      throw new TypeError("Cannot compile a remote function: it is there already");
    }
    if (this.#parts.banner.runtime === "python") {
      throw new TypeError(
        `Cannot compile the function${name} for Python: it is TypeScript. ` +
          "Pass Python source as a string, or pass the function itself as a callback",
      );
    }
    const text = Function.prototype.toString.call(source);
    if (/\{\s*\[native code\]\s*\}\s*$/.test(text)) {
      throw new TypeError(
        `Cannot compile the function${name}: it is native or bound, and has no source`,
      );
    }
    return text;
  }

  /** Sets a property of a remote object. (A plain assignment works too; if it fails, that is an unhandled rejection.) */
  async set(object: object, key: string, value: unknown): Promise<void> {
    await this.#onProperty(object, key, How.set, [value]);
  }

  /** Has a remote object this property, its own or an inherited one? */
  async has(object: object, key: string): Promise<boolean> {
    return await this.#onProperty(object, key, How.has, []) as boolean;
  }

  /** Deletes a property of a remote object. */
  async delete(object: object, key: string): Promise<void> {
    await this.#onProperty(object, key, How.delete, []);
  }

  /** The names of a remote object's own properties. */
  async keys(object: object): Promise<string[]> {
    const info = this.#info(object);
    return await this.#perform(info.base, info.path, How.keys, []) as string[];
  }

  #onProperty(object: object, key: string, how: How, args: unknown[]): Promise<unknown> {
    const info = this.#info(object);
    return this.#perform(info.base, [...info.path, key], how, args);
  }

  #perform(base: Base, path: readonly string[], how: How, args: unknown[]): Promise<unknown> {
    const caller = this.#caller;
    return caller.pull(caller.call(base, path, how, args, true).question);
  }

  #info(object: object) {
    const info = stubInfo(object);
    if (info?.caller.session !== this.#parts.session.caller.session) {
      throw new TypeError("Cannot use this here: it is not a remote object of this connection");
    }
    return info;
  }

  /**
   * The same connection, whose calls end when `signal` is aborted or after `timeout` milliseconds: the remote side is
   * told, and the call rejects at once with the signal's reason. Without it a call has no time limit.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * const quick = con.with({ timeout: 100 });
   * await quick.eval("new Promise(() => {})").catch((error) => console.log(error.name)); // TimeoutError
   * ```
   */
  with(options: CallOptions): Connection<R> {
    return new Connection<R>(
      this.#parts,
      this.closed,
      this.#parts.session.caller.with(options),
    );
  }

  /**
   * Copies a file of the remote side to a local path, or with `recursive` a folder.
   *
   * A single file goes by the transport's own means if it has some, and no option asks for more than those can do;
   * everything else over the connection. A file appears at the destination when it is complete, or not at all, and so
   * does a folder that is new; in a folder that is there each file does. A destination that is a link to a file is
   * followed; links inside a folder are made again, and one that leads out of it is refused.
   *
   * Rejects with a {@linkcode CopyError}, whose `code` says why; with a `ConnectionLostError`; or with the reason of
   * `options.signal`.
   *
   * @example
   * ```ts
   * import { connect } from "@pushy/core";
   *
   * await using con = await connect("local:");
   * const folder = await Deno.makeTempDir();
   * await con.getfile("/etc/hosts", `${folder}/hosts`, {
   *   checksum: "sha256",
   *   onProgress: ({ bytes, total }) => console.log(bytes, "of", total),
   * });
   * await Deno.remove(folder, { recursive: true });
   * ```
   */
  async getfile(remotePath: string, localPath: string, options: FileOptions = {}): Promise<void> {
    checkFileOptions(options);
    const { transport } = this.#parts;
    if (transport.getfile && isPlainCopy(options)) {
      return await ownCopy(
        { source: "remote", from: remotePath, to: localPath },
        options,
        (narrow) => this.#held(transport.getfile!(remotePath, localPath, narrow)),
      );
    }
    await copyFiles(this.#remoteSide(), remotePath, localSide(), localPath, options);
  }

  /**
   * Copies a local file to a path of the remote side, or with `recursive` a folder. All that is said of
   * {@linkcode Connection.getfile} holds here too, but that a link which leads out of a folder is made as it is.
   */
  async putfile(localPath: string, remotePath: string, options: FileOptions = {}): Promise<void> {
    checkFileOptions(options);
    const { transport } = this.#parts;
    if (transport.putfile && isPlainCopy(options)) {
      return await ownCopy(
        { source: "local", from: localPath, to: remotePath },
        options,
        (narrow) => this.#held(transport.putfile!(localPath, remotePath, narrow)),
      );
    }
    await copyFiles(localSide(), localPath, this.#remoteSide(), remotePath, options);
  }

  /** Holds the program for as long as the transport does something that the session knows nothing of. */
  async #held<T>(work: Promise<T>): Promise<T> {
    const { session } = this.#parts;
    session.waiting(true);
    try {
      return await work;
    } finally {
      session.waiting(false);
    }
  }

  #remoteSide(): Side {
    this.#parts.session.reaching?.sendRest();
    const files = this.#stub("files") as Files;
    return { files, name: "remote", windows: /^win/i.test(this.#parts.banner.platform) };
  }

  /** Ends the remote interpreter; resolves when nothing of it is left here. May be called more than once. */
  async close(): Promise<void> {
    await this.#parts.link.close();
  }

  /** The same as {@linkcode Connection.close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** What `console.log` shows. */
  [Symbol.for("Deno.customInspect")](): string {
    const { runtime, version, pid } = this.#parts.banner;
    const state = this.#parts.session.closeReason ? "closed" : "open";
    return `Connection { ${runtime} ${version}, pid ${pid}, ${state} }`;
  }
}

/** Is this a remote reference, or the promise of one? */
export function isRemote(value: unknown): boolean {
  return stubInfo(value) !== undefined;
}

/**
 * Marks an object to go by reference where it would go by value; or opens its own fields to the remote side: to
 * be read (`fields`), to be written (`writable`).
 *
 * @example
 * ```ts
 * import { byRef, connect } from "@pushy/core";
 *
 * await using con = await connect("local:");
 * const counter = { count: 0 };
 * const add = await con.compile(async (c: { count: number }) => {
 *   c.count = (await c.count) + 1;
 * });
 * await add(byRef(counter, { fields: true, writable: true }));
 * console.log(counter.count); // 1
 * ```
 */
export function byRef<T extends object>(value: T, options: RefOptions = {}): T {
  if (typeof value !== "object" && typeof value !== "function" || value === null) {
    throw new TypeError(`Cannot pass ${String(value)} by reference: it is not an object`);
  }
  return new ByRef(value, options) as unknown as T;
}

/** The value of what a reference stands for: its own fields, as they are now. */
export async function copy<T>(reference: T): Promise<Remote<T>> {
  const info = stubInfo(reference);
  if (!info) return reference as Remote<T>;
  const { caller } = info;
  const { question } = caller.call(info.base, info.path, How.copy, [], true);
  return await caller.pull(question) as Remote<T>;
}

/** Gives a reference back early: the remote object may go. Using it afterwards is an error. */
export function release(reference: unknown): void {
  const info = stubInfo(reference);
  if (!info) throw new TypeError("Cannot release this: it is not a remote reference");
  info.caller.release(info.base);
}

/** Keyword arguments for a Python function: the last argument of a call. */
export function kwargs(values: Record<string, Local<unknown>>): Kwargs {
  return new Kwargs({ ...values });
}
