import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect, registerTransport, RemoteError } from "../../mod.ts";
import { Popen } from "../../transport/local.ts";
import { leakGuard } from "../support/leaks.ts";
import { findProgram } from "../support/programs.ts";
import { requires, requiresThat } from "../support/requirement.ts";
import { linesOf, MOD, outcome, startProgram } from "./program.ts";

const linux = requiresThat(Deno.build.os === "linux", "no /proc here", "run the tests on Linux");

/** What Deno itself throws where a permission is missing. */
const refused = async (promise: PromiseLike<unknown>) => {
  const error = await assertRejects(async () => await promise, RemoteError);
  assertEquals(error.type, "NotCapable");
};

Deno.test("permissions make the remote Deno a sandbox", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:", { permissions: { read: ["/etc"] }, env: guard.env });
  const { Deno: remote } = con.globals;
  assertEquals(typeof await remote.readTextFile("/etc/passwd"), "string");
  await refused(remote.readTextFile("/proc/self/status"));
  await refused(remote.readTextFile(`${guard.folder}/x`));
  await refused(remote.writeTextFile("/etc/pushy-test", "x"));
  await refused(con.eval("fetch('http://127.0.0.1:4545/')"));
  await refused(con.eval("Deno.env.get('HOME')"));
  await refused(con.eval("new Deno.Command('true').output()"));
  await refused(con.eval("Deno.connect({ port: 1 })"));
  await refused(con.eval("Deno.hostname()"));
  await refused(con.modules.fs.readFileSync("/proc/self/status"));
  // What crosses, and what is printed, needs no permission.
  assertEquals(await con.compile((list: number[]) => list.map((n) => n * 2))([1, 2]), [2, 4]);
  const big = new Uint8Array(5 << 20);
  assertEquals(await con.compile((x: Uint8Array) => x.length)(big), big.length);
});

Deno.test("an empty record of permissions is none at all", async () => {
  await using guard = leakGuard();
  await using con = await connect("local:", { permissions: {}, env: guard.env });
  await refused(con.eval("Deno.readTextFile('/etc/passwd')"));
  assertEquals(await con.eval("1 + 1"), 2);
});

Deno.test({
  name: "a sandbox has none of the descriptors that it was started with",
  ...linux,
  async fn() {
    await using guard = leakGuard();
    registerTransport("leaky", {
      Popen: (command, options) =>
        Popen(["sh", "-c", 'exec 5</etc/passwd 9</etc/passwd; exec "$@"', "sh", ...command], {
          ...options,
          address: "",
        }),
    });
    await using con = await connect("leaky:", { permissions: { read: true }, env: guard.env });
    const fds = `/proc/${con.interpreter.pid}/fd`;
    const open = [...Deno.readDirSync(fds)].map(({ name }) => Deno.readLinkSync(`${fds}/${name}`));
    assert(open.length > 3);
    assertEquals(open.filter((target) => target === "/etc/passwd"), []);
  },
});

Deno.test(
  "killing the client ends a sandbox that spins, too",
  { ignore: linux.ignore },
  async () => {
    await using guard = leakGuard({ grace: 5000 });
    const client = startProgram(
      guard,
      `const con = await connect("local:", { permissions: {} });
    await con.eval("(() => { console.log('ready'); for (;;); })()");`,
    );
    const lines = linesOf(client);
    assertEquals((await lines.next()).value, "ready");
    client.kill("SIGKILL");
    await client.status;
    await lines.return!();
    await client.stderr.cancel();
  },
);

Deno.test("permissions that mean nothing are refused", async () => {
  // deno-lint-ignore no-explicit-any
  const wrong = (permissions: any) => () => connect("local:", { permissions });
  await assertRejects(wrong({ reed: true }), TypeError, 'Cannot use permission "reed"');
  await assertRejects(wrong({ read: "/etc" }), TypeError, "expected true, false or a list");
  await assertRejects(
    () => connect("local:", { runtime: "node", permissions: {} }),
    TypeError,
    "permissions",
  );
});

Deno.test("without a cache nothing is written, and modules from elsewhere say what they need", async () => {
  await using guard = leakGuard();
  const home = `${guard.folder}/home`;
  await Deno.mkdir(home);
  const env = {
    ...guard.env,
    HOME: home,
    XDG_CACHE_HOME: `${home}/.cache`,
    DENO_DIR: `${home}/deno`,
  };
  {
    await using con = await connect("local:", { cache: false, env });
    await con.modules.os.hostname();
    await con.eval("import('data:text/javascript,export const a: number = 1').catch(() => {})");
    await con.eval("localStorage").then(() => {}, () => {});
    await con.eval("caches.open('x').catch(() => {})");
    for (const name of ["npm:no-such-thing", "jsr:@no/such", "https://127.0.0.1:9/xx.ts"]) {
      await assertRejects(async () => await con.import(name), RemoteError, "{ cache: true }");
    }
  }
  assertEquals([...Deno.readDirSync(home)].map(({ name }) => name), []);
});

Deno.test({
  name: "with the permissions that the README names, nothing is asked at a terminal",
  ...requires("python3"),
  async fn() {
    await using guard = leakGuard({ grace: 5000 });
    const path = `${guard.folder}/program.ts`;
    await Deno.writeTextFile(
      path,
      `import { connect } from ${JSON.stringify(MOD)};
      const con = await connect("local:");
      const { length } = await con.eval("new Uint8Array(16 << 20)");
      console.log("gave " + length);
      await con.close();
      console.log("closed");`,
    );
    const deno = [Deno.execPath(), "run", "--quiet", "--no-config", "--no-lock", "--no-check"];
    const child = new Deno.Command(findProgram("python3")!, {
      args: [
        "-c",
        "import os, pty, sys; os.environ.pop('DENO_NO_PROMPT', None); " +
        "sys.exit(pty.spawn(sys.argv[1:]) >> 8)",
        ...deno,
        "--allow-run=sh",
        path,
      ],
      cwd: guard.folder,
      env: guard.env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    // Whoever is asked there waits for ever.
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    const { code, stdout, stderr } = await outcome(child);
    clearTimeout(timer);
    assertEquals({ code, stdout: stdout.replaceAll("\r", ""), stderr }, {
      code: 0,
      stdout: "gave 16777216\nclosed\n",
      stderr: "",
    });
  },
});
