/**
 * `known_hosts`: which keys a host may have (the format of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
 *
 * Plain and hashed names, `[host]:port`, wildcards, negation, several keys of one host and
 * `@revoked` are read. `@cert-authority` is not supported: such a line makes no key known, and the
 * error says so.
 *
 * @module
 */

import { createHmac, randomBytes } from "node:crypto";
import { HostKeyError } from "../errors.ts";
import { fingerprintOf } from "./fingerprint.ts";
import type { MissingHostKeyPolicy } from "./options.ts";

/** One line that concerns a host. */
export interface KnownKey {
  readonly type: string;
  readonly key: Uint8Array;
  readonly revoked: boolean;
  readonly file: string;
  readonly line: number;
}

/** What the files say of a host. */
export interface KnownHost {
  /** The name that was looked up: `host`, or `[host]:port`. */
  readonly name: string;
  readonly keys: readonly KnownKey[];
  /** Keys noted for the host without its port: good where they agree, and else no word against it. */
  readonly portless: readonly KnownKey[];
  /** Is there a `@cert-authority` for it, which is not looked at? */
  readonly authority: boolean;
}

/** The name that `known_hosts` has for a host and port. */
export function knownHostName(host: string, port: number): string {
  const lower = host.toLowerCase();
  return port === 22 ? lower : `[${lower}]:${port}`;
}

function hashName(name: string, salt: Uint8Array): string {
  return createHmac("sha1", salt).update(name).digest("base64");
}

function wildcard(pattern: string, name: string): boolean {
  const source = pattern.toLowerCase().replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${source}$`).test(name);
}

/** Does the first field of a line mean `name`? */
export function namesMatch(field: string, name: string): boolean {
  const hashed = /^\|1\|([A-Za-z0-9+/=]+)\|([A-Za-z0-9+/=]+)$/.exec(field);
  if (hashed) return hashName(name, fromBase64(hashed[1]!)) === hashed[2];
  let found = false;
  for (const pattern of field.split(",")) {
    if (pattern.startsWith("!")) {
      if (wildcard(pattern.slice(1), name)) return false;
    } else if (wildcard(pattern, name)) found = true;
  }
  return found;
}

/** Reads `files` for a host. A file that does not exist says nothing. */
export async function lookUp(
  files: readonly string[],
  host: string,
  port: number,
): Promise<KnownHost> {
  const name = knownHostName(host, port);
  const keys: KnownKey[] = [];
  const portless: KnownKey[] = [];
  let authority = false;
  for (const file of files) {
    let text: string;
    try {
      text = await Deno.readTextFile(file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    for (const [index, line] of text.split("\n").entries()) {
      const fields = line.trim().split(/[ \t]+/);
      if (fields[0] === "" || fields[0]!.startsWith("#")) continue;
      const marker = fields[0]!.startsWith("@") ? fields.shift()! : "";
      const [names, type, blob] = fields;
      if (names === undefined || type === undefined || blob === undefined) continue;
      const exact = namesMatch(names, name);
      if (!exact && !(port !== 22 && namesMatch(names, host.toLowerCase()))) continue;
      if (marker === "@cert-authority") {
        authority = true;
        continue;
      }
      if (marker !== "" && marker !== "@revoked") continue;
      let key: Uint8Array;
      try {
        key = fromBase64(blob);
      } catch {
        continue;
      }
      (exact || marker === "@revoked" ? keys : portless).push({
        type,
        key,
        revoked: marker === "@revoked",
        file,
        line: index + 1,
      });
    }
  }
  return { name, keys, portless, authority };
}

/**
 * Decides whether a host may have `key`.
 *
 * @throws {HostKeyError} if it is revoked, differs from what is known, or is unknown and refused.
 */
export async function checkHostKey(
  known: KnownHost,
  key: Uint8Array,
  { policy, files, hash }: {
    policy: MissingHostKeyPolicy;
    files: readonly string[];
    /** Write hashed names? */
    hash: boolean;
  },
): Promise<void> {
  const type = keyType(key);
  const fingerprint = await fingerprintOf(key);
  const same = (other: KnownKey) => equalBytes(other.key, key);
  if (known.keys.some((other) => other.revoked && same(other))) {
    throw new HostKeyError(`The host key of ${known.name} is marked as revoked: ${fingerprint}.`, {
      stage: "hostkey",
      code: "EHOSTKEYREVOKED",
      hint: "Do not connect. Ask whoever runs the host for its new key.",
    });
  }
  const valid = known.keys.filter((other) => !other.revoked);
  if (valid.some(same)) return;
  if (valid.length > 0) {
    const old = valid.find((other) => other.type === type) ?? valid[0]!;
    throw new HostKeyError(
      `The host key of ${known.name} is not the one that is known: it sent ${type} ` +
        `${fingerprint}, known is ${old.type} ${await fingerprintOf(old.key)} ` +
        `(${old.file}:${old.line}).`,
      {
        stage: "hostkey",
        code: "EHOSTKEYCHANGED",
        hint: "Either the host was set up anew, or somebody is between you and it. Ask whoever " +
          "runs it for its fingerprint; only if that agrees, remove the old key " +
          `(ssh-keygen -R '${known.name}').`,
      },
    );
  }
  if (known.portless.some(same)) return;
  if (policy === "autoadd") {
    await addKey(files, known.name, key, hash);
    return;
  }
  if (policy === "warning") {
    // To warn is what was asked for.
    // deno-lint-ignore pushy/quiet
    console.warn(`Warning: the host key of ${known.name} is not known: ${type} ${fingerprint}`);
    return;
  }
  if (
    typeof policy === "function" &&
    await policy({ host: known.name, type, fingerprint, key: new Uint8Array(key) }) === true
  ) return;
  throw new HostKeyError(
    `The host key of ${known.name} is not known: it sent ${type} ${fingerprint}.` +
      (known.authority
        ? " A @cert-authority line names this host, but certificates are not supported by the " +
          "client of this process."
        : ""),
    {
      stage: "hostkey",
      code: "EHOSTKEYUNKNOWN",
      hint: known.authority
        ? "Use useNative: true, or put the key itself into known_hosts."
        : "Compare the fingerprint with the host's own, and put the key into known_hosts " +
          '(ssh-keyscan), or use missingHostKeyPolicy: "autoadd".',
    },
  );
}

async function addKey(
  files: readonly string[],
  name: string,
  key: Uint8Array,
  hash: boolean,
): Promise<void> {
  const file = files[0];
  if (file === undefined) return;
  const folder = file.replace(/[/\\][^/\\]*$/, "");
  if (folder !== file && folder !== "") {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  }
  const salt = randomBytes(20);
  const field = hash ? `|1|${salt.toString("base64")}|${hashName(name, salt)}` : name;
  const line = `${field} ${keyType(key)} ${btoa(String.fromCharCode(...key))}\n`;
  using out = await Deno.open(file, { read: true, append: true, create: true, mode: 0o600 });
  // One write in append mode: no other writer's line is cut, and none is lost.
  const bytes = new TextEncoder().encode(await endsInLine(out) ? line : `\n${line}`);
  let sent = 0;
  while (sent < bytes.length) sent += await out.write(bytes.subarray(sent));
}

async function endsInLine(file: Deno.FsFile): Promise<boolean> {
  if ((await file.stat()).size === 0) return true;
  await file.seek(-1, Deno.SeekMode.End);
  const last = new Uint8Array(1);
  await file.read(last);
  return last[0] === 10;
}

/** The algorithm's name, the first string of a key's wire form (RFC 4253 section 6.6). */
export function keyType(key: Uint8Array): string {
  const length = new DataView(key.buffer, key.byteOffset).getUint32(0);
  return new TextDecoder().decode(key.subarray(4, 4 + length));
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
