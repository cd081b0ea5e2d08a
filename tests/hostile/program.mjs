/** The hostile agent as a program, in place of an interpreter: `program.mjs RUNTIME`, on its own input and output. */

import process from "node:process";
import { HostileAgent } from "./agent.mjs";

const agent = new HostileAgent({
  runtime: process.argv[2],
  loaded: true,
  send: (bytes) =>
    new Promise((resolve, reject) =>
      process.stdout.write(bytes, (error) => error ? reject(error) : resolve())
    ),
  deafen: () => process.stdin.pause(),
});
process.stdin.on("data", (bytes) => agent.receive(bytes));
process.stdin.on("end", () => process.exit(0));
process.stdout.on("error", () => process.exit(1));
// Also where it is deaf, it stays until somebody ends it.
setInterval(() => {}, 1000);
