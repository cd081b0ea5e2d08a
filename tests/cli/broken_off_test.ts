import { assert, assertEquals, assertMatch } from "@std/assert";
import { type LeakGuard, leakGuard } from "../support/leaks.ts";
import { CLI, pushy } from "./terminal.ts";

/**
 * Copies that end half-way, by whatever ends them. The bytes go through a gate that lets only some of them pass: so each
 * copy is in the middle when it is ended, however fast the machine is.
 */

const SIZE = 8 << 20;
const HALF = 4 << 20;
const TOKEN = "a token of this test";

type Side = "client" | "server";
type End = "SIGINT to the client" | "SIGKILL to the client" | "SIGKILL to the agent";

/** Passes bytes on between a client and a server, but no more than `most` that come from one of them. */
class Gate implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  readonly #serving: Promise<void>;
  /** Resolves when no more may pass. */
  readonly shut: Promise<void>;
  #shut!: () => void;
  /** So many bytes of that side have passed. */
  passed = 0;

  constructor(port: number, from: Side, most = Infinity) {
    this.shut = new Promise((resolve) => this.#shut = resolve);
    this.#serving = this.#serve(port, from, most);
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async #serve(port: number, from: Side, most: number): Promise<void> {
    const pumps: Promise<void>[] = [];
    for await (const client of this.#listener) {
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      this.#open.add(client).add(server);
      pumps.push(this.#pump(client, server, from === "client" ? most : undefined));
      pumps.push(this.#pump(server, client, from === "server" ? most : undefined));
    }
    await Promise.all(pumps);
  }

  async #pump(from: Deno.Conn, to: Deno.Conn, most: number | undefined): Promise<void> {
    const buffer = new Uint8Array(64 << 10);
    try {
      for (let length; (length = await from.read(buffer)) !== null;) {
        for (let at = 0; at < length;) at += await to.write(buffer.subarray(at, length));
        if (most === undefined) continue;
        this.passed += length;
        if (this.passed >= most) return this.#shut();
      }
    } catch {
      // One of them is gone, and with that the other has to go.
    }
    this.#close(from);
    this.#close(to);
  }

  #close(conn: Deno.Conn): void {
    if (this.#open.delete(conn)) conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#open) this.#close(conn);
    await this.#serving;
  }
}

/** A server, which is the agent of all its clients. */
class Server implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly port: number;
  #alive = true;

  constructor(process: Deno.ChildProcess, port: number) {
    this.#process = process;
    this.port = port;
  }

  static async start(guard: LeakGuard): Promise<Server> {
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, "server", "--port", "0"],
      env: { ...guard.env, PUSHY_TOKEN: TOKEN, XDG_STATE_HOME: guard.folder },
      stdout: "null",
      stderr: "piped",
    }).spawn();
    let text = "";
    for await (const bytes of process.stderr) {
      text += new TextDecoder().decode(bytes);
      const port = /"port":(\d+)/.exec(text)?.[1];
      if (port) return new Server(process, Number(port));
    }
    throw new Error(`The server has ended: ${text}`);
  }

  kill(): void {
    if (this.#alive) this.#process.kill("SIGKILL");
    this.#alive = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#process.status;
  }
}

/** A copy over a gate: what is copied where, and what is in the folders that it has to do with. */
class Copying {
  readonly #guard: LeakGuard;
  readonly from: string;
  readonly to: string;
  readonly #put: boolean;
  readonly #resume: boolean;

  constructor(guard: LeakGuard, put: boolean, resume: boolean) {
    this.#guard = guard;
    this.#put = put;
    this.#resume = resume;
    this.from = `${guard.folder}/from`;
    this.to = `${guard.folder}/there/to`;
    Deno.mkdirSync(`${guard.folder}/there`);
    Deno.writeFileSync(this.from, content());
    Deno.writeTextFileSync(this.to, "before");
  }

  /** Where the bytes of the file come from. */
  get source(): Side {
    return this.#put ? "client" : "server";
  }

  get env(): Record<string, string> {
    return { ...this.#guard.env, PUSHY_TOKEN: TOKEN };
  }

  args(port: number): string[] {
    const remote = (path: string) => `daemon:127.0.0.1:${port}:${path}`;
    const paths = this.#put ? [this.from, remote(this.to)] : [remote(this.from), this.to];
    return ["cp", ...(this.#resume ? ["--resume"] : []), ...paths];
  }

  start(port: number): Deno.ChildProcess {
    return new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", CLI, ...this.args(port)],
      env: this.env,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  }

  /** What stands beside the destination, and how long it is. */
  part(): number | undefined {
    const names = [...Deno.readDirSync(`${this.#guard.folder}/there`)].map(({ name }) => name);
    const part = names.find((name) => name.endsWith(".part"));
    return part === undefined
      ? undefined
      : Deno.statSync(`${this.#guard.folder}/there/${part}`).size;
  }

  /** Waits for what happens in another process. */
  async until(condition: () => boolean): Promise<void> {
    for (let tries = 0; tries < 1000 && !condition(); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert(condition(), `It did not come so far: ${this.part()} bytes`);
  }
}

function content(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new Uint32Array(SIZE / 4).map((_, i) => i * 2654435761).buffer);
}

/** Runs a copy until it is half-way, and ends it. Gives the client's exit status and what it said. */
async function breakOff(
  copying: Copying,
  server: Server,
  end: End,
): Promise<{ code: number; stderr: string }> {
  await using gate = new Gate(server.port, copying.source, HALF);
  const child = copying.start(gate.port);
  await gate.shut;
  await copying.until(() => (copying.part() ?? 0) >= 1 << 20);
  if (end === "SIGINT to the client") child.kill("SIGINT");
  else if (end === "SIGKILL to the client") child.kill("SIGKILL");
  else server.kill();
  const { code, stderr } = await child.output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

const ENDS: [end: End, put: boolean][] = [
  ["SIGINT to the client", false],
  ["SIGKILL to the client", false],
  ["SIGKILL to the client", true],
  ["SIGKILL to the agent", false],
  ["SIGKILL to the agent", true],
];

for (const [end, put] of ENDS) {
  Deno.test(`cp --resume, ${put ? "to" : "from"} a host: ${end}, and the same command goes on`, async () => {
    await using guard = leakGuard();
    const copying = new Copying(guard, put, true);
    {
      await using server = await Server.start(guard);
      const { code, stderr } = await breakOff(copying, server, end);
      if (end === "SIGINT to the client") {
        assertEquals(code, 130, stderr);
        assertMatch(stderr, /Interrupted. The same command goes on/);
      } else if (end === "SIGKILL to the agent") {
        assertEquals(code, 1, stderr);
        assertMatch(stderr, /The connection was lost/);
      }
    }
    assertEquals(await Deno.readTextFile(copying.to), "before");
    assert(copying.part()! >= 1 << 20);
    await using server = await Server.start(guard);
    await using gate = new Gate(server.port, copying.source);
    const again = await pushy(copying.args(gate.port), { env: copying.env });
    assertEquals(again.code, 0, again.stderr);
    assertEquals(await Deno.readFile(copying.to), content());
    assertEquals(copying.part(), undefined);
    assert(gate.passed < SIZE - (1 << 19), `${gate.passed} bytes were sent again`);
  });
}

Deno.test("cp: what is ended without --resume leaves the destination as it was, and nothing beside it", async () => {
  for (
    const [end, put] of [["SIGINT to the client", false], ["SIGKILL to the client", true]] as const
  ) {
    await using guard = leakGuard();
    const copying = new Copying(guard, put, false);
    await using server = await Server.start(guard);
    const { code, stderr } = await breakOff(copying, server, end);
    if (!put) assertMatch(stderr, /Interrupted. Nothing of from was left/);
    if (!put) assertEquals(code, 130);
    await copying.until(() => copying.part() === undefined);
    assertEquals(await Deno.readTextFile(copying.to), "before");
  }
});
