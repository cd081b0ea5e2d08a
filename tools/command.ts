/**
 * Running the project's commands, all in one clean and known environment.
 *
 * @module
 */

/** The URL of the checkout's folder, with a slash at the end. */
export const rootUrl: string = new URL("..", import.meta.url).href;

/** The path of the checkout's folder, without a slash at the end. */
export const root: string = decodeURIComponent(new URL(rootUrl).pathname).replace(/\/$/, "");

// What a child needs of the caller's environment; anything else could change what a test sees.
const KEPT =
  /^(PATH|HOME|USER|LOGNAME|TMPDIR|XDG_CACHE_HOME|CI|DENO_DIR|DENO_CERT|DENO_TLS_CA_STORE|JSR_URL|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|PUSHY_.*|npm_config_(registry|cafile|cache|prefix)|(https?|no|all)_proxy)$/i;

/** The environment of every command: the caller's, reduced to what is needed, and pinned settings. */
export function cleanEnvironment(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(Deno.env.toObject())) {
    if (KEPT.test(name)) env[name] = value;
  }
  // Started by npx, Deno is not on the PATH; tests that start "deno" mean this one.
  const folder = Deno.execPath().replace(/\/[^/]*$/, "");
  return {
    ...env,
    PATH: `${folder}:${env.PATH ?? "/usr/local/bin:/usr/bin:/bin"}`,
    NO_COLOR: "1",
    TERM: "dumb",
    LANG: "C.UTF-8",
    TZ: "UTC",
    DENO_NO_PROMPT: "1",
    DENO_NO_UPDATE_CHECK: "1",
  };
}

/** How {@linkcode run} differs from the plain case. */
export interface RunOptions {
  /** Variables added to the clean environment. */
  env?: Record<string, string>;
  /** Default: the checkout. */
  cwd?: string;
  /** After how many milliseconds it is ended, and has failed. Default: no limit. */
  limit?: number;
  /** Shows its output when it has ended, in one piece: for commands that run side by side. Default: as it comes. */
  gathered?: boolean;
}

/** Runs a command in the clean environment, shows what it writes, and resolves to its success. */
export async function run(
  command: string,
  args: readonly string[],
  { env = {}, cwd = root, limit, gathered = false }: RunOptions = {},
): Promise<boolean> {
  const child = new Deno.Command(command, {
    args: [...args],
    cwd,
    clearEnv: true,
    env: { ...cleanEnvironment(), ...env },
    stdin: "null",
    stdout: gathered ? "piped" : "inherit",
    stderr: gathered ? "piped" : "inherit",
  }).spawn();
  const output = gathered ? gather(child) : undefined;
  const timer = limit === undefined ? undefined : setTimeout(() => {
    console.error(`\n${command} ${args[0]} took more than ${limit} ms, and is ended`);
    child.kill("SIGKILL");
  }, limit);
  const { success } = await child.status;
  clearTimeout(timer);
  if (output) console.log(await output.end());
  return success;
}

/** What a command leaves running may hold its output open; nobody waits for that. */
const OUTPUT_GRACE_MS = 2000;

/** Collects what a command writes, on both streams as it comes. */
function gather(child: Deno.ChildProcess): { end(): Promise<string> } {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const readers = [child.stdout.getReader(), child.stderr.getReader()];
  const all = Promise.all(readers.map(async (reader) => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      pieces.push(value);
    }
  }));
  return {
    async end() {
      const timer = setTimeout(() => readers.forEach((reader) => reader.cancel()), OUTPUT_GRACE_MS);
      await all;
      clearTimeout(timer);
      return await new Blob(pieces).text();
    },
  };
}

/** Runs this Deno, as {@linkcode run} does. */
export function runDeno(args: readonly string[], options?: RunOptions): Promise<boolean> {
  return run(Deno.execPath(), args, options);
}
