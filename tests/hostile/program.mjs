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
  // Behind a daemon of SSH nobody can end what does not look: so it ends by itself.
  deafen() {
    process.stdin.pause();
    setTimeout(() => process.exit(0), 2000);
  },
});
process.stdin.on("data", (bytes) => agent.receive(bytes));
process.stdin.on("end", () => process.exit(0));
process.stdout.on("error", () => process.exit(1));
