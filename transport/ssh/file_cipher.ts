/**
 * Which cipher a copy of files has with OpenSSH's client.
 *
 * OpenSSH prefers ChaCha20-Poly1305, which is best on a processor that has no instructions for AES.
 * With them, AES-GCM takes a fifth of the time, and a copy is bound by the processor. So the client's
 * own list is given back to it in another order, and nothing is added to it. A list of the user's
 * stays as it is.
 *
 * @module
 */

const PREFERRED = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"];

const defaults = new Map<string, Promise<string[]>>();
let accelerated: Promise<boolean> | undefined;

/**
 * Gives more words for the client's command line, or none.
 *
 * @param args the client's words for the connection, up to and without the host
 */
export async function fileCipherArgs(
  program: string,
  args: readonly string[],
  host: string,
): Promise<string[]> {
  if (!await (accelerated ??= hasAesInstructions())) return [];
  let usual = defaults.get(program);
  if (!usual) defaults.set(program, usual = ciphersOf(program, ["-F", "none"], "localhost"));
  const [ours, theirs] = await Promise.all([ciphersOf(program, args, host), usual]);
  if (ours.length === 0 || ours.join() !== theirs.join()) return [];
  const first = PREFERRED.filter((cipher) => ours.includes(cipher));
  const rest = ours.filter((cipher) => !first.includes(cipher));
  return ["-o", `Ciphers=${[...first, ...rest].join()}`];
}

// By asking the client, which connects nowhere for it. Where it cannot say, its list is empty.
async function ciphersOf(
  program: string,
  args: readonly string[],
  host: string,
): Promise<string[]> {
  const { stdout } = await new Deno.Command(program, {
    args: ["-G", ...args, "--", host],
    stdin: "null",
    stderr: "null",
  }).output();
  const line = /^ciphers (.*)$/m.exec(new TextDecoder().decode(stdout));
  return line ? line[1]!.trim().split(",") : [];
}

async function hasAesInstructions(): Promise<boolean> {
  if (Deno.build.os === "darwin") return true;
  try {
    return /^(?:flags|Features)\s*:.*\baes\b/m.test(await Deno.readTextFile("/proc/cpuinfo"));
  } catch {
    // Not told here, so the client decides.
    return false;
  }
}
