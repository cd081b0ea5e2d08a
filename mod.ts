/**
 * A live interpreter on another machine, from TypeScript.
 *
 * `connect("ssh:web1")` starts an interpreter there, with nothing installed and nothing written to its disk. Its modules,
 * functions and objects can then be used as if they were local.
 *
 * @example
 * ```ts
 * import { connect } from "@pushy/core";
 *
 * await using con = await connect("local:");
 * console.log(await con.modules.os.hostname());
 * console.log(await con.eval("1 + 2")); // 3
 * ```
 *
 * @module
 */

export { connect } from "./client/connect.ts";
export {
  type Anything,
  byRef,
  type CompileOptions,
  Connection,
  copy,
  isRemote,
  kwargs,
  type ModulesOf,
  release,
  type ScopeOf,
  type UntypedOf,
} from "./client/connection.ts";
export { CopyError, type CopyErrorCode } from "./client/copy_error.ts";
export type { FileOptions } from "./client/files.ts";
export type { KeepAlive } from "./client/link.ts";
export type {
  CommonOptions,
  ConnectOptions,
  OptionsOf,
  TransportOptions,
} from "./client/options.ts";
export type { OutputOption } from "./client/output.ts";
export type {
  AnyConstructor,
  AnyFunction,
  Call,
  Globals,
  HasFunction,
  IsData,
  ItemOf,
  Local,
  LocalAll,
  LocalData,
  LocalFunction,
  LocalFunctions,
  LocalParts,
  Module,
  Modules,
  Plain,
  Remote,
  RemoteAll,
  RemoteConstructor,
  RemoteFunction,
  RemoteMembers,
  RemotePromise,
  Scope,
  Untyped,
  UntypedMembers,
} from "./client/remote.ts";
export type { TraceEvent } from "./client/trace.ts";
export { registerTransport } from "./client/targets.ts";
export type { RefOptions } from "./protocol/access.ts";
export type { Kwargs } from "./protocol/crossing_live.ts";
export {
  ConnectionClosedError,
  ConnectionLostError,
  ProtocolError,
  UncrossableError,
} from "./protocol/errors.ts";
export { RemoteError } from "./protocol/remote_error.ts";
export type { Limits } from "./protocol/limits.ts";
export type { CallOptions, SessionStats } from "./protocol/session.ts";
export { type Banner, BootstrapError } from "./runtime/bootstrap.ts";
export type { Permissions, Platform, RuntimeName } from "./runtime/runtimes.ts";
export {
  AuthenticationError,
  ConnectionError,
  type ConnectionErrorDetails,
  HostKeyError,
} from "./transport/errors.ts";
export type {
  BaseTransport,
  ByteChannel,
  CopyOptions,
  CopyProgress,
  Popen,
  PopenOptions,
  TransportModule,
  TransportStatus,
} from "./transport/popen.ts";
