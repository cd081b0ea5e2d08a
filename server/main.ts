/**
 * The server as a program: `deno task server`, or `deno run -A jsr:@pushy/core/server/main`.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { DEFAULT_PORT, probe } from "../transport/daemon.ts";
import { type FlagName, FLAGS, sayWhatIsWrong } from "./flags.ts";
import { DEFAULT_GRACE, guardEnd } from "./last_resort.ts";
import { run, type RunOptions } from "./run.ts";

const HELP = `Serves a live interpreter to connect("daemon:host").

  pushy server [options] [stdio]              or: deno task server …

By default it listens on port 10101 of 127.0.0.1, and lets in only the user that runs it.

Where
  --hostname ADDRESS        the address to listen on (127.0.0.1)
  --port PORT               the port (10101); 0 is any that is free
  --unix PATH               a Unix socket instead, with mode 0600
  --pipe NAME               a named pipe instead: on Windows, or behind Samba
  --samba-folder PATH       where Samba looks for the pipe (/run/samba/ncalrpc/np)
  stdio                     standard input and output instead

Who
  --token-file PATH         a file with the token, which nobody else can read
  --tls-cert PATH           the server's certificate; any address but the loopback needs one
  --tls-key PATH            its key, in a file that nobody else can read
  --tls-client-ca PATH      the authority that clients must have a certificate of
  --allow-user NAME         who may come in through Samba; may be repeated
  --allow-insecure          lets everybody in, or goes without TLS

What
  --isolate                 an interpreter for each client, in a process of its own
  --permissions JSON        what those may do: '{"read":["/etc"],"net":false}'
  --runtime NAME            what those are: deno, node, bun or python
  --max-connections N       how many may be connected at once (4000; with --isolate 64)
  --handshake-timeout MS    how long a client may take to say who it is (10000)
  --idle-timeout MS         sends away who makes no call for so long (0: never)
  --grace MS                how long calls may take to finish when the server ends (5000)

  --quiet                   no log
  --probe ADDRESS           asks the server there for a sign of life; the exit status tells
  --help                    this

Each option may also come from the environment, as PUSHY_ and its name: PUSHY_PORT, PUSHY_TLS_CERT.
The token may also be in PUSHY_TOKEN. A socket that systemd has opened is used by itself.
The log goes to standard error, one JSON object a line.

Examples:
  pushy server
  pushy server --unix ~/.pushy.sock --isolate --permissions '{"read":true}'
  pushy server --hostname 0.0.0.0 --token-file token --tls-cert server.pem --tls-key server.key
  pushy server --probe localhost
`;

/** What was asked for: by the command line, else by the environment. */
class Settings {
  readonly #values: Readonly<Record<string, string | boolean | string[] | undefined>>;
  readonly positionals: readonly string[];

  constructor(args: string[]) {
    const { values, positionals } = parseArgs({ args, options: FLAGS, allowPositionals: true });
    this.#values = values;
    this.positionals = positionals;
  }

  text(name: FlagName): string | undefined {
    const value = this.#values[name];
    if (typeof value === "string") return value;
    return Deno.env.get(variableOf(name)) || undefined;
  }

  texts(name: FlagName): string[] | undefined {
    const value = this.#values[name];
    if (Array.isArray(value)) return value;
    return Deno.env.get(variableOf(name))?.split(",").map((text) => text.trim());
  }

  flag(name: FlagName): boolean {
    const value = this.#values[name];
    if (typeof value === "boolean") return value;
    return /^(1|true|yes)$/i.test(Deno.env.get(variableOf(name)) ?? "");
  }

  number(name: FlagName): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^\d+$/.test(text)) throw new TypeError(`Cannot use --${name} ${text}: expected a number`);
    return Number(text);
  }
}

function variableOf(name: FlagName): string {
  return `PUSHY_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** A socket that systemd has opened for this very process (sd_listen_fds(3)). */
function systemdSocket(): number | undefined {
  if (Deno.env.get("LISTEN_PID") !== String(Deno.pid)) return undefined;
  const count = Number(Deno.env.get("LISTEN_FDS"));
  if (!(count >= 1)) return undefined;
  if (count > 1) throw new TypeError(`Cannot serve ${count} sockets of systemd's: expected one`);
  return 3;
}

function runOptions(settings: Settings): RunOptions {
  const cert = settings.text("tls-cert");
  const key = settings.text("tls-key");
  const clientCa = settings.text("tls-client-ca");
  if ((cert === undefined) !== (key === undefined)) {
    throw new TypeError("Cannot use --tls-cert without --tls-key, or --tls-key without --tls-cert");
  }
  if (clientCa !== undefined && cert === undefined) {
    throw new TypeError("Cannot use --tls-client-ca without --tls-cert and --tls-key");
  }
  const permissions = settings.text("permissions");
  const [what, ...more] = settings.positionals;
  if (more.length > 0 || what !== undefined && what !== "stdio") {
    throw new TypeError(
      `Cannot serve ${settings.positionals.join(" ")}: expected nothing, or stdio`,
    );
  }
  const isolate = settings.flag("isolate");
  return {
    fd: systemdSocket(),
    hostname: settings.text("hostname"),
    port: settings.number("port"),
    unix: settings.text("unix"),
    pipe: settings.text("pipe"),
    sambaFolder: settings.text("samba-folder"),
    stdio: what === "stdio",
    tokenFile: Deno.env.get("PUSHY_TOKEN") ? undefined : settings.text("token-file"),
    tls: cert === undefined || key === undefined ? undefined : { cert, key, clientCa },
    allowUsers: settings.texts("allow-user"),
    allowInsecure: settings.flag("allow-insecure"),
    isolate: isolate ? "process" : false,
    permissions: permissions === undefined ? undefined : JSON.parse(permissions),
    runtime: settings.text("runtime") as RunOptions["runtime"],
    maxConnections: settings.number("max-connections"),
    handshakeTimeout: settings.number("handshake-timeout"),
    idleTimeout: settings.number("idle-timeout"),
    quiet: settings.flag("quiet"),
  };
}

function print(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text.endsWith("\n") ? text : `${text}\n`);
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}

/** Runs the program; resolves to its exit status. */
export async function main(args: string[]): Promise<number> {
  let settings: Settings;
  try {
    settings = new Settings(args);
  } catch (error) {
    print(Deno.stderr, `${sayWhatIsWrong(error as Error)}\nSee --help.`);
    return 2;
  }
  if (settings.flag("help")) {
    print(Deno.stdout, HELP);
    return 0;
  }
  const address = settings.text("probe");
  if (address !== undefined) return await answerProbe(address, settings);
  try {
    const server = await run(runOptions(settings));
    const grace = settings.number("grace");
    const stop = () => void server.shutdown(grace);
    const signals: Deno.Signal[] = Deno.build.os === "windows"
      ? ["SIGINT", "SIGBREAK"]
      : ["SIGINT", "SIGTERM"];
    for (const signal of signals) Deno.addSignalListener(signal, stop);
    // Where clients have interpreters of their own, nothing keeps this thread from hearing a signal.
    const guard = settings.flag("isolate")
      ? undefined
      : guardEnd({ signals, grace: grace ?? DEFAULT_GRACE, quiet: settings.flag("quiet") });
    await server.finished;
    guard?.stop();
    for (const signal of signals) Deno.removeSignalListener(signal, stop);
    return 0;
  } catch (error) {
    print(Deno.stderr, whyNot(error, settings));
    return 1;
  }
}

/** What the rules of `run()` are called here. */
const WORDS: readonly (readonly [string, string])[] = [
  ["(give tls)", "(give --tls-cert and --tls-key)"],
  ["(give a token, or tls.clientCa)", "(give --token-file, or --tls-client-ca)"],
  ["allowInsecure: true is", "--allow-insecure is"],
];

/** What is said when there is no server after all. */
function whyNot(error: unknown, settings: Settings): string {
  if (error instanceof TypeError || error instanceof SyntaxError) {
    const message = WORDS.reduce((text, [said, here]) => text.replace(said, here), error.message);
    return `${message}\nSee --help.`;
  }
  const { code } = error as { code?: unknown };
  const hostname = settings.text("hostname") ?? "127.0.0.1";
  const port = settings.text("port") ?? DEFAULT_PORT;
  const where = settings.text("unix") ?? settings.text("pipe") ?? `${hostname}:${port}`;
  if (code === "EADDRINUSE") {
    return `Cannot listen on ${where}: something listens there already. ` +
      "End it, or name another place with --port, --hostname or --unix.";
  }
  if (code === "EADDRNOTAVAIL") {
    return `Cannot listen on ${where}: this machine has no such address. ` +
      "Name one that it has with --hostname; 0.0.0.0 is all of them.";
  }
  if (code === "EACCES" && Number(port) < 1024) {
    return `Cannot listen on ${where}: this user may not. Name a port from 1024 on with --port.`;
  }
  return `${error}`;
}

async function answerProbe(address: string, settings: Settings): Promise<number> {
  const ca = Deno.env.get("PUSHY_TLS_CA");
  const serverName = Deno.env.get("PUSHY_TLS_NAME");
  try {
    await probe({
      address,
      port: settings.number("port"),
      connectTimeout: 5000,
      ...(ca ? { tls: { caCerts: ca, serverName } } : {}),
    });
    return 0;
  } catch (error) {
    print(Deno.stderr, (error as Error).message);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
