import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import { connect, ConnectionLostError } from "../../mod.ts";
import { ConnectionError } from "../../transport/errors.ts";
import { Popen } from "../../transport/ssh.ts";
import { leakGuard, marked } from "../support/leaks.ts";
import { lacking, reach, startSshd, WAYS } from "./servers.ts";
import { startSlowProxy } from "./slow_proxy.ts";

const ignore = Deno.build.os !== "linux" || lacking("sshd", "ssh", "ssh-keygen");

/** Every host key of this server is known, whatever port it is reached by. */
async function anyPort(folder: string, hostKey: string): Promise<string> {
  const [type, blob] = (await Deno.readTextFile(`${hostKey}.pub`)).split(" ");
  const file = `${folder}/any_port`;
  await Deno.writeTextFile(file, `* ${type} ${blob}\n`);
  return file;
}

/** The children of this process that ended and were never waited for. */
function zombies(): string[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = Deno.readTextFileSync(`/proc/${name}/stat`);
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return state === "Z" && Number(parent) === Deno.pid ? [stat] : [];
    } catch {
      return [];
    }
  });
}

for (const { way, useNative } of WAYS) {
  Deno.test({
    name: `${way}: a network that is cut, and one that falls silent, are told apart`,
    ignore,
    fn: async (t) => {
      await using server = await startSshd();
      const knownHosts = await anyPort(server.folder, server.hostKey);
      for (
        const [name, end, code] of [
          ["cut", "cut", "ECONNRESET"],
          ["silent", "freeze", "ETIMEDOUT"],
        ] as const
      ) {
        await t.step(name, async () => {
          await using proxy = startSlowProxy(server.port, 0);
          await using transport = await Popen(["cat"], {
            ...reach(server),
            address: `127.0.0.1:${proxy.port}`,
            knownHosts,
            useNative,
            keepAlive: { interval: 1000, count: 1 },
          });
          await transport.channel!.write(new Uint8Array(1));
          await transport.channel!.read(new Uint8Array(1));
          proxy[end]();
          const { code: exit, signal, reason } = await transport.status;
          assertEquals([exit, signal], [null, null]);
          assertInstanceOf(reason, ConnectionError);
          assertEquals([reason.code, reason.stage], [code, "session"]);
          assert(reason.hint);
        });
      }
    },
  });

  Deno.test({
    name: `${way}: close returns for an agent that is stopped, says so, and it goes all the same`,
    ignore,
    fn: async () => {
      await using server = await startSshd();
      await using guard = leakGuard({ grace: 8000 });
      const { address, ...rest } = reach(server);
      const con = await connect(`ssh:${address}`, {
        ...rest,
        useNative,
        interpreter: Deno.execPath(),
        env: guard.env,
      });
      await con.eval("1");
      const { pid } = con.interpreter;
      Deno.kill(pid, "SIGSTOP");
      await con.close();
      const { code, signal, reason } = await con.transport.status;
      assertEquals([code, signal], [null, null]);
      assertInstanceOf(reason, ConnectionError);
      assertEquals(reason.code, "ECHANNEL");
      assertStringIncludes(reason.message, "not known");
      assertStringIncludes(reason.hint!, "continued");
      assert(marked(guard.id).includes(pid));
      // That it goes now, the guard sees.
    },
  });

  Deno.test({
    name: `${way}: no process that has ended is left unwaited for`,
    ignore,
    fn: async () => {
      await using server = await startSshd();
      const options = { ...reach(server), useNative };
      const text = `${server.folder}/text`;
      await Deno.writeTextFile(text, "x");
      for (const command of [["true"], ["cat"], ["no-such-program-here"]]) {
        const transport = await Popen(command, options);
        if (command[0] === "cat") await transport.getfile!(text, `${text}2`);
        await transport.close();
      }
      assertEquals(zombies(), []);
    },
  });
}

Deno.test({
  name: "native: a client that is killed in the middle is what a connection says it was lost by",
  ignore,
  fn: async () => {
    await using server = await startSshd();
    await using guard = leakGuard({ grace: 8000 });
    const { address, ...rest } = reach(server);
    await using con = await connect(`ssh:${address}`, {
      ...rest,
      useNative: true,
      interpreter: Deno.execPath(),
      env: guard.env,
    });
    const pending = con.eval("new Promise(() => {})").then(() => undefined, (error) => error);
    await con.eval("1");
    Deno.kill((con.transport as unknown as { pid: number }).pid, "SIGKILL");
    const error = await pending;
    assertInstanceOf(error, ConnectionLostError);
    assertStringIncludes(error.message, "SIGKILL");
    assertEquals(((await con.transport.status).reason as ConnectionError).code, "ECLIENT");
  },
});
