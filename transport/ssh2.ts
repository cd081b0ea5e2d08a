/**
 * The `ssh:` transport for programs made by `deno compile`, which have no network to load
 * npm:ssh2 from: importing this module brings the library along.
 *
 * It is the same {@linkcode Popen}, with the same choice between the system's client and the one in
 * this process, and `import "@pushy/core/transport/ssh2"` anywhere in a program is enough.
 *
 * @module
 */

// Whoever compiles this needs the versions that the transport loads otherwise.
// deno-lint-ignore no-import-prefix
import ssh2 from "npm:ssh2@^1.17.0";
// deno-lint-ignore no-import-prefix
import sshConfig from "npm:ssh-config@^5.3.0";
import { provideLibraries, type Ssh2Library, type SshConfigLibrary } from "./ssh/ssh2_library.ts";

provideLibraries(
  ssh2 as unknown as Ssh2Library,
  sshConfig as unknown as SshConfigLibrary,
);

export {
  type MissingHostKeyPolicy,
  options,
  Popen,
  type PromptCallback,
  type SshOptions,
  type SshPrompt,
  type UnknownHostKey,
} from "./ssh.ts";
