/**
 * The runtime that the agent runs in, and what it needs of it.
 *
 * @module
 */

interface DenoFile {
  read(buffer: Uint8Array): Promise<number | null>;
  readSync(buffer: Uint8Array): number | null;
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
  seekSync(offset: number, whence: number): number;
  close(): void;
}

interface DenoNamespace {
  readonly pid: number;
  readonly ppid: number;
  readonly version: { deno: string };
  readonly build: { os: string; arch: string };
  readonly internal: symbol;
  readonly env: { get(name: string): string | undefined; delete(name: string): void };
  cwd(): string;
  exit(code: number): never;
  kill(pid: number, signal: string): void;
  inspect(value: unknown): string;
  addSignalListener(signal: string, listener: () => void): void;
  openSync(path: string, options?: { read?: boolean; write?: boolean }): DenoFile;
  readonly stdout: Record<string, unknown>;
  readonly stderr: Record<string, unknown>;
}

interface Process {
  readonly pid: number;
  readonly ppid: number;
  readonly version: string;
  readonly versions: Record<string, string | undefined>;
  readonly platform: string;
  readonly arch: string;
  readonly env: Record<string, string | undefined>;
  readonly stdout: { write: unknown };
  readonly stderr: { write: unknown };
  cwd(): string;
  exit(code: number): never;
  kill(pid: number, signal: string): void;
  on(event: string, listener: () => void): void;
}

const globals = globalThis as unknown as { Deno?: DenoNamespace; process?: Process };

/** Deno's namespace, under Deno. */
export const deno: DenoNamespace | undefined = globals.Deno?.version ? globals.Deno : undefined;

// Under Deno, to touch the global `process` loads a good part of Node: only the others do.
/** Node's process object, under Node and Bun. */
export const node: Process | undefined = deno ? undefined : globals.process;

/** What the agent tells of itself, and what it does by the runtime's own means. */
export const host = {
  name: deno ? "deno" : node?.versions.bun ? "bun" : "node",
  version: deno?.version.deno ?? node?.versions.bun ?? node?.versions.node ?? "",
  platform: deno?.build.os ?? node?.platform ?? "",
  arch: deno?.build.arch ?? node?.arch ?? "",
  pid: deno?.pid ?? node?.pid ?? 0,
  /** The id of its parent, as it is now. */
  parent: (): number => (deno ?? node!).ppid,
  cwd: (): string => (deno ?? node!).cwd(),
  exit: (code: number): never => (deno ?? node!).exit(code),
  /** Takes a variable that has this value away from the programs that are started from here. */
  unset(name: string, value: string): void {
    try {
      if (deno) { if (deno.env.get(name) === value) deno.env.delete(name); }
      else if (node!.env[name] === value) delete node!.env[name];
    } catch {
      // A sandbox keeps its environment.
    }
  },
  /** Ends the rest of the agent's process group, if it leads one. */
  endGroup(signal: string): void {
    try {
      (deno ?? node!).kill(-host.pid, signal);
    } catch {
      // No group of its own, or not permitted: then there is none that it could have started.
    }
  },
  /** Stays alive when the group is told to end. */
  ignoreTermination(): void {
    try {
      if (deno) deno.addSignalListener("SIGTERM", () => {});
      else node!.on("SIGTERM", () => {});
    } catch {
      // Windows has no such signal.
    }
  },
} as const;
