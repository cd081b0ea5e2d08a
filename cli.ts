/**
 * The command line: `deno install -gA -n pushy jsr:@pushy/core/cli`, or in place `deno run -A cli.ts`.
 *
 * Arguments are parsed by npm:commander: it has no dependencies, its types are its own, it knows sub-commands, variadic
 * arguments and help with examples, and its parser can be looked into, which the completion scripts do.
 *
 * @example
 * ```ts
 * import { main } from "@pushy/core/cli";
 *
 * const status = await main(["eval", "local:", "1 + 2"]);
 * console.log(status); // 0
 * ```
 *
 * @module
 */

import { Command, CommanderError } from "./cli/libraries.ts";
import config from "./deno.json" with { type: "json" };
import { completionsCommand } from "./cli/completions.ts";
import { cpCommand } from "./cli/cp.ts";
import { doctorCommand } from "./cli/doctor.ts";
import { evalCommand } from "./cli/eval.ts";
import { report } from "./cli/failure.ts";
import { pingCommand } from "./cli/ping.ts";
import { replCommand } from "./cli/repl.ts";
import { serverCommand } from "./cli/server.ts";

function program(): Command {
  const program = new Command("pushy")
    .description("A live interpreter on another machine, with nothing installed there.")
    .version(config.version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show help")
    .enablePositionalOptions()
    .addHelpText(
      "after",
      `
A TARGET is transport:address: local: ssh:[user@]host[:port] daemon:host[:port] smb:host

Examples:
  pushy eval ssh:web1 'Deno.hostname()'
  pushy repl ssh:web1 --runtime python
  pushy cp -r site ssh:web1:/var/www/site
  pushy doctor ssh:web1`,
    );
  for (
    const make of [
      evalCommand,
      replCommand,
      cpCommand,
      pingCommand,
      doctorCommand,
      serverCommand,
      () => completionsCommand(program),
    ]
  ) {
    program.addCommand(make());
  }
  for (const command of [program, ...program.commands]) {
    command.exitOverride().showHelpAfterError("(--help shows how it is used)");
  }
  return program;
}

/**
 * Runs a command line.
 *
 * @param args the arguments: `["eval", "local:", "1 + 2"]`
 * @returns the exit status: 0; 1 for what failed; 2 for a command line that means nothing; 130 for Ctrl-C; 141 where nobody
 * reads the output any more
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await program().parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return report(error);
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
