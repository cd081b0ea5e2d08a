/**
 * The servers that the matrix connects to: one process, with a server on each kind of address.
 *
 * It is started once for a test file, before its tests, and ends with it. What the tests find there is another process,
 * as it is in use.
 *
 * @module
 */

import { run } from "../../server/run.ts";
import { makeCertificates } from "../daemon/servers.ts";
import { listenHostile } from "../hostile/listeners.ts";
import { PASSWORD, Samba, SAMBA_MISSING, USER } from "../smb/samba.ts";
import { QUICK_LOGIN, startSshd } from "../ssh/servers.ts";
import { findProgram } from "./programs.ts";

/** Where the servers are. */
export interface Addresses {
  readonly token: string;
  /** The port of the server on plain TCP, whose clients share an interpreter. */
  readonly tcp: number;
  /** The same over TLS, and the certificate of its authority, where openssl is installed. */
  readonly tls?: { readonly port: number; readonly ca: string };
  /** The socket of a server whose clients have an interpreter each. */
  readonly unix: string;
  /** Samba's port and pipe, and who may log in, where it is installed and the user is root. */
  readonly smb?: {
    readonly port: number;
    readonly username: string;
    readonly password: string;
    readonly pipe: string;
  };
  /** OpenSSH's port and what this user logs in with, where it is installed. */
  readonly ssh?: { readonly port: number; readonly key: string; readonly knownHosts: string };
}

/** The same, and what means no good at addresses of the same kinds. */
export interface AllAddresses extends Addresses {
  readonly hostile: Addresses;
}

/** Starts the process, and resolves once all servers listen. */
export async function startDaemons(): Promise<AllAddresses> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-config", new URL(import.meta.url).href],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let text = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (text.endsWith("\n")) break;
  }
  // Its input ends when this process does, however that happens.
  child.unref();
  return JSON.parse(text);
}

async function main(): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "pushy_daemons_" });
  const token = crypto.randomUUID();
  const common = { quiet: true, maxConnections: 100 };
  await using servers = new AsyncDisposableStack();
  servers.defer(() => Deno.remove(folder, { recursive: true }));
  const portOf = async (options: Parameters<typeof run>[0]) => {
    const server = servers.use(await run(options));
    return (server.addr as { port: number }).port;
  };
  const tcp = await portOf({ port: 0, token, ...common });
  const unix = `${folder}/pushy.sock`;
  servers.use(await run({ unix, isolate: "process", ...common }));
  let tls: Addresses["tls"];
  let certificates: { cert: string; key: string; ca: string } | undefined;
  if (findProgram("openssl")) {
    const { ca, cert, key } = certificates = await makeCertificates(folder);
    tls = { port: await portOf({ port: 0, token, tls: { cert, key }, ...common }), ca };
  }
  let smb: Addresses["smb"];
  let sambaFolder: string | undefined;
  if (SAMBA_MISSING === undefined) {
    const samba = servers.use(await Samba.start({ silent: true }));
    sambaFolder = samba.socket.slice(0, samba.socket.lastIndexOf("/"));
    servers.use(await run({ pipe: "pushy", sambaFolder, ...common }));
    smb = { port: samba.port, username: USER, password: PASSWORD, pipe: "pushy" };
  }
  let ssh: Addresses["ssh"];
  if (findProgram("sshd") && findProgram("ssh-keygen")) {
    const { port, key, knownHosts } = servers.use(await startSshd(QUICK_LOGIN));
    ssh = { port, key, knownHosts };
  }
  const listening = servers.use(await listenHostile({ folder, token, certificates, sambaFolder }));
  const hostile: Addresses = {
    ...{ token, ssh, tcp: listening.tcp, unix: listening.unix },
    tls: tls && { ...tls, port: listening.tls! },
    smb: smb && { ...smb, pipe: listening.pipe! },
  };
  const addresses: AllAddresses = { token, tcp, tls, unix, smb, ssh, hostile };
  await Deno.stdout.write(new TextEncoder().encode(`${JSON.stringify(addresses)}\n`));
  while (await Deno.stdin.read(new Uint8Array(64)) !== null);
}

if (import.meta.main) {
  await main();
  Deno.exit(0);
}
