/**
 * Clients that are let in, and then break the rules: on each kind of address, and the others meanwhile.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { ConnectOptions } from "../../mod.ts";
import { How, Op } from "../../protocol/messages.ts";
import type { RunOptions } from "../../server/run.ts";
import { ConnChannel } from "../../transport/daemon/channel.ts";
import { enter, tokenKey } from "../../transport/daemon/handshake.ts";
import { bytesOf } from "../hostile/agent.mjs";
import { FLOODS, OFFENCES, type Order } from "../hostile/attempts.ts";
import { leakGuard } from "../support/leaks.ts";
import { requires } from "../support/requirement.ts";
import { type Daemon, daemon, Home, makeCertificates, reach } from "./servers.ts";

const TOKEN = "the token";

/** PEM texts. */
interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

let made: Promise<Certificates> | undefined;

/** Made once: it takes its time. */
function certificatesOnce(): Promise<Certificates> {
  return made ??= (async () => {
    await using home = new Home();
    const paths = await makeCertificates(home.folder);
    const [ca, cert, key] = await Promise.all(
      [paths.ca, paths.cert, paths.key].map((path) => Deno.readTextFile(path)),
    );
    return { ca: ca!, cert: cert!, key: key! };
  })();
}

/** A kind of address. */
interface Kind {
  readonly name: string;
  readonly ignore: boolean;
  run(home: Home, certificates?: Certificates): RunOptions;
  dial(server: Daemon, home: Home, certificates?: Certificates): Promise<Deno.Conn>;
  reach(server: Daemon, home: Home, certificates?: Certificates): [number | string, ConnectOptions];
}

const KINDS: readonly Kind[] = [
  {
    name: "tcp",
    ignore: false,
    run: () => ({ token: TOKEN }),
    dial: ({ port }) => Deno.connect({ hostname: "127.0.0.1", port }),
    reach: ({ port }) => [port, { token: TOKEN }],
  },
  {
    name: "tls",
    ignore: requires("openssl").ignore,
    run: (_home, { cert, key } = NONE) => ({ token: TOKEN, tls: { cert, key } }),
    dial: ({ port }, _home, { ca } = NONE) =>
      Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] }),
    reach: ({ port }, _home, { ca } = NONE) => [port, { token: TOKEN, tls: { caCerts: ca } }],
  },
  {
    name: "unix",
    ignore: false,
    run: (home) => ({ unix: home.path("socket"), token: TOKEN }),
    dial: (_server, home) => Deno.connect({ transport: "unix", path: home.path("socket") }),
    reach: (_server, home) => [home.path("socket"), { token: TOKEN }],
  },
];

const NONE = {} as Certificates;

/** A client that was let in, and says what it likes. */
class Intruder {
  readonly #conn: Deno.Conn;
  readonly #channel: ConnChannel;

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.#channel = new ConnChannel(conn);
  }

  static async enter(conn: Deno.Conn): Promise<Intruder> {
    const intruder = new Intruder(conn);
    const credential = async () => ({ key: await tokenKey(TOKEN), place: "" });
    await enter(intruder.#channel, credential, () => Promise.resolve(true));
    return intruder;
  }

  /** Obeys, until the server has had enough. */
  async obey(orders: readonly Order[]): Promise<void> {
    try {
      for (const order of orders) {
        if (!("orders" in order)) {
          if (!order.deaf) await this.#channel.write(bytesOf(order));
          continue;
        }
        for (let n = 1;; n++) {
          for (const one of order.orders) await this.#channel.write(bytesOf(one, { n }));
        }
      }
    } catch {
      // The server has closed.
    }
  }

  /** What comes until the end, or until `enough`. */
  async read(enough: (text: string) => boolean = () => false): Promise<string> {
    const buffer = new Uint8Array(64 << 10);
    let text = "";
    try {
      for (;;) {
        const length = await this.#conn.read(buffer);
        if (length === null) return text;
        text += new TextDecoder("latin1").decode(buffer.subarray(0, length));
        if (enough(text)) return text;
      }
    } catch {
      // A connection that is reset has ended, too.
      return text;
    }
  }

  /** Without a farewell. */
  leave(): void {
    this.#channel.close();
  }
}

/** What a test gets. */
interface Scene {
  readonly server: Daemon;
  intrude(): Promise<Intruder>;
}

function attack(name: string, options: RunOptions, test: (scene: Scene) => Promise<void>): void {
  for (const kind of KINDS) {
    Deno.test({
      name: `daemon ${kind.name}: ${name}`,
      ignore: kind.ignore,
      async fn() {
        await using _guard = leakGuard({ grace: 3000 });
        await using home = new Home();
        const certificates = kind.name === "tls" ? await certificatesOnce() : undefined;
        await using server = await daemon({ ...kind.run(home, certificates), ...options });
        const [where, how] = kind.reach(server, home, certificates);
        await using honest = await reach(
          kind.name === "tls" ? `localhost:${where}` : where,
          how,
        );
        const intrude = async () =>
          await Intruder.enter(await kind.dial(server, home, certificates));
        await test({ server, intrude });
        assertEquals(await honest.eval("1 + 1"), 2);
        assertEquals(server.server.connections, 1);
      },
    });
  }
}

/** What a caller may do, though an agent may not: nothing was passed to it. */
const ofCallers = Object.entries(OFFENCES).filter(([, { orders, pass }]) =>
  !pass && !JSON.stringify(orders).includes("$0")
);

/** The reasons why clients have gone, once so many have. */
async function goodbyes(server: Daemon, count: number): Promise<string[]> {
  const gone = () => server.log.filter(({ event }) => event === "disconnected");
  await server.logged(() => gone().length >= count);
  return gone().map(({ reason }) => `${reason}`);
}

attack("who breaks the rules is sent away", {}, async ({ intrude, server }) => {
  for (const [index, [name, { orders }]] of ofCallers.entries()) {
    const intruder = await intrude();
    // What is said to one that floods may be lost with the connection: the log has it.
    const deaf = orders.some((order) => "deaf" in order);
    const reading = deaf ? undefined : intruder.read();
    await intruder.obey(orders);
    await reading;
    const reason = (await goodbyes(server, index + 1)).at(-1)!;
    assert(/^The peer |^There are more/.test(reason), `${name}: ${reason}`);
    intruder.leave();
  }
});

const limits = { references: 1000, pendingCalls: 1000, channels: 100 };

attack("floods end at their limit", { limits }, async ({ intrude, server }) => {
  const floods = Object.entries(FLOODS).filter(([, { pass }]) => !pass);
  for (const [index, [name, { say }]] of floods.entries()) {
    const intruder = await intrude();
    const reading = intruder.read();
    await intruder.obey([{ orders: [{ say: [say] }] }]);
    await reading;
    assertStringIncludes((await goodbyes(server, index + 1)).at(-1)!, "limits.", name);
    intruder.leave();
  }
});

attack(
  "frames that are begun and never ended cost what was sent",
  {},
  async ({ intrude, server }) => {
    const before = Deno.memoryUsage().rss;
    const intruders = await Promise.all(Array.from({ length: 20 }, intrude));
    for (const intruder of intruders) {
      await intruder.obey([{ text: [["[", 10]], length: 4 << 20, textLength: 4 << 20 }]);
    }
    assertEquals(server.server.connections, 21);
    assert(Deno.memoryUsage().rss - before < 64 << 20);
    for (const intruder of intruders) intruder.leave();
    await server.logged(() => server.server.connections === 1);
  },
);

attack("callbacks without end are its own affair", {}, async ({ intrude, server }) => {
  const intruder = await intrude();
  const code = "async (f) => { for (;;) await f() }";
  await intruder.obey([{
    say: [
      [Op.callAndPull, 1, 0, ["eval"], How.call, [code]],
      [Op.call, 2, 1, [], How.call, [0, ["r", 1, 1, "f"]], 1],
    ],
  }]);
  let called = 0;
  // It answers each call of its function, so that the next one comes; then it is gone.
  while (called < 500) {
    const text = await intruder.read((text) => /\[[12],\d+,-1,/.test(text));
    const ids = [...text.matchAll(/\[[12],(\d+),-1,/g)].map((match) => Number(match[1]));
    assert(ids.length > 0, text);
    called += ids.length;
    await intruder.obey([{ say: ids.map((id) => [Op.return, id, null]) }]);
  }
  intruder.leave();
  await server.logged(() => server.server.connections === 1);
});
