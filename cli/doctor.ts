/**
 * `pushy doctor TARGET`: reaches a host step by step, and says what to do at the first step that fails.
 *
 * @module
 */

import { Command } from "./libraries.ts";
import { AuthenticationError, connect, type ConnectOptions, HostKeyError } from "../mod.ts";
import type { SshOptions } from "../transport/ssh.ts";
import type { BaseTransport, PopenOptions, TransportModule } from "../transport/popen.ts";
import { hintHere } from "./hints.ts";
import { describeError, Exit, Interrupted, interruptible } from "./failure.ts";
import {
  connectOptions,
  Questions,
  type SharedOptions,
  withSharedOptions,
} from "./shared_options.ts";
import { type Endpoint, sshEndpoint } from "./ssh_endpoint.ts";
import { isColoured, print } from "./terminal.ts";

/** The command. */
export function doctorCommand(): Command {
  return withSharedOptions(new Command("doctor"))
    .summary("find out why a host cannot be reached")
    .description(
      "Reaches a host step by step: its name, its port, its key and the login, what the login shell prints, the " +
        "interpreters that it has, the start of the agent, the clock. It says what to do at the first step that fails.",
    )
    .argument("<target>", 'where: "local:", "ssh:web1", "daemon:localhost"')
    .addHelpText(
      "after",
      `
Examples:
  pushy doctor ssh:web1
  pushy doctor ssh:me@web1:2222 --runtime python
  pushy doctor local:`,
    )
    .action(run);
}

/** The port of a transport, where its address names none. */
const PORTS: Record<string, number> = { ssh: 22, smb: 445, daemon: 10101 };

/** The transports; only the one that is used is loaded. */
const TRANSPORTS: Record<string, () => Promise<unknown>> = {
  local: () => import("../transport/local.ts"),
  ssh: () => import("../transport/ssh.ts"),
  smb: () => import("../transport/smb.ts"),
  daemon: () => import("../transport/daemon.ts"),
};

/** What a step found out; `skipped` where it does not apply. */
interface Finding {
  readonly text: string;
  readonly skipped?: boolean;
  /** Something is not as it should be, but the next step can be tried. */
  readonly warning?: string;
}

/** A step failed: what to do. */
class StepFailure extends Error {
  readonly advice: string;

  constructor(message: string, advice: string) {
    super(message);
    this.advice = advice;
  }
}

async function run(target: string, shared: SharedOptions): Promise<void> {
  const questions = new Questions();
  const options = await connectOptions(target, shared, questions);
  const colours = isColoured(Deno.stdout);
  const mark = (text: string, code: number) => colours ? `\x1b[${code}m${text}\x1b[0m` : text;
  await interruptible(async (signal) => {
    const host = new Host(target, { ...options, signal }, questions);
    const steps: [string, () => Promise<Finding>][] = [
      ["name", () => host.name()],
      ["port", () => host.port()],
      ["host key", () => host.key()],
      ["login", () => host.login()],
      ["login shell", () => host.shell()],
      ["interpreters", () => host.interpreters()],
      ["agent", () => host.agent()],
      ["clock", () => host.clock()],
    ];
    try {
      for (const [name, step] of steps) {
        try {
          const { text, skipped, warning } = await step();
          const sign = skipped ? "-" : warning ? mark("!", 33) : mark("✓", 32);
          print(`${sign} ${name}: ${text}\n`);
          if (warning) print(`    ${warning}\n`);
        } catch (error) {
          if (error instanceof Interrupted) throw error;
          // The hint is said below, as the advice.
          const what = describeError(error).replace(/\n {2}hint: .*$/m, "").trimEnd();
          print(`${mark("✗", 31)} ${name}: ${what}\n`);
          print(`    what to do: ${adviceOf(error, name)}\n`);
          throw new Exit(1);
        }
      }
      print(`${target} is in good health\n`);
    } finally {
      await host.close();
    }
  });
}

function adviceOf(error: unknown, step: string): string {
  if (error instanceof StepFailure) return error.advice;
  const { hint } = error as { hint?: unknown };
  if (typeof hint === "string") return hintHere(hint);
  return `look at the message; the step "${step}" is the one to mend`;
}

/** One host, and what was found out about it so far. */
class Host {
  readonly #target: string;
  readonly #transport: string;
  readonly #address: string;
  readonly #options: ConnectOptions;
  readonly #questions: Questions;
  #place: Promise<Endpoint | undefined> | undefined;
  #module: TransportModule | undefined;
  #entry: Promise<{ code: number | null } | undefined> | undefined;
  #connection: Awaited<ReturnType<typeof connect>> | undefined;

  constructor(target: string, options: ConnectOptions, questions: Questions) {
    const colon = target.indexOf(":");
    if (colon < 1) {
      throw new TypeError(
        `Cannot examine "${target}": a target is "transport:address", like "ssh:web1"`,
      );
    }
    this.#target = target;
    this.#transport = target.slice(0, colon);
    this.#address = target.slice(colon + 1);
    this.#options = options;
    this.#questions = questions;
  }

  /** Where the address leads, if that is a host that can be looked up from here. */
  #endpoint(): Promise<Endpoint | undefined> {
    return this.#place ??= this.#findEndpoint();
  }

  async #findEndpoint(): Promise<Endpoint | undefined> {
    const usual = PORTS[this.#transport];
    if (usual === undefined || this.#address.startsWith("/")) return undefined;
    const match = /^(?:([^@]*)@)?(?:\\\\)?(\[[^\]]+\]|[^:\\/]+)(?::(\d+))?/.exec(this.#address);
    if (!match) return undefined;
    const [, user, name, digits] = match;
    const host = name!.replace(/^\[|\]$/g, "");
    const port = digits ? Number(digits) : this.#options.port as number | undefined;
    if (this.#transport !== "ssh") return { host, port: port ?? usual };
    const username = user ?? this.#options.username as string | undefined;
    const { configFile, sshArgs } = this.#options as Partial<SshOptions>;
    const given = { port, username, configFile, sshArgs };
    return await sshEndpoint(host, given) ?? { host, port: port ?? usual };
  }

  async name(): Promise<Finding> {
    const endpoint = await this.#endpoint();
    if (!endpoint) return { text: "none to look up", skipped: true };
    const { host, proxy, alias } = endpoint;
    if (proxy) return { text: `${host} is behind ${proxy}`, skipped: true };
    const { lookup } = await import("node:dns/promises");
    try {
      const found = await lookup(host, { all: true });
      const addresses = found.map(({ address }) => address).join(", ");
      const named = alias ? `${alias} is ${host} in the ssh configuration` : host;
      return {
        text: addresses === host ? named : `${named}${alias ? ", which" : ""} is ${addresses}`,
      };
    } catch (cause) {
      throw new StepFailure(
        `${host} has no address (${(cause as Error).message})`,
        this.#transport === "ssh"
          ? "look at the spelling, at the aliases of ~/.ssh/config, at /etc/hosts, and at the name server"
          : "look at the spelling, at /etc/hosts, and at the name server",
      );
    }
  }

  async port(): Promise<Finding> {
    const endpoint = await this.#endpoint();
    if (!endpoint) return { text: "none", skipped: true };
    const { host, port, proxy } = endpoint;
    if (proxy) return { text: `${port}, which only ${proxy} can try`, skipped: true };
    const start = performance.now();
    try {
      await this.#knock(host, port);
      return { text: `${port} answers in ${(performance.now() - start).toFixed(1)} ms` };
    } catch (cause) {
      if (cause instanceof Interrupted) throw cause;
      throw new StepFailure(
        `${port} of ${host} does not answer: ${(cause as Error).message}`,
        cause instanceof Deno.errors.ConnectionRefused
          ? "is the server running, and is this its port?"
          : "look at the route and at firewalls between here and there",
      );
    }
  }

  async #knock(hostname: string, port: number): Promise<void> {
    const late = AbortSignal.timeout(this.#options.connectTimeout || 30_000);
    const signal = AbortSignal.any([late, this.#options.signal!]);
    const conn = await Deno.connect({ hostname, port, signal } as Deno.ConnectOptions);
    conn.close();
  }

  async #load(): Promise<TransportModule | undefined> {
    const load = TRANSPORTS[this.#transport];
    return this.#module ??= load && await load() as TransportModule;
  }

  /** Runs a command there; `undefined` where the transport starts none. */
  async #command(command: string[]): Promise<{ out: string; code: number | null } | undefined> {
    const module = await this.#load();
    if (!module || module.reaches === "interpreter") return undefined;
    const { runtime: _r, interpreter: _i, trace: _t, ...rest } = this.#options;
    const options = { ...rest, address: this.#address } as PopenOptions;
    const transport: BaseTransport = await module.Popen(command, options);
    try {
      const reading = new Response(transport.stdout).text();
      const errors = new Response(transport.stderr).text();
      if (!transport.stdin.locked) await transport.stdin.close().catch(() => {});
      const [out, , status] = await Promise.all([reading, errors, transport.status]);
      if (status.reason) throw status.reason;
      return { out, code: status.code };
    } finally {
      await transport.close();
    }
  }

  async key(): Promise<Finding> {
    if (this.#transport !== "ssh") return { text: "none", skipped: true };
    try {
      await (this.#entry = this.#command(["true"]));
    } catch (error) {
      if (error instanceof HostKeyError) throw error;
      // The next step tells of it.
      if (!(error instanceof AuthenticationError)) return { text: "not seen", skipped: true };
    }
    return { text: "the one that is known" };
  }

  async login(): Promise<Finding> {
    const result = await (this.#entry ??= this.#command(["true"]));
    if (!result) return { text: "comes with the agent", skipped: true };
    if (result.code !== 0) {
      throw new StepFailure(
        `the command "true" ended with status ${result.code}`,
        "does the account have a login shell, and is no other command forced on it?",
      );
    }
    this.#questions.trust();
    return { text: this.#transport === "local" ? "this machine" : "let in" };
  }

  async shell(): Promise<Finding> {
    const result = await this.#command(["echo", "pushy-doctor"]);
    if (!result) return { text: "none", skipped: true };
    const noise = result.out.replace("pushy-doctor\n", "").trim();
    if (noise === "") return { text: "prints nothing of its own" };
    const bytes = new TextEncoder().encode(noise).length;
    return {
      text: `prints ${bytes} bytes of its own`,
      warning: "up to 64 KiB are tolerated; let it print only where there is a terminal",
    };
  }

  async interpreters(): Promise<Finding> {
    const probe = "for i in deno node bun python3; do command -v $i >/dev/null 2>&1 && " +
      'echo "$i $($i --version 2>&1 | head -n 1)"; done; :';
    const result = await this.#command(["sh", "-c", probe]);
    if (!result) return { text: "one runs there already", skipped: true };
    const found = result.out.split("\n").filter((line) => /^(deno|node|bun|python3) /.test(line))
      .map((line) => `${line.split(" ")[0]} ${/\d+(\.\d+)+/.exec(line)?.[0] ?? "(no version)"}`);
    const wanted = this.#options.runtime === "python" ? "python3" : this.#options.runtime ?? "deno";
    const names = found.map((line) => line.split(" ")[0]!);
    const text = found.join(", ") || "none on the PATH";
    if (names.includes(wanted) || this.#options.interpreter) return { text };
    // The program that runs this is a Deno, and is used for "local:" wherever it is.
    if (this.#transport === "local" && wanted === "deno") return { text };
    const other = names[0] === "python3" ? "python" : names[0];
    throw new StepFailure(
      `there is no ${wanted} (${text})`,
      other
        ? `use --runtime ${other}, or name the path of a ${wanted} with --interpreter`
        : `install ${wanted}, or name its path with --interpreter`,
    );
  }

  async agent(): Promise<Finding> {
    const start = performance.now();
    const con = this.#connection = await connect(this.#target, this.#options);
    const { runtime, version, pid, platform } = con.interpreter;
    const time = (performance.now() - start).toFixed(0);
    return { text: `${runtime} ${version} on ${platform}, process ${pid}, after ${time} ms` };
  }

  async clock(): Promise<Finding> {
    const con = this.#connection!;
    const source = con.interpreter.runtime === "python"
      ? '__import__("time").time() * 1000'
      : "Date.now()";
    const before = Date.now();
    const there = await con.eval(source) as number;
    const after = Date.now();
    const ahead = Math.round(there - (before + after) / 2);
    const off = Math.abs(ahead) - (after - before) / 2;
    const text = Math.abs(ahead) < 100
      ? "the same as here"
      : `${Math.abs(ahead)} ms ${ahead > 0 ? "ahead" : "behind"}`;
    if (off < 5000) return { text };
    return {
      text,
      warning: "times of files will look wrong, and certificates may be refused: set the clock",
    };
  }

  async close(): Promise<void> {
    await this.#connection?.close();
  }
}
