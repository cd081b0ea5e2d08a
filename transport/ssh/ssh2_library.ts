/**
 * The library npm:ssh2, as little of it as is used here, and how it is loaded.
 *
 * The specifier is computed, so that a program that never connects this way downloads nothing. A
 * compiled program has no network to load from: it imports `./transport/ssh2`, which brings the
 * libraries along and hands them over here.
 *
 * @module
 */

/** A parsed key. */
export interface ParsedKey {
  readonly type: string;
  getPublicSSH(): Uint8Array;
  isPrivateKey(): boolean;
}

/** One way to log in, as `authHandler` gives it. */
export type AuthAttempt =
  | { type: "none"; username: string }
  | { type: "password"; username: string; password: string }
  | { type: "publickey"; username: string; key: unknown; passphrase?: string }
  | { type: "agent"; username: string; agent: unknown }
  | {
    type: "keyboard-interactive";
    username: string;
    prompt: (
      name: string,
      instructions: string,
      language: string,
      prompts: { prompt: string; echo: boolean }[],
      finish: (answers: string[]) => void,
    ) => void;
  };

/** The library's connection. */
export interface Ssh2Client {
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): this;
  // deno-lint-ignore no-explicit-any
  off(event: string, listener: (...args: any[]) => void): this;
  connect(config: Record<string, unknown>): this;
  exec(
    line: string,
    callback: (error: Error | undefined, channel: Ssh2Channel) => void,
  ): this;
  subsys(
    name: string,
    callback: (error: Error | undefined, channel: Ssh2Channel) => void,
  ): this;
  forwardOut(
    fromHost: string,
    fromPort: number,
    host: string,
    port: number,
    callback: (error: Error | undefined, channel: Ssh2Channel) => void,
  ): this;
  end(): this;
  destroy(): this;
}

/** The library's channel: a Node stream. */
export interface Ssh2Channel {
  // deno-lint-ignore no-explicit-any
  on(event: string, listener: (...args: any[]) => void): this;
  readonly stderr: {
    // deno-lint-ignore no-explicit-any
    on(event: string, listener: (...args: any[]) => void): unknown;
    pause(): unknown;
    resume(): unknown;
  };
  readonly writable: boolean;
  write(chunk: Uint8Array, callback: (error?: Error | null) => void): boolean;
  end(): unknown;
  close(): void;
  destroy(): unknown;
  pause(): unknown;
  resume(): unknown;
  signal(name: string): void;
}

/** What of npm:ssh2 is used. */
export interface Ssh2Library {
  Client: new () => Ssh2Client;
  BaseAgent: new () => object;
  createAgent(path: string): Ssh2Agent;
  utils: {
    parseKey(data: unknown, passphrase?: string): ParsedKey | ParsedKey[] | Error;
  };
}

/** An ssh-agent's client. */
export interface Ssh2Agent {
  getIdentities(callback: (error: Error | null | undefined, keys?: unknown[]) => void): void;
  sign(
    key: unknown,
    data: Uint8Array,
    options: unknown,
    callback: (error: Error | null | undefined, signature?: Uint8Array) => void,
  ): void;
}

/** What of npm:ssh-config is used. */
export interface SshConfigLibrary {
  parse(text: string): {
    compute(
      host: string | { Host: string; User?: string },
      options?: { ignoreCase?: boolean; matchExec?: boolean },
    ): Record<string, string | string[]>;
  };
}

const SSH2 = "npm:ssh2@^1.17.0";
const SSH_CONFIG = "npm:ssh-config@^5.3.0";

let provided: { ssh2: Ssh2Library; sshConfig: SshConfigLibrary } | undefined;

/** Hands over the libraries, so that they are not loaded by name. */
export function provideLibraries(ssh2: Ssh2Library, sshConfig: SshConfigLibrary): void {
  provided = { ssh2, sshConfig };
}

/** Loads the libraries, once. @throws {Error} where they cannot be had, saying what to do. */
export async function loadLibraries(): Promise<
  { ssh2: Ssh2Library; sshConfig: SshConfigLibrary }
> {
  if (provided) return provided;
  try {
    const [ssh2, sshConfig] = await Promise.all([import(SSH2), import(SSH_CONFIG)]);
    return provided = { ssh2: ssh2.default, sshConfig: sshConfig.default };
  } catch (cause) {
    throw new Error(
      `Cannot load ${SSH2}, the SSH client for this process. Install OpenSSH's client and use ` +
        "useNative: true; or let this program load from npm; or, in a compiled program, import " +
        "@pushy/core/transport/ssh2.",
      { cause },
    );
  }
}
