/**
 * Getting in and out: negotiation, login, and the tree `IPC$` in which pipes are (MS-SMB2 3.2.4.2,
 * 3.2.5.2 to 3.2.5.5).
 *
 * @module
 */

import type { Connection, Response } from "./connection.ts";
import { MalformedError } from "./cursor.ts";
import { Encryption } from "./encryption.ts";
import { type PreauthHash, type SessionKeys, sessionKeys } from "./keys.ts";
import {
  COMMAND,
  emptyRequest,
  FLAG,
  FRAME_HEAD,
  FSCTL,
  ioctlRequest,
  readIoctlResponse,
  readNegotiateResponse,
  readSessionSetupResponse,
  readTreeConnectResponse,
  SESSION_FLAG,
  sessionSetupRequest,
  SHARE,
  treeConnectRequest,
} from "./messages.ts";
import { type Agreement, checkValidation, CIPHERS, dialectName, type Offer } from "./negotiate.ts";
import { type Credentials, NtlmClient } from "./ntlm.ts";
import { STATUS, StatusError } from "./ntstatus.ts";
import { makeSigner, type Signer } from "./signing.ts";
import { initToken, MECHANISMS, offersNtlm, readServerToken, responseToken } from "./spnego.ts";

/** The session could not be made as safe as was asked for. */
export class RefusedError extends Error {
  /** The class's name. */
  override readonly name = "RefusedError";
}

/** How to log in. */
export interface Login {
  /** `null` is an anonymous login. */
  readonly credentials: Credentials | null;
  /** May the server treat the caller as its guest, who has no keys? */
  readonly guest: boolean;
  /** Is a session without encryption refused? */
  readonly encrypt: boolean;
  /** The server's name as the user knows it. */
  readonly host: string;
}

/** Agrees on a dialect. `hash` takes part. */
export async function negotiate(
  connection: Connection,
  offer: Offer,
  hash: PreauthHash,
): Promise<Agreement> {
  const frame = offer.request();
  const call = connection.request(COMMAND.negotiate, frame);
  hash.update(frame.subarray(FRAME_HEAD));
  const { status, message } = await call.response;
  if (status !== STATUS.SUCCESS) throw new StatusError(status, "the negotiation");
  const agreement = offer.agree(readNegotiateResponse(message));
  hash.update(message);
  const { securityBuffer } = agreement.response;
  if (securityBuffer.length > 0 && !offersNtlm(securityBuffer)) {
    throw new RefusedError("The server offers no NTLM login, and Kerberos is not spoken here");
  }
  connection.multiCredit = agreement.largeMtu;
  return agreement;
}

/** A session, and the tree `IPC$` in it. */
export class Session {
  /** The dialect and the rest of the negotiation. */
  readonly agreement: Agreement;
  /** `"AES-CMAC"`, …, or `null` for guests. */
  readonly signing: string | null;
  /** The build number of the server's system as its login says; Samba says 0. */
  readonly serverBuild: number | undefined;
  readonly #connection: Connection;
  readonly #offer: Offer;
  readonly #signer: Signer | undefined;
  readonly #keys: SessionKeys | undefined;

  private constructor(
    connection: Connection,
    offer: Offer,
    agreement: Agreement,
    serverBuild: number | undefined,
    signer?: Signer,
    keys?: SessionKeys,
  ) {
    this.#connection = connection;
    this.#offer = offer;
    this.agreement = agreement;
    this.serverBuild = serverBuild;
    this.signing = signer === undefined ? null : agreement.signing;
    this.#signer = signer;
    this.#keys = keys;
    const { sessionId } = connection;
    connection.protection = signer === undefined ? { sessionId } : { sessionId, signer };
  }

  /** `"AES-128-GCM"`, …, or `null` where messages are only signed. */
  get encryption(): string | null {
    if (this.#connection.protection?.encryption === undefined) return null;
    const { cipher } = this.agreement;
    return cipher === undefined ? null : CIPHERS[cipher].name;
  }

  /** Logs in, and protects the connection from then on. */
  static async logIn(
    connection: Connection,
    offer: Offer,
    agreement: Agreement,
    hash: PreauthHash,
    login: Login,
  ): Promise<Session> {
    if (login.encrypt && agreement.cipher === undefined) {
      throw new RefusedError(
        `The server cannot encrypt (dialect ${dialectName(agreement.dialect)})`,
      );
    }
    const ntlm = new NtlmClient(login.credentials, `cifs/${login.host}`);
    const setup = (token: Uint8Array) => {
      const frame = sessionSetupRequest(offer.securityMode, token);
      const call = connection.request(COMMAND.sessionSetup, frame);
      hash.update(frame.subarray(FRAME_HEAD));
      return call.response;
    };
    const first = await setup(initToken(ntlm.negotiate()));
    if (first.status !== STATUS.MORE_PROCESSING_REQUIRED) {
      throw first.status === STATUS.SUCCESS
        ? new MalformedError("The server ended the login before it began")
        : new StatusError(first.status, "the login");
    }
    hash.update(first.message);
    if (first.header.sessionId === 0n) throw new MalformedError("The server's session has no id");
    connection.sessionId = first.header.sessionId;
    const challenge = readServerToken(readSessionSetupResponse(first.message).token);
    if (challenge.token === undefined) {
      throw new MalformedError("The server sent no NTLM challenge");
    }
    const answer = ntlm.authenticate(challenge.token);
    const mic = login.credentials === null ? null : ntlm.sign("client", MECHANISMS);
    const last = await setup(responseToken(answer, mic));
    if (last.status !== STATUS.SUCCESS) throw new StatusError(last.status, "the login");
    const { flags, token } = readSessionSetupResponse(last.message);
    const build = ntlm.serverBuild;

    if (login.credentials === null || (flags & (SESSION_FLAG.guest | SESSION_FLAG.null)) !== 0) {
      if (login.credentials !== null && !login.guest) {
        throw new RefusedError(
          "The server did not log this user in, but let the caller be a guest",
        );
      }
      if (login.encrypt || (flags & SESSION_FLAG.encrypt) !== 0) {
        throw new RefusedError("A guest or anonymous session has no key to encrypt with");
      }
      return new Session(connection, offer, agreement, build);
    }
    const keys = sessionKeys(agreement.dialect, ntlm.sessionKey, hash.value, agreement.cipher);
    const signer = await makeSigner(agreement.signing, keys.signing);
    await checkLastAnswer(last, token, signer, ntlm);
    const session = new Session(connection, offer, agreement, build, signer, keys);
    if (login.encrypt || (flags & SESSION_FLAG.encrypt) !== 0) await session.#encrypt();
    return session;
  }

  /** Connects to the share `IPC$`, and makes sure that nobody has changed the negotiation. */
  async openTree(host: string): Promise<void> {
    const connection = this.#connection;
    const { status, header, message } = await connection.request(
      COMMAND.treeConnect,
      treeConnectRequest(`\\\\${host}\\IPC$`),
    ).response;
    if (status !== STATUS.SUCCESS) throw new StatusError(status, "the connection to IPC$");
    const { type, flags } = readTreeConnectResponse(message);
    if (type !== SHARE.pipe) throw new MalformedError("The server's IPC$ is not a pipe share");
    connection.treeId = header.treeId;
    if ((flags & SHARE.flagEncrypt) !== 0) await this.#encrypt();
    if (this.#signer !== undefined && this.#offer.mustValidate(this.agreement)) {
      await this.#validate();
    }
  }

  /** Leaves the tree and the session. */
  async logOff(): Promise<void> {
    const connection = this.#connection;
    if (connection.treeId !== 0) {
      await connection.request(COMMAND.treeDisconnect, emptyRequest()).response;
      connection.treeId = 0;
    }
    await connection.request(COMMAND.logoff, emptyRequest()).response;
  }

  async #encrypt(): Promise<void> {
    const connection = this.#connection;
    if (connection.protection?.encryption !== undefined) return;
    const { cipher } = this.agreement;
    const keys = this.#keys;
    if (
      cipher === undefined || keys?.clientToServer === undefined ||
      keys.serverToClient === undefined
    ) {
      throw new RefusedError("The server demands encryption, and no cipher was agreed on");
    }
    connection.protection = {
      ...connection.protection!,
      encryption: await Encryption.make(
        connection.sessionId,
        cipher,
        keys.clientToServer,
        keys.serverToClient,
      ),
    };
  }

  /** FSCTL_VALIDATE_NEGOTIATE_INFO (MS-SMB2 3.2.5.5), for dialects that the keys do not bind. */
  async #validate(): Promise<void> {
    const code = FSCTL.validateNegotiateInfo;
    const { status, message } = await this.#connection.request(
      COMMAND.ioctl,
      ioctlRequest(code, this.#offer.validateInput(), 24),
    ).response;
    if (status === STATUS.SUCCESS) {
      checkValidation(readIoctlResponse(message, code), this.agreement);
    } else if (status === STATUS.ACCESS_DENIED) {
      throw new MalformedError(
        "The server does not confirm the negotiation (a downgrade attack by somebody in between?)",
      );
    }
    // Any other status is signed too: that of a server which does not know the request.
  }
}

/** The last answer proves that the server knows the password, and that the messages are whole. */
async function checkLastAnswer(
  last: Response,
  token: Uint8Array,
  signer: Signer,
  ntlm: NtlmClient,
): Promise<void> {
  if ((last.header.flags & FLAG.signed) === 0 || !await signer.verify(last.message)) {
    throw new MalformedError(
      "The answer to the login has no right signature: what answers does not know the password, " +
        "or somebody between here and the server has changed the messages",
    );
  }
  if (token.length === 0) return;
  const { state, mic } = readServerToken(token);
  if (state !== undefined && state !== "completed") {
    throw new MalformedError("The server ends the login without completing it");
  }
  if (mic === undefined) return;
  const expected = ntlm.sign("server", MECHANISMS);
  if (mic.length !== expected.length || expected.some((byte, i) => byte !== mic[i])) {
    throw new MalformedError("The server's signature of the login mechanisms is wrong");
  }
}
