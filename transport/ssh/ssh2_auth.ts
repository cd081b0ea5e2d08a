/**
 * The order in which npm:ssh2 tries to log in, which is OpenSSH's: keys, then questions, then the
 * password (RFC 4252; RFC 4256 for keyboard-interactive).
 *
 * @module
 */

import type { AuthAttempt, ParsedKey, Ssh2Agent, Ssh2Library } from "./ssh2_library.ts";
import type { PromptCallback } from "./options.ts";
import { promptKind } from "./askpass.ts";

/** What there is to log in with. */
export interface Credentials {
  readonly username: string;
  readonly password: string | undefined;
  readonly privateKey: string | Uint8Array | undefined;
  readonly passphrase: string | undefined;
  /** Files named by the user's program: these are tried before the agent, and must exist. */
  readonly namedFiles: readonly string[];
  /** Files of the configuration: tried after the agent, where they exist. */
  readonly configFiles: readonly string[];
  /** Offer only keys that a file of the configuration names? */
  readonly identitiesOnly: boolean;
  readonly agent: string | undefined;
  readonly prompt: PromptCallback | undefined;
}

/** Tries one way after the other, and remembers which. */
export class Login {
  /** The ways that were tried, in words. */
  readonly tried: string[] = [];
  /** Keys that could not be used, and why. */
  readonly skipped: string[] = [];
  /** What the server takes, by its last answer. */
  offered: readonly string[] = [];
  /** What the prompt callback threw. */
  failure: unknown;
  readonly #library: Ssh2Library;
  readonly #credentials: Credentials;
  readonly #attempts: AsyncGenerator<AuthAttempt, void, void>;
  #passwordGiven = false;

  constructor(library: Ssh2Library, credentials: Credentials) {
    this.#library = library;
    this.#credentials = credentials;
    this.#attempts = this.#plan();
  }

  /** The library's `authHandler`. */
  readonly handler = (
    left: string[] | null,
    _partial: boolean | null,
    next: (attempt: AuthAttempt | false) => void,
  ): void => {
    if (left) this.offered = left;
    this.#next(left).then(next, (error) => {
      this.failure = error;
      next(false);
    });
  };

  async #next(left: string[] | null): Promise<AuthAttempt | false> {
    while (true) {
      const { value, done } = await this.#attempts.next();
      if (done || value === undefined) return false;
      const method = value.type === "agent" ? "publickey" : value.type;
      if (left && method !== "none" && !left.includes(method)) continue;
      this.tried.push(value.type === "agent" ? "publickey (agent)" : this.#words(value));
      return value;
    }
  }

  #words(attempt: AuthAttempt): string {
    if (attempt.type !== "publickey") return attempt.type;
    return `publickey (${this.#names.get(attempt.key) ?? "privateKey"})`;
  }

  readonly #names = new Map<unknown, string>();

  async *#plan(): AsyncGenerator<AuthAttempt, void, void> {
    const { username, password, prompt, agent } = this.#credentials;
    // The answer to this one says what the server takes (RFC 4252 section 5.2).
    yield { type: "none", username };
    if (this.#credentials.privateKey !== undefined) {
      yield { type: "publickey", username, key: await this.#own() };
    }
    for (const file of this.#credentials.namedFiles) {
      const key = await this.#key(file, true);
      if (key) yield { type: "publickey", username, key };
    }
    if (agent !== undefined) {
      const only = this.#credentials.identitiesOnly ? await this.#publicKeys() : undefined;
      if (!only || only.length > 0) {
        yield { type: "agent", username, agent: agentFor(this.#library, agent, only) };
      }
    }
    for (const file of this.#credentials.configFiles) {
      const key = await this.#key(file, false);
      if (key) yield { type: "publickey", username, key };
    }
    if (password !== undefined || prompt !== undefined) {
      yield {
        type: "keyboard-interactive",
        username,
        prompt: (_name, instructions, _language, prompts, finish) => {
          this.#interact(instructions, prompts).then(finish, (error) => {
            this.failure = error;
            // As many empty answers as questions: the server refuses, and the login goes on.
            finish(prompts.map(() => ""));
          });
        },
      };
    }
    if (password !== undefined) {
      yield { type: "password", username, password };
    } else if (prompt !== undefined) {
      const message = `${username}'s password: `;
      const answer = await prompt({ message, echo: false, kind: "password" });
      if (answer !== undefined) yield { type: "password", username, password: answer };
    }
  }

  async #interact(
    instructions: string,
    prompts: { prompt: string; echo: boolean }[],
  ): Promise<string[]> {
    const answers: string[] = [];
    for (const { prompt: text, echo } of prompts) {
      const { password, prompt } = this.#credentials;
      if (password !== undefined && !echo && !this.#passwordGiven) {
        this.#passwordGiven = true;
        answers.push(password);
        continue;
      }
      const message = [instructions, text].filter((part) => part !== "").join("\n")
        // deno-lint-ignore no-control-regex
        .replace(/\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, "");
      answers.push(await prompt?.({ message, echo, kind: promptKind(text) }) ?? "");
    }
    return answers;
  }

  async #own(): Promise<ParsedKey> {
    const key = await this.#parse(this.#credentials.privateKey, "the option privateKey");
    if (typeof key === "string") throw new TypeError(`Cannot use ssh option privateKey: ${key}.`);
    return key;
  }

  async #key(file: string, needed: boolean): Promise<ParsedKey | undefined> {
    let data: Uint8Array;
    try {
      data = await Deno.readFile(file);
    } catch (error) {
      if (needed || !(error instanceof Deno.errors.NotFound)) {
        this.skipped.push(`${file}: ${error instanceof Error ? error.message : error}`);
      }
      return undefined;
    }
    const key = await this.#parse(data, file);
    if (typeof key === "string") {
      this.skipped.push(`${file}: ${key}`);
      return undefined;
    }
    this.#names.set(key, file);
    return key;
  }

  // The key, or why it cannot be used.
  async #parse(data: unknown, name: string): Promise<ParsedKey | string> {
    const { Buffer } = await import("node:buffer");
    const source = data instanceof Uint8Array ? Buffer.from(data) : data;
    let key = this.#library.utils.parseKey(source, this.#credentials.passphrase);
    if (key instanceof Error && /passphrase|encrypted|bad decrypt|integrity/i.test(key.message)) {
      const message = `Enter passphrase for key '${name}': `;
      const answer = this.#credentials.passphrase === undefined
        ? await this.#credentials.prompt?.({ message, echo: false, kind: "passphrase" })
        : undefined;
      if (answer !== undefined) key = this.#library.utils.parseKey(source, answer);
    }
    if (key instanceof Error) return key.message;
    const first = Array.isArray(key) ? key[0] : key;
    if (!first?.isPrivateKey()) return "it is no private key";
    return first;
  }

  async #publicKeys(): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = [];
    for (const file of [...this.#credentials.namedFiles, ...this.#credentials.configFiles]) {
      for (const name of [`${file}.pub`, file]) {
        try {
          const parsed = this.#library.utils.parseKey(await Deno.readTextFile(name));
          const key = Array.isArray(parsed) ? parsed[0] : parsed;
          if (key && !(key instanceof Error)) {
            keys.push(key.getPublicSSH());
            break;
          }
        } catch {
          // No such file: the other name, or none, has the public key.
        }
      }
    }
    return keys;
  }
}

function agentFor(
  library: Ssh2Library,
  path: string,
  only: readonly Uint8Array[] | undefined,
): unknown {
  const agent = library.createAgent(path);
  if (!only) return agent;
  const blob = (key: unknown): Uint8Array | undefined => {
    if (key instanceof Uint8Array) return key;
    const parsed = key as Partial<ParsedKey> & { pubKey?: { pubKey?: Uint8Array } | Uint8Array };
    if (parsed.getPublicSSH) return parsed.getPublicSSH();
    const inner = parsed.pubKey;
    return inner instanceof Uint8Array ? inner : inner?.pubKey;
  };
  return new (class extends library.BaseAgent implements Ssh2Agent {
    getIdentities(callback: Parameters<Ssh2Agent["getIdentities"]>[0]): void {
      agent.getIdentities((error, keys) => {
        callback(
          error,
          keys?.filter((key) => {
            const bytes = blob(key);
            return bytes !== undefined &&
              only.some((other) =>
                other.length === bytes.length && other.every((byte, i) => byte === bytes[i])
              );
          }),
        );
      });
    }
    sign(...args: Parameters<Ssh2Agent["sign"]>): void {
      agent.sign(...args);
    }
  })();
}
