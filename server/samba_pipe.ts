/**
 * The server's end of a named pipe on a host with Samba.
 *
 * When a client opens the pipe `pushy`, `smbd` connects to the Unix socket `np/pushy` in its
 * `ncalrpc dir`, says who the client is, and waits for an answer; from then on the socket carries
 * the pipe's bytes. What it says is `named_pipe_auth_req` of Samba's own `named_pipe_auth.idl`, in
 * NDR (C706, chapter 14). Samba 4.16 to 4.18 speak its level 7, later ones level 8.
 *
 * A read that smbd has begun fails as a whole when the socket ends meanwhile, so what is written just
 * before the end of a connection can be lost: let the client end it.
 *
 * The folder `np` belongs to root and lets nobody else in, so that who connects there is smbd.
 *
 * @module
 */

import { concat, Cursor, MalformedError } from "../transport/smb/cursor.ts";

/** The user that Samba has authenticated, and where the user is. */
export interface SambaUser {
  /** The account's name, `"me"`. */
  readonly account: string;
  /** The account's domain, or the server's own name: `"OFFICE"`. */
  readonly domain: string;
  /** The user of this system that Samba has mapped the account to. */
  readonly unixName: string;
  /** The account's security identifier, `"S-1-5-21-…-1000"`. */
  readonly sid: string;
  /** False for guests and anonymous users. */
  readonly authenticated: boolean;
  /** The client's IP address. */
  readonly clientAddress: string;
}

/** A pipe that a client has opened. */
export interface SambaPipe {
  /** Who is at its other end. */
  readonly user: SambaUser;
  /** The pipe's bytes. */
  readonly conn: Deno.Conn;
}

/** How a pipe is accepted. */
export interface AcceptOptions {
  /** Decides whether `user` may use the pipe; otherwise it is closed before it is open. */
  admit: (user: SambaUser) => boolean | Promise<boolean>;
  /** How long the handshake may take, in milliseconds. Default: 10 000. `0` means no limit. */
  timeout?: number;
}

/** The user is not admitted, and the pipe was closed. */
export class NotAdmittedError extends Error {
  /** The class's name. */
  override readonly name = "NotAdmittedError";
  /** Who it was. */
  readonly user: SambaUser;

  /** Names the user. */
  constructor(user: SambaUser) {
    super(
      `${user.domain}\\${user.account} (${user.unixName}) from ${user.clientAddress} is not allowed`,
    );
    this.user = user;
  }
}

/** A user with a thousand groups needs about 30 KB. */
const LARGEST_REQUEST = 1 << 20;
const MAGIC = 0x4d41504e;
const LEVELS: readonly number[] = [7, 8];
/** A pipe of bytes, not of messages (`FILE_TYPE_BYTE_MODE_PIPE`). */
const BYTE_MODE_PIPE = 1;
const DEVICE_STATE = 0x5ff;
const ALLOCATION_SIZE = 4096;

/**
 * Does the handshake on a connection of the socket's listener.
 *
 * @returns The user, and the connection, which now carries the pipe's bytes.
 * @throws {NotAdmittedError} `admit` said no.
 * @throws {MalformedError} What came is not Samba's handshake.
 * @throws {Error} The connection ended, or the time was up. The connection is closed in every case.
 */
export async function acceptSambaPipe(
  conn: Deno.Conn,
  { admit, timeout = 10_000 }: AcceptOptions,
): Promise<SambaPipe> {
  const late = Promise.withResolvers<never>();
  const timer = timeout <= 0 ? undefined : setTimeout(
    () => late.reject(new Error(`Samba's handshake was not complete after ${timeout} ms`)),
    timeout,
  );
  try {
    return { user: await Promise.race([handshake(conn, admit), late.promise]), conn };
  } catch (error) {
    conn.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function handshake(conn: Deno.Conn, admit: AcceptOptions["admit"]): Promise<SambaUser> {
  const request = await readRequest(conn);
  const user = readSambaRequest(request);
  // smbd does not look at the status of an answer: who is not to come in gets none.
  if (!await admit(user)) throw new NotAdmittedError(user);
  await writeAll(conn, sambaReply(levelOf(request)));
  return user;
}

/**
 * Is `user` one of `names`? A name is a user of this system (`"me"`), an account with its domain
 * (`"OFFICE\\me"`, in any case), or a security identifier. Guests and anonymous users never are.
 */
export function isAllowed(user: SambaUser, names: readonly string[]): boolean {
  if (!user.authenticated) return false;
  const full = `${user.domain}\\${user.account}`.toLowerCase();
  return names.some((name) =>
    name !== "" &&
    (name.includes("\\")
      ? name.toLowerCase() === full
      : name === user.unixName || name === user.sid)
  );
}

async function readRequest(conn: Deno.Conn): Promise<Uint8Array> {
  const head = await readExactly(conn, new Uint8Array(4));
  const size = new DataView(head.buffer).getUint32(0);
  if (size < 12 || size > LARGEST_REQUEST) {
    throw new MalformedError(`Samba's handshake: a length of ${size} bytes`);
  }
  return concat(head, await readExactly(conn, new Uint8Array(size)));
}

async function readExactly<T extends Uint8Array>(conn: Deno.Conn, bytes: T): Promise<T> {
  for (let have = 0; have < bytes.length;) {
    const n = await conn.read(bytes.subarray(have));
    if (n === null) throw new Error("The connection ended inside Samba's handshake");
    have += n;
  }
  return bytes;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function levelOf(request: Uint8Array): number {
  return new Cursor(request, "Samba's handshake", 8).u32();
}

/** The answer that opens the pipe, `named_pipe_auth_rep`: a pipe of bytes. */
export function sambaReply(level: number): Uint8Array<ArrayBuffer> {
  const reply = new Uint8Array(36);
  const view = new DataView(reply.buffer);
  view.setUint32(0, reply.length - 4);
  view.setUint32(4, MAGIC, true);
  view.setUint32(8, level, true);
  view.setUint32(12, level, true);
  view.setUint16(16, BYTE_MODE_PIPE, true);
  view.setUint16(18, DEVICE_STATE, true);
  view.setBigUint64(24, BigInt(ALLOCATION_SIZE), true);
  return reply;
}

/** The number of elements of a conformant array, which comes twice. */
function arraySize(cursor: Cursor, count: number, what: string): number {
  const size = cursor.align(4).u32();
  if (size !== count || count > 0x10000) {
    throw new MalformedError(`Samba's handshake: ${count} ${what}, and ${size}`);
  }
  return size;
}

/** A unique pointer: is there something behind it? */
function pointer(cursor: Cursor): boolean {
  return cursor.align(4).u32() !== 0;
}

/** A `[string, charset(UTF8)]` behind a pointer. */
function text(cursor: Cursor, present: boolean): string {
  if (!present) return "";
  const most = cursor.align(4).u32();
  const offset = cursor.u32();
  const size = cursor.u32();
  if (offset !== 0 || size > most) throw new MalformedError("Samba's handshake: a bad string");
  const bytes = cursor.bytes(size);
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\0$/, "");
}

/** `dom_sid` (MS-DTYP 2.4.2) as text. */
function sid(cursor: Cursor): string {
  const revision = cursor.align(4).u8();
  const count = cursor.u8();
  if (count > 15) throw new MalformedError("Samba's handshake: a bad security identifier");
  let authority = 0;
  for (const byte of cursor.bytes(6)) authority = authority * 256 + byte;
  let result = `S-${revision}-${authority}`;
  for (let i = 0; i < count; i++) result += `-${cursor.u32()}`;
  return result;
}

/** Reads a whole request, `named_pipe_auth_req` with its length. Throws a {@linkcode MalformedError}. */
export function readSambaRequest(request: Uint8Array): SambaUser {
  try {
    return readRequestBody(new Cursor(request, "Samba's handshake"));
  } catch (error) {
    if (error instanceof MalformedError) throw error;
    throw new MalformedError("Samba's handshake: a name is not UTF-8", { cause: error });
  }
}

function readRequestBody(cursor: Cursor): SambaUser {
  if (cursor.skip(4).u32() !== MAGIC) throw new MalformedError("This is not Samba's handshake");
  const level = cursor.u32();
  if (!LEVELS.includes(level) || cursor.u32() !== level) {
    throw new MalformedError(
      `Samba's handshake has the level ${level}; known are ${LEVELS.join(" and ")}`,
    );
  }
  // named_pipe_auth_req_info7 and 8: transport, then the two ends.
  cursor.skip(1);
  const hasRemoteName = pointer(cursor);
  const hasRemoteAddress = pointer(cursor);
  cursor.skip(2);
  const hasLocalName = pointer(cursor);
  const hasLocalAddress = pointer(cursor);
  cursor.skip(2);
  const hasTransport = pointer(cursor);
  text(cursor, hasRemoteName);
  const clientAddress = text(cursor, hasRemoteAddress);
  text(cursor, hasLocalName);
  text(cursor, hasLocalAddress);

  // auth_session_info_transport, then auth_session_info.
  const hasSession = hasTransport && pointer(cursor);
  if (hasTransport) cursor.skip(cursor.u32());
  if (!hasSession) throw new MalformedError("Samba's handshake names no user");
  const hasToken = pointer(cursor);
  const hasUnixToken = pointer(cursor);
  const hasInfo = pointer(cursor);
  const hasUnixInfo = pointer(cursor);
  cursor.skip(4);
  cursor.skip(cursor.u32());
  cursor.align(4).skip(4 + 16);

  const userSid = hasToken ? securityToken(cursor, level) : "";
  if (hasUnixToken) unixToken(cursor);
  const info = hasInfo ? userInfo(cursor) : { account: "", domain: "", authenticated: false };
  let unixName = "";
  if (hasUnixInfo) {
    const hasUnixName = pointer(cursor);
    pointer(cursor);
    unixName = text(cursor, hasUnixName);
  }
  return { ...info, unixName, sid: userSid, clientAddress };
}

/** `security_token`; its first identifier is the user's. */
function securityToken(cursor: Cursor, level: number): string {
  const count = cursor.align(8).u32();
  arraySize(cursor, count, "identifiers");
  let first = "";
  for (let i = 0; i < count; i++) {
    const next = sid(cursor);
    if (i === 0) first = next;
  }
  cursor.align(8).skip(8 + 4);
  if (level < 8) return first;
  const claims = [cursor.u32(), cursor.u32(), cursor.u32()];
  const devices = cursor.u32();
  if (claims.some((count) => count !== 0)) {
    throw new MalformedError("Samba's handshake has claims about the user, which are not read");
  }
  for (const count of claims) arraySize(cursor, count, "claims");
  arraySize(cursor, devices, "devices");
  for (let i = 0; i < devices; i++) sid(cursor);
  cursor.align(2).skip(2);
  return first;
}

/** `security_unix_token`. */
function unixToken(cursor: Cursor): void {
  const size = cursor.align(4).u32();
  const count = cursor.align(8).skip(16).u32();
  if (size !== count) throw new MalformedError("Samba's handshake: a bad list of groups");
  cursor.align(8).skip(8 * count);
}

/** `auth_user_info`. */
function userInfo(cursor: Cursor): Pick<SambaUser, "account" | "domain" | "authenticated"> {
  const hasAccount = pointer(cursor);
  const hasPrincipal = pointer(cursor);
  cursor.skip(1);
  const hasDomain = pointer(cursor);
  // dns_domain_name, full_name, logon_script, profile_path, home_directory, home_drive, logon_server
  const others = Array.from({ length: 7 }, () => pointer(cursor));
  // Six times, two counts, the flags.
  cursor.skip(6 * 8 + 2 * 2 + 4);
  const authenticated = cursor.u8() !== 0;
  const account = text(cursor, hasAccount);
  text(cursor, hasPrincipal);
  const domain = text(cursor, hasDomain);
  for (const present of others) text(cursor, present);
  return { account, domain, authenticated };
}
