/**
 * Where an ssh address leads by the user's configuration: the client itself is asked.
 *
 * @module
 */

/** A host and a port to try. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** What the user calls the host, where the configuration has another name for it. */
  readonly alias?: string;
  /** What stands between, where there is no direct way: a jump host, or a command. */
  readonly proxy?: string;
}

/** What `ssh -G` makes of a host; `undefined` where there is no OpenSSH to ask. */
export async function sshEndpoint(
  host: string,
  given: {
    port?: number | undefined;
    username?: string | undefined;
    configFile?: string | undefined;
    sshArgs?: readonly string[] | undefined;
  },
): Promise<Endpoint | undefined> {
  const args = [
    "-G",
    ...given.configFile === undefined ? [] : ["-F", given.configFile],
    ...given.sshArgs ?? [],
    ...given.port === undefined ? [] : ["-p", String(given.port)],
    ...given.username === undefined ? [] : ["-l", given.username],
    "--",
    host,
  ];
  let text: string;
  try {
    const program = Deno.env.get("PUSHY_NATIVE_SSH") || "ssh";
    const { success, stdout } = await new Deno.Command(program, { args, stdin: "null" }).output();
    if (!success) return undefined;
    text = new TextDecoder().decode(stdout);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const value = (name: string) => new RegExp(`^${name} (.*)$`, "m").exec(text)?.[1];
  const [name, port] = [value("hostname"), Number(value("port"))];
  if (!name || !(port > 0)) return undefined;
  const [jump, command] = [value("proxyjump"), value("proxycommand")];
  const proxy = [jump, command].find((found) => found && !/^none$/i.test(found));
  return {
    host: name,
    port,
    ...name.toLowerCase() === host.toLowerCase() ? {} : { alias: host },
    ...proxy ? { proxy } : {},
  };
}
