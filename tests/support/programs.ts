/**
 * What tests need beside Deno: for each program, the command, why a test wants it, and how to get
 * it. A new row is all that a new requirement takes.
 *
 * @module
 */

/** A program that some tests need and that a machine may lack. */
export interface Program {
  /** The command's name on the PATH. */
  readonly command?: string;
  /** Instead of a command: a file or folder whose presence shows that it is installed. */
  readonly file?: string;
  /** Why tests need it. */
  readonly why: string;
  /** The Debian package that has it. */
  readonly apt?: string;
  /** The npm package that has it, with its version: installed into {@linkcode cacheFolder}. */
  readonly npm?: string;
}

const PYTHON_MODULES = "/usr/lib/python3/dist-packages";

/** Every program, by the name that tests call it. */
export const PROGRAMS = {
  sshd: {
    command: "sshd",
    why: "the server that the ssh transport is tested with",
    apt: "openssh-server",
  },
  ssh: { command: "ssh", why: "the client of the native ssh transport", apt: "openssh-client" },
  sftp: { command: "sftp", why: "file transfer of the ssh transport", apt: "openssh-client" },
  "ssh-keygen": { command: "ssh-keygen", why: "keys of test servers", apt: "openssh-client" },
  "ssh-agent": { command: "ssh-agent", why: "login through an agent", apt: "openssh-client" },
  "sftp-server": {
    file: "/usr/lib/openssh/sftp-server",
    why: "the server's half of file transfer",
    apt: "openssh-sftp-server",
  },
  dropbear: {
    command: "dropbear",
    why: "a second ssh server, as on small machines",
    apt: "dropbear-bin",
  },
  plink: { command: "plink", why: "PuTTY's ssh client", apt: "putty-tools" },
  puttygen: { command: "puttygen", why: "keys in PuTTY's format", apt: "putty-tools" },
  smbd: { command: "smbd", why: "the server that the smb transport is tested with", apt: "samba" },
  impacket: {
    file: `${PYTHON_MODULES}/impacket`,
    why: "a second implementation of SMB to test against",
    apt: "python3-impacket",
  },
  python3: { command: "python3", why: "the Python runtime", apt: "python3" },
  pypy3: { command: "pypy3", why: "the other Python", apt: "pypy3" },
  numpy: {
    file: `${PYTHON_MODULES}/numpy`,
    why: "arrays of Python's own that are no module of its standard library",
    apt: "python3-numpy",
  },
  bash: { command: "bash", why: "a login shell", apt: "bash" },
  dash: { command: "dash", why: "a login shell", apt: "dash" },
  zsh: { command: "zsh", why: "a login shell", apt: "zsh" },
  fish: { command: "fish", why: "a login shell", apt: "fish" },
  tcsh: { command: "tcsh", why: "a login shell", apt: "tcsh" },
  ksh: { command: "ksh", why: "a login shell", apt: "ksh" },
  busybox: { command: "busybox", why: "a login shell", apt: "busybox" },
  tmux: { command: "tmux", why: "programs that need a terminal", apt: "tmux" },
  openssl: { command: "openssl", why: "certificates of the daemon's tests", apt: "openssl" },
  git: { command: "git", why: "a clean checkout", apt: "git" },
  setpriv: { command: "setpriv", why: "an agent without the rights of root", apt: "util-linux" },
  taskset: { command: "taskset", why: "pinning processes to one CPU", apt: "util-linux" },
  node: { command: "node", why: "the Node runtime", apt: "nodejs" },
  node18: { command: "node", why: "the oldest Node that is supported", npm: "node@18" },
  node22: { command: "node", why: "a Node of long-term support", npm: "node@22" },
  node24: { command: "node", why: "a Node of long-term support", npm: "node@24" },
  bun: { command: "bun", why: "the Bun runtime", npm: "bun@1" },
} as const satisfies Record<string, Program>;

/** The name of a row of {@linkcode PROGRAMS}. */
export type ProgramName = keyof typeof PROGRAMS;

/** Where programs from npm are installed: outside the checkout, kept from run to run. */
export function cacheFolder(): string {
  const own = Deno.env.get("PUSHY_TEST_CACHE");
  if (own) return own;
  const base = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME") ?? "/tmp"}/.cache`;
  return `${base}/pushy-tests`;
}

/** The absolute path of a program of the table, or `undefined` where it is not installed. */
export function findProgram(name: ProgramName): string | undefined {
  const program: Program = PROGRAMS[name];
  if (program.file !== undefined) return exists(program.file) ? program.file : undefined;
  const command = program.command ?? name;
  if (program.npm !== undefined) {
    const installed = `${npmFolder(name)}/node_modules/.bin/${command}`;
    if (exists(installed)) return installed;
    // A bare "node" of the PATH is not the version that the row asks for.
    if (command !== name) return undefined;
  }
  return findOnPath(command);
}

/** The folder that a program from npm is installed into. */
export function npmFolder(name: ProgramName): string {
  return `${cacheFolder()}/${name}`;
}

/** How a person installs what is missing. */
export function howToGet(name: ProgramName): string {
  const program: Program = PROGRAMS[name];
  if (program.apt) return `apt-get install ${program.apt}`;
  return `npm install --prefix ${npmFolder(name)} ${program.npm}`;
}

/** The absolute path of a command, or `undefined`. Servers stand in sbin, which a user's PATH may lack. */
export function findOnPath(command: string): string | undefined {
  const folders = (Deno.env.get("PATH") ?? "").split(":").filter((path) => path.startsWith("/"));
  return [...folders, "/usr/local/sbin", "/usr/sbin", "/sbin"]
    .map((folder) => `${folder}/${command}`)
    .find(exists);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}
