/**
 * SMB2 messages as bytes (MS-SMB2 2.2): the header, the requests that a named pipe needs, and what
 * is read of their responses.
 *
 * A request is written into a buffer with four bytes in front, where the transport puts its length,
 * so that a large write is copied once.
 *
 * @module
 */

import { Cursor, MalformedError, utf16 } from "./cursor.ts";

/** MS-SMB2 2.2.1: the commands used here. */
export const COMMAND = {
  negotiate: 0,
  sessionSetup: 1,
  logoff: 2,
  treeConnect: 3,
  treeDisconnect: 4,
  create: 5,
  close: 6,
  read: 8,
  write: 9,
  ioctl: 11,
  cancel: 12,
  echo: 13,
} as const;

/** One of {@linkcode COMMAND}. */
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

/** The name of a command, for errors. */
export function commandName(command: number): string {
  const found = Object.entries(COMMAND).find(([, value]) => value === command);
  return found === undefined ? `command ${command}` : found[0];
}

/** MS-SMB2 2.2.1.1: the flags of a header. */
export const FLAG = { response: 1, async: 2, signed: 8 } as const;

/** The bytes in front of a message: the length of direct TCP (MS-SMB2 2.1). */
export const FRAME_HEAD = 4;
/** The size of the header (MS-SMB2 2.2.1). */
export const HEADER = 64;
/** Where the signature is in the header. */
export const SIGNATURE_AT = 48;

/** The handle that stands for no handle in an IOCTL (MS-SMB2 2.2.31). */
export const NO_FILE: Uint8Array = new Uint8Array(16).fill(0xff);

/** A response's header (MS-SMB2 2.2.1.1 and 2.2.1.2). */
export interface Header {
  readonly status: number;
  readonly command: number;
  readonly credits: number;
  readonly flags: number;
  readonly nextCommand: number;
  readonly messageId: number;
  /** Where the flag `async` is set. */
  readonly asyncId: bigint;
  /** Where it is not. */
  readonly treeId: number;
  readonly sessionId: bigint;
}

/** Reads a header, and checks what it has to be. */
export function readHeader(message: Uint8Array): Header {
  if (message.length < HEADER) {
    throw new MalformedError(`A message of ${message.length} bytes is shorter than its header`);
  }
  const view = new DataView(message.buffer, message.byteOffset, HEADER);
  if (view.getUint16(4, true) !== HEADER) {
    throw new MalformedError(`A header's structure size is ${view.getUint16(4, true)}, not 64`);
  }
  const high = view.getUint32(28, true);
  return {
    status: view.getUint32(8, true),
    command: view.getUint16(12, true),
    credits: view.getUint16(14, true),
    flags: view.getUint32(16, true),
    nextCommand: view.getUint32(20, true),
    // A larger id than 2^53 was never sent: it then matches no request.
    messageId: high < 0x200000 ? high * 0x100000000 + view.getUint32(24, true) : -1,
    asyncId: view.getBigUint64(32, true),
    treeId: view.getUint32(36, true),
    sessionId: view.getBigUint64(40, true),
  };
}

/** What a request's header says beside its command. */
export interface RequestHeader {
  creditCharge: number;
  creditRequest: number;
  messageId: number;
  treeId: number;
  sessionId: bigint;
  /** For a cancel of a request that the server has answered with an interim response. */
  asyncId?: bigint;
}

/** Fills in the header of a request made by one of the functions below. */
export function writeHeader(frame: Uint8Array, command: Command, header: RequestHeader): void {
  const view = new DataView(frame.buffer, frame.byteOffset + FRAME_HEAD, HEADER);
  view.setUint32(0, 0x424d53fe, true);
  view.setUint16(4, HEADER, true);
  view.setUint16(6, header.creditCharge, true);
  view.setUint16(12, command, true);
  view.setUint16(14, header.creditRequest, true);
  view.setUint32(16, header.asyncId === undefined ? 0 : FLAG.async, true);
  view.setUint32(24, header.messageId % 0x100000000, true);
  view.setUint32(28, Math.floor(header.messageId / 0x100000000), true);
  if (header.asyncId === undefined) view.setUint32(36, header.treeId, true);
  else view.setBigUint64(32, header.asyncId, true);
  view.setBigUint64(40, header.sessionId, true);
}

/** A frame with room for `fixed` and `variable` bytes after the header, and a view of the former. */
function request(
  structure: number,
  fixed: number,
  variable = 0,
): [Uint8Array<ArrayBuffer>, DataView] {
  const frame = new Uint8Array(FRAME_HEAD + HEADER + fixed + variable);
  const view = new DataView(frame.buffer, FRAME_HEAD + HEADER);
  view.setUint16(0, structure, true);
  return [frame, view];
}

/** LOGOFF, TREE_DISCONNECT, ECHO and CANCEL (MS-SMB2 2.2.7, 2.2.11, 2.2.28, 2.2.30). */
export function emptyRequest(): Uint8Array<ArrayBuffer> {
  return request(4, 4)[0];
}

/** NEGOTIATE (MS-SMB2 2.2.3). `contexts` are whole, each padded to 8 bytes but the last. */
export function negotiateRequest(
  dialects: readonly number[],
  securityMode: number,
  capabilities: number,
  clientGuid: Uint8Array,
  contexts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const list = 36 + dialects.length * 2;
  const contextsAt = Math.ceil((HEADER + list) / 8) * 8 - HEADER;
  const size = contexts.reduce((sum, context) => sum + context.length, 0);
  const [frame, view] = request(36, list, contexts.length > 0 ? contextsAt - list + size : 0);
  view.setUint16(2, dialects.length, true);
  view.setUint16(4, securityMode, true);
  view.setUint32(8, capabilities, true);
  frame.set(clientGuid, FRAME_HEAD + HEADER + 12);
  dialects.forEach((dialect, i) => view.setUint16(36 + 2 * i, dialect, true));
  if (contexts.length > 0) {
    view.setUint32(28, HEADER + contextsAt, true);
    view.setUint16(32, contexts.length, true);
    let at = FRAME_HEAD + HEADER + contextsAt;
    for (const context of contexts) {
      frame.set(context, at);
      at += context.length;
    }
  }
  return frame;
}

/** What a NEGOTIATE response says (MS-SMB2 2.2.4). */
export interface NegotiateResponse {
  readonly securityMode: number;
  readonly dialect: number;
  readonly serverGuid: Uint8Array;
  readonly capabilities: number;
  readonly maxTransactSize: number;
  readonly maxReadSize: number;
  readonly maxWriteSize: number;
  readonly securityBuffer: Uint8Array;
  /** Type and data of each negotiate context. */
  readonly contexts: readonly (readonly [type: number, data: Uint8Array])[];
}

/** Reads a NEGOTIATE response. */
export function readNegotiateResponse(message: Uint8Array): NegotiateResponse {
  const cursor = new Cursor(message, "Negotiate response", HEADER).structure(65);
  const securityMode = cursor.u16();
  const dialect = cursor.u16();
  const contextCount = cursor.u16();
  const serverGuid = cursor.bytes(16);
  const capabilities = cursor.u32();
  const maxTransactSize = cursor.u32();
  const maxReadSize = cursor.u32();
  const maxWriteSize = cursor.u32();
  cursor.skip(16);
  const securityOffset = cursor.u16();
  const securityBuffer = cursor.range(securityOffset, cursor.u16());
  const contextOffset = cursor.u32();
  const contexts: [number, Uint8Array][] = [];
  if (dialect === 0x0311) {
    if (contextOffset < HEADER) throw new MalformedError("Negotiate response: no contexts");
    const list = new Cursor(message, "Negotiate context", contextOffset);
    for (let i = 0; i < contextCount; i++) {
      const type = list.align(8).u16();
      const length = list.u16();
      contexts.push([type, list.skip(4).bytes(length)]);
    }
  }
  return {
    securityMode,
    dialect,
    serverGuid,
    capabilities,
    maxTransactSize,
    maxReadSize,
    maxWriteSize,
    securityBuffer,
    contexts,
  };
}

/** SESSION_SETUP (MS-SMB2 2.2.5). */
export function sessionSetupRequest(
  securityMode: number,
  token: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const [frame, view] = request(25, 24, token.length);
  view.setUint8(3, securityMode);
  view.setUint16(12, HEADER + 24, true);
  view.setUint16(14, token.length, true);
  frame.set(token, FRAME_HEAD + HEADER + 24);
  return frame;
}

/** MS-SMB2 2.2.6. */
export const SESSION_FLAG = { guest: 1, null: 2, encrypt: 4 } as const;

/** Reads a SESSION_SETUP response (MS-SMB2 2.2.6). */
export function readSessionSetupResponse(
  message: Uint8Array,
): { flags: number; token: Uint8Array } {
  const cursor = new Cursor(message, "Session setup response", HEADER).structure(9);
  const flags = cursor.u16();
  const offset = cursor.u16();
  return { flags, token: cursor.range(offset, cursor.u16()) };
}

/** TREE_CONNECT (MS-SMB2 2.2.9); `path` is `\\host\share`. */
export function treeConnectRequest(path: string): Uint8Array<ArrayBuffer> {
  const name = utf16(path);
  const [frame, view] = request(9, 8, name.length);
  view.setUint16(4, HEADER + 8, true);
  view.setUint16(6, name.length, true);
  frame.set(name, FRAME_HEAD + HEADER + 8);
  return frame;
}

/** MS-SMB2 2.2.10: the share is a pipe share; everything in it is encrypted. */
export const SHARE = { pipe: 2, flagEncrypt: 0x8000 } as const;

/** Reads a TREE_CONNECT response (MS-SMB2 2.2.10). */
export function readTreeConnectResponse(message: Uint8Array): { type: number; flags: number } {
  const cursor = new Cursor(message, "Tree connect response", HEADER).structure(16);
  const type = cursor.u8();
  return { type, flags: cursor.skip(1).u32() };
}

/**
 * CREATE of an existing pipe (MS-SMB2 2.2.13). The server may learn who the caller is, but not act
 * in the caller's name (impersonation level "identification").
 */
export function createRequest(pipe: string): Uint8Array<ArrayBuffer> {
  const FILE_READ_DATA = 0x1;
  const FILE_WRITE_DATA = 0x2;
  const FILE_READ_ATTRIBUTES = 0x80;
  const SYNCHRONIZE = 0x100000;
  const name = utf16(pipe);
  const [frame, view] = request(57, 56, Math.max(1, name.length));
  view.setUint32(4, 1, true);
  view.setUint32(
    24,
    FILE_READ_DATA | FILE_WRITE_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
    true,
  );
  view.setUint32(32, 7, true);
  view.setUint32(36, 1, true);
  view.setUint32(40, 0x40, true);
  view.setUint16(44, HEADER + 56, true);
  view.setUint16(46, name.length, true);
  frame.set(name, FRAME_HEAD + HEADER + 56);
  return frame;
}

/** The handle of a CREATE response (MS-SMB2 2.2.14). */
export function readCreateResponse(message: Uint8Array): Uint8Array {
  return new Cursor(message, "Create response", HEADER).structure(89).skip(62).bytes(16).slice();
}

/** CLOSE (MS-SMB2 2.2.15). */
export function closeRequest(file: Uint8Array): Uint8Array<ArrayBuffer> {
  const [frame] = request(24, 24);
  frame.set(file, FRAME_HEAD + HEADER + 8);
  return frame;
}

/** READ of at least one byte (MS-SMB2 2.2.19). */
export function readRequest(file: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const [frame, view] = request(49, 49);
  view.setUint8(2, HEADER + 16);
  view.setUint32(4, length, true);
  frame.set(file, FRAME_HEAD + HEADER + 16);
  view.setUint32(32, 1, true);
  return frame;
}

/** The data of a READ response (MS-SMB2 2.2.20), not copied; at most `most` bytes. */
export function readReadResponse(message: Uint8Array, most: number): Uint8Array {
  const cursor = new Cursor(message, "Read response", HEADER).structure(17);
  const offset = cursor.u8();
  const length = cursor.skip(1).u32();
  if (length > most) {
    throw new MalformedError(`Read response: ${length} bytes, and ${most} were asked for`);
  }
  if (length > 0 && offset < HEADER + 16) {
    throw new MalformedError(`Read response: its data begins inside its header, at ${offset}`);
  }
  return cursor.range(offset, length);
}

/** WRITE (MS-SMB2 2.2.21) of `data`, which is copied. */
export function writeRequest(file: Uint8Array, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const [frame, view] = request(49, 48, data.length);
  view.setUint16(2, HEADER + 48, true);
  view.setUint32(4, data.length, true);
  frame.set(file, FRAME_HEAD + HEADER + 16);
  frame.set(data, FRAME_HEAD + HEADER + 48);
  return frame;
}

/** How many bytes a WRITE took (MS-SMB2 2.2.22). */
export function readWriteResponse(message: Uint8Array): number {
  return new Cursor(message, "Write response", HEADER).structure(17).skip(2).u32();
}

/** The control codes used here (MS-SMB2 2.2.31). */
export const FSCTL = { pipeWait: 0x00110018, validateNegotiateInfo: 0x00140204 } as const;

/** IOCTL that is a file system control (MS-SMB2 2.2.31). */
export function ioctlRequest(
  code: number,
  input: Uint8Array,
  maxOutput: number,
): Uint8Array<ArrayBuffer> {
  const [frame, view] = request(57, 56, Math.max(1, input.length));
  view.setUint32(4, code, true);
  frame.set(NO_FILE, FRAME_HEAD + HEADER + 8);
  view.setUint32(24, HEADER + 56, true);
  view.setUint32(28, input.length, true);
  view.setUint32(44, maxOutput, true);
  view.setUint32(48, 1, true);
  frame.set(input, FRAME_HEAD + HEADER + 56);
  return frame;
}

/** The output of an IOCTL response (MS-SMB2 2.2.32). */
export function readIoctlResponse(message: Uint8Array, code: number): Uint8Array {
  const cursor = new Cursor(message, "Ioctl response", HEADER).structure(49);
  const seen = cursor.skip(2).u32();
  if (seen !== code) {
    throw new MalformedError(`Ioctl response: control code ${seen} instead of ${code}`);
  }
  const offset = cursor.skip(24).u32();
  return cursor.range(offset, cursor.u32());
}
