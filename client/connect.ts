/**
 * `connect()`: from a target to a connection, with an end to every wait.
 *
 * @module
 */

import { closed } from "../protocol/trust.ts";

import { resolveLimits } from "../protocol/limits.ts";
import { Session } from "../protocol/session.ts";
import { parseShort } from "../protocol/short_json.ts";
import { largeArray } from "../runtime/large_arrays.ts";
import {
  agentBytes,
  agentRest,
  type Banner,
  BannerReader,
  BootstrapError,
  shortCommand,
  type Start,
  startOf,
} from "../runtime/bootstrap.ts";
import { type Platform, type Runtime, type RuntimeName, runtimeOf } from "../runtime/runtimes.ts";
import { ConnectionError } from "../transport/errors.ts";
import type { BaseTransport, PopenOptions, TransportModule } from "../transport/popen.ts";
import { callContext, LateContext } from "./context.ts";
import { Connection, type ConnectionParts } from "./connection.ts";
import {
  followStderr,
  Hold,
  type KeepAlive,
  Link,
  openSink,
  openSource,
  type Source,
  within,
} from "./link.ts";
import { OutputSink, Tail } from "./output.ts";
import { checkOptions, type ConnectOptions, type OptionsOf } from "./options.ts";
import { findTransport, parseTarget } from "./targets.ts";
import { Tracer } from "./trace.ts";

/**
 * Starts an interpreter on another machine, and connects to it.
 *
 * `target` is `transport:address`: `"local:"`, `"ssh:web1"`.
 *
 * Resolves to the connection. Rejects with a `BootstrapError`, `AuthenticationError`, `HostKeyError` or
 * `ConnectionError`, whose message says what was run, what was seen and what to try; with the signal's reason if
 * `options.signal` is aborted; and with a `TypeError` for a target or options that mean nothing.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 *
 * await using con = await connect("local:", { connectTimeout: 10_000 });
 * console.log(await con.modules.os.hostname());
 * ```
 */
export async function connect<R extends RuntimeName = "deno", T extends string = string>(
  target: T,
  options?: OptionsOf<T, R>,
): Promise<Connection<R>> {
  const { transport, address } = parseTarget(target);
  const given = (options ?? {}) as ConnectOptions;
  const runtime = runtimeOf(given.runtime ?? "deno");
  const attempt = new Attempt(target, transport, address, runtime, given);
  return await attempt.run() as Connection<R>;
}

const DEFAULT_TIMEOUT = 30_000;

/** What cmd.exe (Wine's too) and PowerShell say to a command line that is meant for a Unix shell. */
const WINDOWS_SHELL =
  /is not recognized as (an internal or external command|(the|a) name of a cmdlet)|Can't recognize '|was unexpected at this time|The system cannot find the path specified|FullyQualifiedErrorId|ParserError:/;

/** The other side is Windows, and was taken for something else. */
class OnWindows extends Error {}

/** One attempt to connect, by stages; whatever it has opened is closed if it fails. */
class Attempt {
  readonly #target: string;
  readonly #name: string;
  readonly #address: string;
  readonly #runtime: Runtime;
  readonly #options: ConnectOptions;
  readonly #deadline = new AbortController();
  #sinks: [stdout: OutputSink, stderr: OutputSink] | undefined;
  #tail = new Tail();
  readonly #tracer: Tracer | undefined;
  #stage = "";
  #platform: Platform;
  #start: Start = { command: [], env: {} };
  #transport: BaseTransport | undefined;
  /** Lets go of the transport's streams. */
  #opened: (() => void) | undefined;

  constructor(
    target: string,
    name: string,
    address: string,
    runtime: Runtime,
    options: ConnectOptions,
  ) {
    this.#target = target;
    this.#name = name;
    this.#address = address;
    this.#runtime = runtime;
    this.#options = options;
    this.#platform = options.platform ??
      (name === "local" && Deno.build.os === "windows" ? "windows" : "unix");
    this.#tracer = options.trace && new Tracer(options.trace);
  }

  get #command(): string[] {
    return this.#start.command;
  }

  #begin(stage: string): void {
    this.#stage = stage;
    this.#tracer?.stage(stage);
  }

  async run(): Promise<Connection> {
    const { signal, connectTimeout = DEFAULT_TIMEOUT } = this.#options;
    signal?.throwIfAborted();
    if (!(connectTimeout >= 0)) {
      throw new TypeError(
        `Cannot use connectTimeout ${connectTimeout}: it is a number of milliseconds`,
      );
    }
    const abort = () => this.#deadline.abort(signal!.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const timer = connectTimeout > 0
      ? setTimeout(() => this.#deadline.abort(new Late()), connectTimeout)
      : undefined;
    try {
      try {
        return await this.#connect();
      } catch (error) {
        await this.#undo();
        if (!(error instanceof OnWindows)) throw error;
        this.#platform = "windows";
        this.#tail = new Tail();
        return await this.#connect();
      }
    } catch (error) {
      await this.#undo();
      if (error instanceof Late) throw this.#lateError(connectTimeout);
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** What was opened is closed before an error is told, but a transport that cannot end does not hold it up. */
  async #undo(): Promise<void> {
    this.#opened?.();
    this.#opened = undefined;
    const transport = this.#transport;
    this.#transport = undefined;
    if (transport) await within(5000, transport.close());
  }

  #lateError(timeout: number): Error {
    const summary =
      `Cannot connect to "${this.#target}": the stage "${this.#stage}" did not end within ` +
      `${timeout} ms`;
    const hint = "if the host is only slow, give a larger connectTimeout";
    if (this.#command.length === 0 || this.#stage === "resolve" || this.#stage === "start") {
      return new ConnectionError(summary, {
        stage: this.#stage,
        command: shortCommand(this.#command),
        code: "ETIMEDOUT",
        stderr: String(this.#tail),
        hint,
      });
    }
    return new BootstrapError(summary, {
      stage: this.#stage,
      command: this.#command,
      stderr: String(this.#tail),
      hint,
    });
  }

  /** Waits for a promise, but not beyond the deadline or the signal. */
  async #before<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#deadline;
    signal.throwIfAborted();
    let abort!: () => void;
    const aborted = new Promise<never>((_, reject) => {
      abort = () => reject(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
    });
    try {
      return await Promise.race([promise, aborted]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #connect(): Promise<Connection> {
    const options = this.#options;
    this.#begin("resolve");
    const limits = resolveLimits(options.limits);
    const keepAlive = resolveKeepAlive(options.keepAlive);
    // A stream is taken once, also where a second start is tried.
    const [stdout, stderr] = this.#sinks ??= [
      new OutputSink(options.stdout ?? "inherit", 1),
      new OutputSink(options.stderr ?? "inherit", 2),
    ];
    const local = this.#name === "local";
    const cache = options.cache ?? local;
    if (options.permissions && this.#runtime.name !== "deno") {
      throw new TypeError(
        `Cannot use permissions with ${this.#runtime.name}: only Deno sees to them`,
      );
    }
    if (options.platform !== undefined && !/^(unix|windows)$/.test(options.platform)) {
      throw new TypeError(`Cannot use platform "${options.platform}": expected unix or windows`);
    }
    const module = await this.#before(findTransport(this.#name));
    checkOptions(this.#target, this.#name, module, options);
    const starts = module.reaches !== "interpreter";
    this.#begin("start");
    if (starts) {
      this.#start = startOf(this.#runtime, this.#interpreter(local), {
        permissions: options.permissions,
        cache,
        platform: this.#platform,
        guarded: local,
      });
    }
    const transport = await this.#before(this.#open(module));
    this.#transport = transport;
    const following = followStderr(transport, this.#tail);
    const tracer = this.#tracer;
    const source = openSource(transport);
    const sink = openSink(transport);
    const hold = new Hold(transport);
    this.#opened = () => {
      sink.close();
      source.cancel();
      following.cancel();
    };

    this.#begin("banner");
    // What runs already says only in its banner whether it has threads.
    const late = starts || options.runtime !== undefined ? undefined : new LateContext();
    const context = late ?? (this.#runtime.threads ? await this.#before(callContext()) : undefined);
    const session: Session = new Session({
      access: closed,
      parseShort,
      makeArray: largeArray,
      context,
      limits,
      ...starts ? { rest: agentRest(this.#runtime, !local) } : {},
      send: tracer === undefined ? (bytes) => sink.write(bytes) : (bytes) => {
        tracer.frames("sent", bytes);
        return sink.write(bytes);
      },
      gcEnabled: () => parts.gcEnabled,
      onOutput: (descriptor, bytes) => (descriptor === 2 ? stderr : stdout).write(bytes),
      onBusy: (busy) => hold.busy = busy,
      onClose: (reason) => settleClosed(reason),
    });
    let settleClosed!: (reason: Error) => void;
    const over = new Promise<Error>((resolve) => settleClosed = resolve);
    const parts = {
      session,
      transport,
      gcEnabled: options.gcEnabled ?? true,
      gcInterval: options.gcInterval ?? 5000,
    } as ConnectionParts;

    if (starts) {
      const agent = agentBytes(this.#runtime, !local);
      sink.write(agent).catch(() => {
        // The process has ended: the missing banner tells of it.
      });
    }
    const { frameBytes, valueBytes, depth, streamWindow } = limits;
    session.hello({
      cache,
      // What this side would refuse is to be refused there, where it is the one call's error.
      limits: { frameBytes, valueBytes, depth, streamWindow },
      gcInterval: parts.gcInterval,
    });
    // An agent that spins is ended there by a part of the rest.
    if (this.#platform === "windows") session.reaching?.sendRest();
    const reader = new BannerReader();
    parts.banner = await this.#before(this.#awaitBanner(source, reader, following.done));
    if (!starts) this.#checkRuntime(parts.banner);
    if (parts.banner.threads && late) late.become(await this.#before(callContext()));
    following.to(stderr);
    this.#begin("connected");
    if (tracer) {
      tracer.frames("received", reader.rest);
      traceSource(source, tracer);
    }
    const link = new Link({
      transport,
      session,
      hold,
      source,
      sink,
      stderr: { done: following.done, tail: this.#tail, cancel: following.cancel },
      outputs: [stdout, stderr],
      outputBytes: limits.outputBytes,
      keepAlive,
      onUnresponsive: (unresponsive) =>
        connection.dispatchEvent(new Event(unresponsive ? "unresponsive" : "responsive")),
    });
    parts.link = link;
    const connection = new Connection(parts, over);
    connection.gcInterval = parts.gcInterval;
    if (reader.rest.length > 0) session.receive(reader.rest);
    if (session.stats.pending === 0) hold.busy = false;
    return connection;
  }

  #open(module: TransportModule): Promise<BaseTransport> {
    const {
      runtime: _r,
      interpreter: _i,
      permissions: _p,
      cache: _c,
      stdout: _o,
      stderr: _e,
      gcEnabled: _g,
      gcInterval: _n,
      limits: _l,
      trace: _t,
      ...options
    } = this.#options;
    const { command, env } = this.#start;
    const opening = module.Popen(command, {
      ...options,
      ...Object.keys(env).length > 0 ? { env: { ...env, ...options.env } } : {},
      platform: this.#platform,
      address: this.#address,
      signal: this.#deadline.signal,
      connectTimeout: this.#options.connectTimeout ?? DEFAULT_TIMEOUT,
    } as PopenOptions);
    // If it opens after all, once nobody waits for it any more, it is closed.
    const { signal } = this.#deadline;
    opening.then((transport) => {
      if (signal.aborted) void transport.close();
    }, () => {});
    return opening;
  }

  #interpreter(local: boolean): readonly string[] {
    const { interpreter } = this.#options;
    if (interpreter !== undefined) {
      const words = typeof interpreter === "string" ? [interpreter] : [...interpreter];
      if (words.length === 0 || words.some((word) => typeof word !== "string" || word === "")) {
        throw new TypeError("Cannot use an empty interpreter: give its path, or an argv");
      }
      return words;
    }
    // A compiled program is not an interpreter.
    if (local && this.#runtime.name === "deno" && !Deno.build.standalone) return [Deno.execPath()];
    return [this.#runtime.program];
  }

  /** What runs already must be what was asked for. */
  #checkRuntime({ runtime }: Banner): void {
    const wanted = this.#options.runtime;
    if (wanted === undefined || wanted === runtime) return;
    throw new BootstrapError(
      `Cannot connect to "${this.#target}": ${runtime} answers there, not ${wanted}`,
      {
        stage: "banner",
        command: this.#command,
        stderr: String(this.#tail),
        hint:
          "leave runtime out to take whatever answers; a server's own interpreters are those of " +
          `run({ runtime: ${JSON.stringify(wanted)}, isolate: "process" })`,
      },
    );
  }

  async #awaitBanner(source: Source, reader: BannerReader, stderr: Promise<void>): Promise<Banner> {
    const details = () => ({
      stage: "banner",
      command: this.#command,
      stderr: String(this.#tail),
      stdout: reader.noise,
    });
    const what = `Cannot connect to "${this.#target}": `;
    for (;;) {
      let length: number | null;
      try {
        length = await source.read();
      } catch {
        length = null;
      }
      if (length === null) break;
      try {
        if (reader.push(source.buffer.subarray(0, length))) return reader.banner!;
      } catch (cause) {
        throw new BootstrapError(what + (cause as Error).message, {
          ...details(),
          hint: "is this the interpreter? A login shell that prints a lot must be quiet",
          cause,
        });
      }
    }
    const transport = this.#transport!;
    await within(2000, Promise.all([transport.status, stderr]));
    const status = await Promise.race([transport.status, Promise.resolve(undefined)]);
    const said = String(this.#tail);
    if (
      this.#platform === "unix" && this.#options.platform === undefined &&
      this.#command.length > 0 && WINDOWS_SHELL.test(said)
    ) throw new OnWindows();
    // A transport may have found the same out; it does not know what else there is.
    const reason = status?.reason as Error & { stage?: string; code?: string } | undefined;
    const absent = reason?.stage === "start" && reason.code === "ENOENT";
    if (reason && !absent) throw reason;
    const missing = absent || status?.code === 127 ||
      /not found|No such file/i.test(said) || (this.#platform === "windows" &&
        (status?.code === 9009 || /is not recognized as/.test(said)));
    const program = this.#command.length > 0
      ? this.#interpreter(this.#name === "local").join(" ")
      : "";
    if (missing && this.#command.length > 0) {
      const others = await this.#findInterpreters();
      throw new BootstrapError(`${what}the interpreter ${program} was not found there`, {
        ...details(),
        status: status?.code ?? undefined,
        hint: this.#options.interpreter !== undefined && others.includes(this.#runtime.program)
          ? `the host has ${others.join(", ")}: look at the path, or leave { interpreter } out`
          : others.length > 0
          ? `the host has ${others.join(", ")}: connect with { runtime: ${
            JSON.stringify(others[0] === "python3" ? "python" : others[0])
          } }, or name the interpreter's path with { interpreter }`
          : "install one of deno, node, bun or python3 there, or name its path with { interpreter }",
        cause: reason,
      });
    }
    throw new BootstrapError(`${what}the interpreter ended before its agent answered`, {
      ...details(),
      status: status?.signal ?? status?.code ?? undefined,
      hint: program === "" ? "the server's log says why" : this.#runtime.hint?.(said) ??
        `does "${program}" run there, and is it a ${this.#runtime.name}?`,
    });
  }

  /** Which interpreters the host has, so that the error can name them. */
  async #findInterpreters(): Promise<string[]> {
    if (this.#platform === "windows") return [];
    try {
      const module = await findTransport(this.#name);
      // Red Hat's own Python is on no PATH; the runtime looks for it there too.
      const probe =
        "for i in deno node bun python3; do command -v $i >/dev/null 2>&1 && echo PUSHY-HAS $i; done; " +
        "test -x /usr/libexec/platform-python && echo PUSHY-HAS python3; :";
      const saved = this.#start;
      this.#start = { command: ["sh", "-c", probe], env: {} };
      const opening = this.#open(module);
      this.#start = saved;
      const transport = await this.#before(opening);
      try {
        const text = await this.#before(new Response(transport.stdout).text());
        const names = [...text.matchAll(/PUSHY-HAS (\w+)/g)].map((match) => match[1]!);
        return [...new Set(names)];
      } finally {
        await within(2000, transport.close());
      }
    } catch {
      // It was only for the hint.
      return [];
    }
  }
}

function traceSource(source: Source, tracer: Tracer): void {
  const read = source.read.bind(source);
  source.read = async () => {
    const length = await read();
    if (length !== null) tracer.frames("received", source.buffer.subarray(0, length));
    return length;
  };
}

/** The deadline of an attempt has passed. */
class Late extends Error {}

function resolveKeepAlive(keepAlive: ConnectOptions["keepAlive"]): Required<KeepAlive> {
  const given = typeof keepAlive === "object"
    ? keepAlive
    : { interval: keepAlive === false ? 0 : keepAlive };
  const { interval = 15_000, whileBusy = false } = given;
  if (!(interval >= 0)) {
    throw new TypeError(
      `Cannot use keepAlive ${interval}: it is a number of milliseconds, or false`,
    );
  }
  return { interval, whileBusy };
}
