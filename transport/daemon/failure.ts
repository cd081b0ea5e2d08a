/**
 * The errors of reaching a daemon, in words.
 *
 * @module
 */

import { AuthenticationError, ConnectionError, HostKeyError } from "../errors.ts";
import { hiddenVariables } from "../environment.ts";
import { isLoopback, type Place, showPlace } from "./address.ts";
import { HANDSHAKE_VERSION, HandshakeError } from "./handshake.ts";
import { whyNoToken } from "./token.ts";

/** How far an attempt has come. */
export type Stage = "connect" | "tls" | "handshake";

/** Is the server reached over TLS, and with a certificate of this side's? */
interface TlsUse {
  readonly cert?: string;
  readonly serverName?: string;
}

/** What went wrong, for the user. Errors that say it already are given back as they are. */
export function describeFailure(
  error: unknown,
  stage: Stage,
  place: Place,
  tls: TlsUse | undefined,
): unknown {
  if (error instanceof ConnectionError || error instanceof TypeError) return error;
  if (error instanceof HandshakeError) {
    if (error.fault === "ended" && error.said === "" && tls) {
      // A client learns what becomes of its certificate only behind the handshake of TLS 1.3.
      const refused = certificateRefused(error.cause ?? new Error("UnexpectedEof"), place, tls);
      if (refused) return refused;
    }
    return handshakeFailure(error, place, tls);
  }
  // Node connects and agrees on TLS in one step.
  const early = /^(ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT)$/;
  if (stage === "connect" || early.test(codeOf(error) ?? "")) return connectFailure(error, place);
  return tlsFailure(error, place, tls);
}

const START = "start one there with `pushy server`, or name its port";

function connectFailure(error: unknown, place: Place): ConnectionError {
  const where = showPlace(place);
  const message = messageOf(error);
  const fail = (why: string, code: string | undefined, hint?: string) =>
    new ConnectionError(`Cannot connect to daemon:${where}: ${why}`, {
      stage: "connect",
      code,
      hint,
      cause: error,
    });
  if (error instanceof Deno.errors.NotCapable) {
    // What a name stands for may be another address than the name.
    const asked = /Requires net access to "([^"]+)"/.exec(message)?.[1] ?? where;
    const hint = place.kind === "unix"
      ? `run with --allow-net=unix:${place.path} --allow-read=${place.path} --allow-write=${place.path}`
      : `run with --allow-net=${asked}`;
    return fail(message, "NotCapable", hint);
  }
  if (place.kind === "unix") {
    if (error instanceof Deno.errors.NotFound) {
      return fail("there is no such socket", "ENOENT", "is the server running?");
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      return fail(
        "this user may not use the socket",
        "EACCES",
        "a server lets in only the user that runs it, unless the socket's mode is changed",
      );
    }
    if (error instanceof Deno.errors.ConnectionRefused) {
      return fail("no server listens on the socket", "ECONNREFUSED", "is the server running?");
    }
    return fail(message, codeOf(error));
  }
  if (error instanceof Deno.errors.ConnectionRefused || codeOf(error) === "ECONNREFUSED") {
    return fail("the port is closed: no server listens there", "ECONNREFUSED", START);
  }
  if (/ENOTFOUND|failed to lookup|name or service|nodename|resolve/i.test(message)) {
    return fail(`the name ${place.host} is not known`, "ENOTFOUND", "check how it is written");
  }
  return fail(message, codeOf(error));
}

function tlsFailure(error: unknown, place: Place, tls: TlsUse | undefined): ConnectionError {
  const where = showPlace(place);
  const message = messageOf(error);
  const name = tls?.serverName ?? (place.kind === "tcp" ? place.host : "");
  const server = /invalid peer certificate:? ?(.*)/i.exec(message) ??
    /((?:unable to verify|self[- ]signed|altname|certificate has expired).*)/i.exec(message);
  if (server) {
    const why = server[1]!;
    const reason = /UnknownIssuer|unable to verify|self[- ]signed|CaUsedAsEndEntity/i.test(why)
      ? "its certificate comes from no authority that is trusted here"
      : /NotValidForName|not valid for name|altname/i.test(why)
      ? `its certificate is not for the name ${name}`
      : /expired/i.test(why)
      ? "its certificate has expired"
      : /not ?valid ?yet/i.test(why)
      ? "its certificate is not valid yet"
      : `its certificate is not accepted (${why})`;
    const hint = /authority/.test(reason)
      ? 'name the authority\'s certificate: { tls: { caCerts: ["ca.pem"] } }'
      : /for the name/.test(reason)
      ? "name what the certificate is for: { tls: { serverName } }"
      : undefined;
    return new HostKeyError(`Cannot trust the server at daemon:${where}: ${reason}`, {
      stage: "tls",
      code: "ECERT",
      hint,
      cause: error,
    });
  }
  const refused = certificateRefused(error, place, tls);
  if (refused) return refused;
  if (
    /corrupt message|InvalidContentType|wrong version|record|EOF|end of file|hang up|socket disconnected/i
      .test(
        message,
      )
  ) {
    return new ConnectionError(`Cannot connect to daemon:${where}: it does not speak TLS`, {
      stage: "tls",
      code: "ETLS",
      hint: "is it a Pushy server with TLS, and is this its port? " +
        "Without TLS there, { tls: false } is the way, on networks where nobody listens",
      cause: error,
    });
  }
  return new ConnectionError(`Cannot agree on TLS with daemon:${where}: ${message}`, {
    stage: "tls",
    code: "ETLS",
    cause: error,
  });
}

function certificateRefused(
  error: unknown,
  place: Place,
  tls: TlsUse | undefined,
): AuthenticationError | undefined {
  const message = messageOf(error);
  const alert = /(?:fatal alert: ?|alert )(\w+)/i.exec(message)?.[1] ?? "";
  const about = /certificate|unknown_?ca|AccessDenied/i.test(alert);
  const eof = /close_notify|UnexpectedEof|ECONNRESET|reset by peer/i.test(message);
  if (!about && !(eof && tls?.cert !== undefined)) return undefined;
  const where = showPlace(place);
  return tls?.cert === undefined
    ? new AuthenticationError(`Cannot log in to daemon:${where}: it asks for a certificate`, {
      stage: "tls",
      code: "ECERT",
      hint: "name this client's own: { tls: { cert, key } }",
      cause: error,
    })
    : new AuthenticationError(
      `Cannot log in to daemon:${where}: it does not accept this client's certificate`,
      {
        stage: "tls",
        code: "ECERT",
        hint: "it must come from the authority that the server's clientCa names, and be valid now",
        cause: error,
      },
    );
}

function handshakeFailure(
  error: HandshakeError,
  place: Place,
  tls: TlsUse | undefined,
): ConnectionError {
  const where = showPlace(place);
  const fail = (why: string, code: string, hint?: string) =>
    new ConnectionError(`Cannot connect to daemon:${where}: ${why}`, {
      stage: "handshake",
      code,
      hint,
      cause: error,
    });
  const deny = (why: string, hint: string) =>
    new AuthenticationError(`Cannot log in to daemon:${where}: ${why}`, {
      stage: "authenticate",
      code: "EAUTH",
      hint,
      cause: error,
    });
  switch (error.fault) {
    case "tls":
      return fail("it speaks TLS there", "ETLS", "connect with { tls: { caCerts } }");
    case "ended":
      if (error.said !== "") break;
      return fail(
        "it closed the connection without a word",
        "ENOTPUSHY",
        tls
          ? "is it a Pushy server, and does it ask for a client's certificate?"
          : "is it a Pushy server? If it expects TLS, connect with { tls: { caCerts } }",
      );
    case "version":
      return fail(
        `the server speaks version ${error.said} of the handshake, not ${HANDSHAKE_VERSION}`,
        "EVERSION",
        "use the same version of Pushy on both sides",
      );
    case "token missing": {
      const own = place.kind === "tcp" && isLoopback(place.host);
      return deny(
        "the server asks for a token, and there is none here",
        "give its token as { token }, or in PUSHY_TOKEN" +
          (hiddenVariables("PUSHY_TOKEN").length > 0 ? " with --allow-env=PUSHY_TOKEN" : "") +
          (own ? whyNoToken(place.port) : ""),
      );
    }
    case "downgrade":
      return deny(
        "it asks for no token, and so does not prove that it is the right server",
        "a server that knows the token asks for it; without one, name no token",
      );
    case "unproven":
      return deny(
        "the server does not know the token",
        "what answers there is not the server that this token is for",
      );
    case "refused":
      switch (error.said) {
        case "token":
          return deny("the token is wrong", "the server's own is the right one: see its log");
        case "full":
          return fail(
            "the server has as many connections as it may",
            "EBUSY",
            "try again later, or raise its maxConnections",
          );
        case "stopping":
          return fail("the server is shutting down", "ESHUTDOWN", "try again later");
        case "busy":
          return fail("too many clients are coming in at once", "EBUSY", "try again later");
        case "version":
          return fail(
            `the server does not speak version ${HANDSHAKE_VERSION} of the handshake`,
            "EVERSION",
            "use the same version of Pushy on both sides",
          );
      }
      return fail(`the server refuses: ${error.said}`, "EREFUSED");
  }
  const said = error.said === "" ? "" : ` (it said ${JSON.stringify(error.said.slice(0, 60))})`;
  return fail(
    `what answers there is not a Pushy server${said}`,
    "ENOTPUSHY",
    "is this the right port?",
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}
