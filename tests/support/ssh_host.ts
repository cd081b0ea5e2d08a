/**
 * A host with a name of its own: a daemon of a test's, as a user's `ssh web1` would reach it.
 *
 * @module
 */

import { type Account, makeAccount, type Server, startSshd, which } from "../ssh/servers.ts";

/** A host that is up. */
export interface SshHost extends AsyncDisposable {
  /** What a program needs in its environment for its `ssh` to know the name. */
  readonly env: Record<string, string>;
  /** The account that is logged in to, where one was asked for. */
  readonly account?: Account;
}

/**
 * Starts a daemon that `ssh NAME` leads to. With `account` there is a user with an empty home folder to log in as, which
 * needs root; else it is the user who runs the tests. With `password` that account is entered by its password alone.
 */
export async function startHost(
  name: string,
  { account = false, password = false }: { account?: boolean; password?: boolean } = {},
): Promise<SshHost> {
  await using made = new AsyncDisposableStack();
  const server: Server = made.use(await startSshd());
  const user = account ? made.use(await makeAccount("/bin/bash")) : undefined;
  const folder = server.folder;
  const config = [
    `Host ${name}`,
    "HostName 127.0.0.1",
    `Port ${server.port}`,
    `IdentityFile ${server.key}`,
    "IdentitiesOnly yes",
    `UserKnownHostsFile ${server.knownHosts}`,
    ...(user ? [`User ${user.name}`] : []),
    ...(password ? ["PubkeyAuthentication no"] : []),
  ];
  await Deno.writeTextFile(`${folder}/config`, config.join("\n") + "\n");
  // OpenSSH reads the configuration of the account, whatever HOME is: so it is named.
  await Deno.mkdir(`${folder}/bin`);
  const script = `#!/bin/sh\nexec '${which("ssh")}' -F '${folder}/config' "$@"\n`;
  await Deno.writeTextFile(`${folder}/bin/ssh`, script, { mode: 0o755 });
  const all = made.move();
  return {
    env: { PATH: `${folder}/bin:${Deno.env.get("PATH")}` },
    account: user,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
