/**
 * `pushy server`: the daemon, with its own flags.
 *
 * @module
 */

import { Command } from "./libraries.ts";
import { Exit } from "./failure.ts";

/** The command. What follows its name is the server's to read, `--help` too. */
export function serverCommand(): Command {
  return new Command("server")
    .summary('serve a live interpreter to connect("daemon:host")')
    .usage("[options] [stdio]")
    .argument("[args...]")
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => {
      // Loaded only here: the other commands need no server.
      const { main } = await import("../server/main.ts");
      const status = await main(args);
      if (status !== 0) throw new Exit(status);
    });
}
