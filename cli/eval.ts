/**
 * `pushy eval TARGET CODE`: prints the value of an expression.
 *
 * @module
 */

import { Command } from "./libraries.ts";
import { connect, RemoteError } from "../mod.ts";
import { Exit, interruptible } from "./failure.ts";
import { connectOptions, type SharedOptions, withSharedOptions } from "./shared_options.ts";
import { jsonOf, showWith } from "./shown_values.ts";
import { isColoured, note, print } from "./terminal.ts";
import { explained } from "./typed_source.ts";

/** The command. */
export function evalCommand(): Command {
  return withSharedOptions(new Command("eval"))
    .summary("print the value of an expression")
    .description(
      "Evaluates CODE in a remote interpreter, and prints its value. JavaScript may use await. " +
        "With - the code is read from standard input. For an error the exit status is 1.",
    )
    .argument("<target>", 'where: "local:", "ssh:web1", "daemon:localhost"')
    .argument("<code>", "an expression, or statements; - reads standard input")
    .option("--json", "print JSON; an error is JSON on standard error")
    .addHelpText(
      "after",
      `
Examples:
  pushy eval local: '1 + 2'
  pushy eval ssh:web1 'Deno.hostname()'
  pushy eval ssh:web1 --runtime python '__import__("os").getloadavg()'
  pushy eval ssh:web1 --json '(await import("node:os")).cpus().map((cpu) => cpu.model)'
  pushy eval daemon:localhost - < check.js`,
    )
    .action(run);
}

async function run(
  target: string,
  code: string,
  options: SharedOptions & { json?: boolean },
): Promise<void> {
  const source = code === "-" ? await new Response(Deno.stdin.readable).text() : code;
  const connecting = await connectOptions(target, options);
  await interruptible(async (signal) => {
    await using con = await connect(target, { ...connecting, signal });
    const running = con.with({ signal });
    try {
      if (options.json) print(jsonOf(await running.eval(source)) + "\n");
      else {
        const show = showWith(con, isColoured(Deno.stdout), false);
        print(await show(running.eval(source), signal) + "\n");
      }
    } catch (error) {
      if (!options.json || !(error instanceof RemoteError)) throw explained(error, source);
      const { type, message, remoteStack: stack } = error;
      note(JSON.stringify({ error: { type, message, stack } }) + "\n");
      throw new Exit(1);
    }
  });
}
