import { assert } from "@std/assert";
import { connect } from "../../mod.ts";
import { lacking, reach, type Server, startSshd, WAYS } from "./servers.ts";
import { startSlowProxy } from "./slow_proxy.ts";

// Each way, in milliseconds: what a client says without waiting leaves well before an answer arrives.
const DELAY = 30;
// What a client says of its own accord (a window, a sign of life) may count as one.
const UNASKED = 1;

// Until a byte has come back through `ssh host cat`.
async function plainTurns(server: Server, knownHosts: string): Promise<number> {
  await using proxy = startSlowProxy(server.port, DELAY);
  const child = new Deno.Command("ssh", {
    args: [
      ...["-T", "-F", "none", "-i", server.key, "-o", "IdentitiesOnly=yes"],
      ...["-o", `UserKnownHostsFile=${knownHosts}`, "-o", "BatchMode=yes"],
      ...["-p", String(proxy.port), "127.0.0.1", "cat"],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new Uint8Array(1));
  const reader = child.stdout.getReader();
  await reader.read();
  const turns = proxy.turns();
  await writer.close();
  await reader.read();
  await child.status;
  return turns;
}

for (const { way, useNative } of WAYS) {
  Deno.test({
    name:
      `${way}: the agent is there as soon as an echo of ssh's own, a result one round trip later`,
    ignore: lacking("sshd", "ssh", "ssh-keygen"),
    fn: async () => {
      await using server = await startSshd();
      const knownHosts = `${server.folder}/every_port`;
      const [type, blob] = (await Deno.readTextFile(`${server.hostKey}.pub`)).split(" ");
      await Deno.writeTextFile(knownHosts, `* ${type} ${blob}\n`);
      const plain = await plainTurns(server, knownHosts);

      await using proxy = startSlowProxy(server.port, DELAY);
      const { address: _address, ...rest } = reach(server);
      await using con = await connect(`ssh:127.0.0.1:${proxy.port}`, {
        ...rest,
        knownHosts,
        useNative,
        interpreter: Deno.execPath(),
      });
      const connected = proxy.turns();
      await con.eval("1");
      const result = proxy.turns();
      assert(connected <= plain + UNASKED, `${connected} round trips, ssh's own echo ${plain}`);
      assert(result - connected <= 1 + UNASKED, `${result - connected} round trips for a call`);
    },
  });
}
