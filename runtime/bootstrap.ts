/**
 * How an agent gets into a remote interpreter: the command that starts it, the bytes that follow, and the banner that
 * says it is there.
 *
 * All of it is sent without waiting for an answer, and the client's first calls right behind it: connecting costs
 * one round trip after the interpreter has started.
 *
 * @module
 */

import { FrameWriter } from "../protocol/frame.ts";
import { Op } from "../protocol/messages.ts";
import { printable, shorten } from "../protocol/text.ts";
import * as hugePages from "./huge_pages.ts";
import type { Runtime, StartOptions } from "./runtimes.ts";

/** The version of the protocol. */
export const VERSION = 1;

/** How much a login shell may print before the banner, in bytes. */
export const NOISE_BYTES = 64 << 10;

/** The agent could not be started. The message says what was run, what was seen, and what to try. */
export class BootstrapError extends Error {
  /** `"BootstrapError"` */
  override readonly name = "BootstrapError";
  /** The stage that failed: `"start"`, `"banner"`. */
  readonly stage: string;
  /** The command that was run, shortened. */
  readonly command: string;
  /** Its exit status, where it has ended. */
  readonly status: number | string | undefined;
  /** The end of what was written to standard error, without terminal escapes. */
  readonly stderr: string;
  /** What to try. */
  readonly hint: string | undefined;

  /** Makes the error; `summary` is its first sentence, and the details follow line by line. */
  constructor(summary: string, details: {
    stage: string;
    command: readonly string[];
    status?: number | string;
    stderr?: string;
    stdout?: string;
    hint?: string;
    cause?: unknown;
  }) {
    const command = shortCommand(details.command);
    const stderr = printable(details.stderr ?? "").trim().slice(-2000);
    const stdout = printable(details.stdout ?? "").trim().slice(-500).split("\n").slice(-10)
      .join("\n");
    const lines = [printable(summary)];
    if (command) lines.push(`  command: ${command}`);
    if (details.status !== undefined) lines.push(`  exit status: ${details.status}`);
    if (stdout) lines.push(`  stdout: ${stdout.split("\n").join("\n          ")}`);
    if (stderr) lines.push(`  stderr: ${stderr.split("\n").join("\n          ")}`);
    if (details.hint) lines.push(`  hint: ${details.hint}`);
    super(lines.join("\n"), details.cause === undefined ? undefined : { cause: details.cause });
    this.stage = details.stage;
    this.command = command;
    this.status = details.status;
    this.stderr = stderr;
    this.hint = details.hint;
  }
}

/** The command without the loader, which nobody can read, and what is ours alone. */
export function shortCommand(command: readonly string[]): string {
  return printable(
    command.filter((word) => word !== LEAD).join(" ").replace(WATCH, "").replace(HUGE_PAGES, "")
      .replace(/[A-Za-z0-9+/=_-]{200,}/g, "…"),
  );
}

/** What starts an interpreter. */
export interface Start {
  /** The argv. */
  readonly command: string[];
  /** Variables that it needs, and that are not in the argv. */
  readonly env: Record<string, string>;
}

/** What starts an interpreter on the platform that the options name. */
export function startOf(
  runtime: Runtime,
  interpreter: readonly string[],
  options: StartOptions,
): Start {
  if (options.platform !== "windows") {
    return { command: startCommand(runtime, interpreter, options), env: {} };
  }
  if (!runtime.windows) {
    throw new TypeError(
      `Cannot start ${runtime.name} on Windows: the agents for Windows are Deno's and Node's`,
    );
  }
  return { command: [...interpreter, ...runtime.args(options)], env: runtime.env(options) };
}

/**
 * Leaves a shell behind that ends the interpreter and its group when what started it is gone: an interpreter that spins
 * does not see the end of its input.
 *
 * What started it is the nearest process above it that is not one of those that only pass it on: a login shell that
 * waits does not end with the daemon of SSH. The ids up to there are compared every two seconds: a start of
 * `sleep` is what that costs. Where they differ, the interpreter has another second to end by itself.
 *
 * The shell holds no descriptor, which a daemon of SSH would wait for, and is in the interpreter's group, which ends it
 * in the usual case. It is the interpreter's child: to be nobody's it would have to be forked twice, for twice the time.
 * No exclamation mark, backslash or line break: the line goes through login shells.
 */
const WATCH = [
  // P and N: a process's parent and name. Builtins do it where /proc is Linux's.
  "q(){ P=;N=;while read -r k v _;do case $k in Name:)N=$v;;PPid:)P=$v;break;;esac;done</proc/$1/status;}",
  '{ q $$;[ "$P" ]||q(){ set -- $(ps -o ppid= -o comm= -p $1);P=$1;N=$2;}',
  // c: the ids of those above; g: the last that only passes it on, which leads a group under most daemons.
  "u(){ c=;p=$$;while q $p;case $p:$N in $$:*|*sh|*su|*sudo|*doas)c=$c:$P;g=$p;p=$P;;*)false;;esac;do :;done;}",
  "u;C=$c;G=$g;} 2>/dev/null",
  '(exec </dev/null >/dev/null 2>&1;trap "" HUP INT;t=2;while sleep $t&&kill -0 $$;do u;case $c in $C)t=2;;' +
  "*)[ $t = 1 ]&&{ kill -9 $$;kill -9 -$G;kill -9 -$$;};t=1;;esac;done)&",
].join(";");

/** A value that is there already stays. */
const HUGE_PAGES = `${hugePages.NAME}=\${${hugePages.NAME}-${hugePages.VALUE}} `;

/** Runs a script in a group of its own, which what a login shell waits for does not have. */
const LEAD =
  'kill -0 -$$ 2>/dev/null||{ command -v setsid >/dev/null&&exec setsid sh -c "$0";};eval "$0"';

/**
 * The argv that starts an interpreter with the protocol on descriptors 3 and 4, an empty input, and
 * whatever it prints on standard error. Words before the interpreter itself (`["sudo", "deno"]`) run it.
 */
export function startCommand(
  runtime: Runtime,
  interpreter: readonly string[],
  options: StartOptions,
): string[] {
  // Flags at the end are the interpreter's own: `["python3", "-I"]`.
  const flags = interpreter.length - 1 -
    interpreter.findLastIndex((word, i) => i === 0 || !word.startsWith("-"));
  const at = interpreter.length - 1 - flags;
  const wrapper = interpreter.slice(0, at);
  const program = interpreter[at]!;
  const env = Object.entries(runtime.env(options)).map(([name, value]) => `${name}=${value} `);
  env.push(HUGE_PAGES);
  const names = [runtime.program, ...runtime.alternatives].join(" ");
  // A host may have it under another name: the first that is there is taken.
  const search = interpreter.length === 1 && program === runtime.program &&
      runtime.alternatives.length > 0
    ? `i=${program};for j in ${names};do if command -v $j >/dev/null 2>&1;then i=$j;break;fi;done;`
    : "";
  const words = [...interpreter.slice(at + 1), ...runtime.args(options)].map(shellWord)
    .join(" ");
  // Words before it may run it as another user, whom this side may not end.
  const watch = options.guarded && wrapper.length === 0 ? "" : WATCH;
  // A standard error that is closed cannot be passed on.
  // What else the shell has open is none of the interpreter's business.
  const script = "true >&2||exec 2>/dev/null;exec 5>&- 6>&- 7>&- 8>&- 9>&-;" +
    `${watch}${search}${env.join("")}exec ${search ? "$i" : shellWord(program)} ` +
    `${words} 3<&0 4>&1 0</dev/null 1>&2`;
  return [...wrapper, "sh", "-c", ...options.guarded ? [] : [LEAD], script];
}

function shellWord(word: string): string {
  if (/^[A-Za-z0-9+/=_.:,-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The bytes that bring the agent in: how it is packed (b Brotli, d deflate, p plain), its length, and itself. */
export function agentBytes(runtime: Runtime, compress: boolean): Uint8Array {
  const code = compress
    ? Uint8Array.from(atob(runtime.packedAgent), (c) => c.charCodeAt(0))
    : new TextEncoder().encode(runtime.agent);
  const head = (compress ? runtime.packing : "p") + code.length.toString(16).padStart(8, "0");
  const bytes = new Uint8Array(head.length + code.length);
  bytes.set(new TextEncoder().encode(head));
  bytes.set(code, head.length);
  return bytes;
}

/** What the agent lacks of itself until it is needed: how it is packed, and its text. */
export function agentRest(
  { rest, packedRest, packing }: Runtime,
  compress: boolean,
): readonly [packing: string, text: string] {
  return compress ? [packing, packedRest] : ["p", rest];
}

/** The bytes that bring in the whole agent, as it is: for a client that does not know which agent it is. */
export function wholeAgentBytes(runtime: Runtime): Uint8Array {
  const first = agentBytes(runtime, false);
  const writer = new FrameWriter();
  const message = JSON.stringify([Op.rest, ...agentRest(runtime, false)]);
  writer.add(message, message.length);
  const frame = writer.take(0, true);
  const bytes = new Uint8Array(first.length + frame.length);
  bytes.set(first);
  bytes.set(frame, first.length);
  return bytes;
}

/** What the agent says of itself. */
export interface Banner {
  /** The runtime's name. */
  readonly runtime: string;
  /** Its version. */
  readonly version: string;
  /** Its process id. */
  readonly pid: number;
  /** Its operating system. */
  readonly platform: string;
  /** Does it run several calls at once? */
  readonly threads?: boolean;
  /** Do other clients of its server use it too? Then it outlives the connection. */
  readonly shared?: boolean;
}

const MARK = new TextEncoder().encode("\nPUSHY/");

/** Looks for the banner in what comes from a command that may print other things first. */
export class BannerReader {
  #seen: Uint8Array = new Uint8Array(0);
  /** The banner, once it has come. */
  banner: Banner | undefined;
  /** The bytes that came behind the banner. */
  rest: Uint8Array = new Uint8Array(0);

  /** What came before the banner, or instead of it, as text. */
  get noise(): string {
    return new TextDecoder().decode(this.#seen);
  }

  /** Takes in bytes. Says whether the banner is complete; throws if it will not be. */
  push(bytes: Uint8Array): boolean {
    const seen = new Uint8Array(this.#seen.length + bytes.length);
    seen.set(this.#seen);
    seen.set(bytes, this.#seen.length);
    this.#seen = seen;
    const start = indexOf(seen, MARK);
    const end = start < 0 ? -1 : seen.indexOf(0x0a, start + MARK.length);
    if (end < 0) {
      if (seen.length > NOISE_BYTES) {
        throw new RangeError(`it printed more than ${NOISE_BYTES} bytes before the agent answered`);
      }
      return false;
    }
    const line = new TextDecoder().decode(seen.subarray(start + MARK.length, end));
    this.#seen = seen.subarray(0, start);
    this.rest = seen.subarray(end + 1);
    const version = parseInt(line);
    if (version !== VERSION) {
      throw new RangeError(
        `its agent speaks version ${line.slice(0, 20)} of the protocol, not ${VERSION}`,
      );
    }
    this.banner = readBanner(line.slice(line.indexOf(" ") + 1));
    if (this.banner) return true;
    throw new RangeError("its agent introduced itself in a way that cannot be read");
  }
}

/** Only what a banner has, of the types that it has them in, and fit to be shown; else nothing. */
function readBanner(json: string): Banner | undefined {
  let said: Record<string, unknown> | null;
  try {
    said = JSON.parse(json);
  } catch {
    return undefined;
  }
  const { runtime, version, pid, platform, threads, shared } = said ?? {};
  const texts = [runtime, version, platform];
  if (!texts.every((text) => typeof text === "string") || !Number.isSafeInteger(pid)) {
    return undefined;
  }
  const shown = (text: unknown) => shorten(printable(text as string).replace(/\s+/g, " "), 100);
  return {
    runtime: shown(runtime),
    version: shown(version),
    pid: pid as number,
    platform: shown(platform),
    ...(threads === true ? { threads } : {}),
    ...(shared === true ? { shared } : {}),
  };
}

function indexOf(bytes: Uint8Array, mark: Uint8Array): number {
  for (let at = bytes.indexOf(mark[0]!); at >= 0; at = bytes.indexOf(mark[0]!, at + 1)) {
    if (at + mark.length > bytes.length) return -1;
    let i = 1;
    while (i < mark.length && bytes[at + i] === mark[i]) i++;
    if (i === mark.length) return at;
  }
  return -1;
}
