/**
 * `pushy ping TARGET`: how long connecting takes, stage by stage, and then a call.
 *
 * @module
 */

import { Command } from "./libraries.ts";
import { connect, type TraceEvent } from "../mod.ts";
import { interruptible } from "./failure.ts";
import {
  connectOptions,
  type SharedOptions,
  wholeNumber,
  withSharedOptions,
} from "./shared_options.ts";
import { print } from "./terminal.ts";

const STAGES: Record<string, string> = {
  resolve: "load the transport",
  start: "start",
  banner: "agent answers",
};

/** The command. */
export function pingCommand(): Command {
  return withSharedOptions(new Command("ping"))
    .summary("how long connecting takes, and a call")
    .description(
      "Connects, and shows how long each stage took; then makes calls, one after the other, and shows the shortest, the " +
        "median and the longest.",
    )
    .argument("<target>", 'where: "local:", "ssh:web1", "daemon:localhost"')
    .option("--count <number>", "how many calls", wholeNumber, 100)
    .addHelpText(
      "after",
      `
Examples:
  pushy ping local:
  pushy ping ssh:web1 --count 1000
  pushy ping ssh:web1 --runtime python`,
    )
    .action(run);
}

async function run(target: string, options: SharedOptions & { count: number }): Promise<void> {
  const connecting = await connectOptions(target, options);
  await interruptible(async (signal) => {
    const stages: TraceEvent[] = [];
    let connected = false;
    const { trace } = connecting;
    const begun = performance.now();
    await using con = await connect(target, {
      ...connecting,
      signal,
      trace: (event) => {
        trace?.(event);
        // Afterwards a trace would be part of what is measured.
        if (!connected && event.kind === "stage") stages.push(event);
      },
    });
    connected = true;
    const call = con.with({ signal });
    await call.eval("0");
    const first = performance.now() - begun;
    const { runtime, version, pid, platform } = con.interpreter;
    print(`${target} is ${runtime} ${version} on ${platform}, process ${pid}\n`);
    for (const [index, { what, at }] of stages.entries()) {
      const next = stages[index + 1];
      if (next) print(line(STAGES[what] ?? what, next.at - at));
    }
    print(line("first result", first - stages.at(-1)!.at));
    print(line("in all", first));
    const times: number[] = [];
    for (let i = 0; i < options.count; i++) {
      const start = performance.now();
      await call.eval("0");
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    const [shortest, median, longest] = [times[0]!, times[times.length >> 1]!, times.at(-1)!];
    print(
      `${options.count} calls: minimum ${ms(shortest)}, median ${ms(median)}, maximum ${
        ms(longest)
      }\n`,
    );
  });
}

function line(what: string, time: number): string {
  return `  ${what.padEnd(20)}${ms(time).padStart(12)}\n`;
}

function ms(time: number): string {
  return `${time.toFixed(time < 10 ? 3 : 1)} ms`;
}
