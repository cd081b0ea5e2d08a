import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import {
  BootstrapError,
  connect,
  ConnectionError,
  type ConnectOptions,
  registerTransport,
} from "../mod.ts";
import { Popen } from "../transport/local.ts";
import { type LeakGuard, leakGuard } from "./support/leaks.ts";

/** A connect that must fail, without a stack, machine and run: text to compare. */
async function failure(target: string, options: ConnectOptions = {}): Promise<Error> {
  const error = await connect(target, options).then(
    async (con) => {
      await con.close();
      return new Error("it connected");
    },
    (error) => error,
  );
  assertInstanceOf(error, Error);
  return error;
}

/** A script that stands in for an interpreter. */
async function fake(guard: LeakGuard, body: string): Promise<string> {
  const path = `${guard.folder}/deno`;
  await Deno.writeTextFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

const BAD_TARGETS: [target: unknown, message: string][] = [
  [
    "web1",
    `Cannot connect to "web1": a target is "transport:address", like "local:" or "ssh:web1"`,
  ],
  ["", `Cannot connect to "": a target is "transport:address", like "local:" or "ssh:web1"`],
  [
    ":web1",
    `Cannot connect to ":web1": a target is "transport:address", like "local:" or "ssh:web1"`,
  ],
  [undefined, `Cannot connect to undefined: a target is a string, like "ssh:web1"`],
  [5, `Cannot connect to 5: a target is a string, like "ssh:web1"`],
];

for (const [target, message] of BAD_TARGETS) {
  Deno.test(`the target ${JSON.stringify(target)} is refused`, async () => {
    const error = await failure(target as string);
    assertInstanceOf(error, TypeError);
    assertEquals(error.message, message);
  });
}

Deno.test("an unknown transport is refused, with those that there are", async () => {
  const error = await failure("telnet:web1");
  assertInstanceOf(error, TypeError);
  assert(
    /^Cannot connect by "telnet:": the transports are local:.* \(see registerTransport\)$/.test(
      error.message,
    ),
    error.message,
  );
});

Deno.test("local: has no address", async () => {
  const error = await failure("local:somewhere");
  assertInstanceOf(error, ConnectionError);
  assertEquals(
    error.message,
    `Cannot connect to "local:somewhere"\n  hint: the local transport has no address: write "local:"`,
  );
});

const BAD_OPTIONS: [name: string, options: unknown, message: string][] = [
  [
    "an unknown runtime",
    { runtime: "perl" },
    `Cannot use runtime "perl": the runtimes are deno, node, bun`,
  ],
  [
    "an inherited name as the runtime",
    { runtime: "constructor" },
    `Cannot use runtime "constructor"`,
  ],
  ["an empty interpreter", { interpreter: "" }, "Cannot use an empty interpreter"],
  ["an empty argv", { interpreter: [] }, "Cannot use an empty interpreter"],
  ["a negative time limit", { connectTimeout: -1 }, "Cannot use connectTimeout -1"],
  ["a time limit that is none", { connectTimeout: NaN }, "Cannot use connectTimeout NaN"],
  ["a negative keepAlive", { keepAlive: -5 }, "Cannot use keepAlive -5"],
  ["an unknown limit", { limits: { size: 1 } }, `Cannot use limit "size"`],
  ["a limit of nothing", { limits: { depth: 0 } }, `Cannot use limit "depth"`],
  ["output to nowhere", { stdout: "file.txt" }, "Cannot send output to file.txt"],
  ["a gcInterval of nothing", { gcInterval: 0 }, "Cannot set gcInterval to 0"],
  ["an unknown option", { runtme: "node" }, `Cannot use option "runtme"`],
];

for (const [name, options, message] of BAD_OPTIONS) {
  Deno.test(`${name} is refused`, async () => {
    await using guard = leakGuard();
    const error = await failure("local:", { ...options as ConnectOptions, env: guard.env });
    assert(error instanceof TypeError || error instanceof RangeError, String(error));
    assertStringIncludes(error.message, message);
  });
}

Deno.test("every option of connect() is known", async () => {
  await using guard = leakGuard();
  const source = await Deno.readTextFile(new URL("../client/options.ts", import.meta.url));
  const declared = /export interface CommonOptions[^]*?\n\}/.exec(source)![0];
  const names = [...declared.matchAll(/^ {2}(\w+)\?:/gm)].map((match) => match[1]!);
  assert(names.includes("runtime") && names.includes("limits"));
  const options = Object.fromEntries(names.map((name) => [name, undefined]));
  await using con = await connect("local:", { ...options, env: guard.env });
  assertEquals(await con.eval("1"), 1);
});

Deno.test("a missing interpreter is named, and so are the others", async () => {
  await using guard = leakGuard();
  await Deno.mkdir(`${guard.folder}/bin`);
  for (const name of ["node", "python3"]) {
    await Deno.writeTextFile(`${guard.folder}/bin/${name}`, "#!/bin/sh\n", { mode: 0o755 });
  }
  const env = { ...guard.env, PATH: `${guard.folder}/bin:/nowhere` };
  registerTransport("bare-path", {
    Popen: ([sh, ...args], options) => Popen([`/bin/${sh}`, ...args], { ...options, address: "" }),
  });
  const error = await failure("bare-path:", { runtime: "bun", env });
  assertInstanceOf(error, BootstrapError);
  assertEquals([error.stage, error.status], ["banner", 127]);
  const [first, command, status, stderr, hint] = error.message.split("\n");
  assertEquals(first, `Cannot connect to "bare-path:": the interpreter bun was not found there`);
  assert(/^ {2}command: sh -c .*exec bun -e /.test(command!), command);
  assert(command!.length < 300, command);
  assertEquals(status, "  exit status: 127");
  assertStringIncludes(stderr!, "bun: not found");
  assertEquals(
    hint,
    '  hint: the host has node, python3: connect with { runtime: "node" }, or name the interpreter\'s path with { interpreter }',
  );
});

Deno.test("an interpreter's path that does not exist is named", async () => {
  await using guard = leakGuard();
  const error = await failure("local:", { interpreter: "/no/such/deno", env: guard.env });
  assertInstanceOf(error, BootstrapError);
  assertStringIncludes(error.message, "the interpreter /no/such/deno was not found there");
  // Where the PATH has one, that would do.
  assertMatch(
    error.message,
    /look at the path, or leave \{ interpreter \} out|name the interpreter's/,
  );
});

Deno.test("an interpreter that prints garbage shows it", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(
    guard,
    `printf 'Welcome \\033[31mto\\033[0m the machine\\n' >&4; exit 3`,
  );
  const error = await failure("local:", { interpreter, env: guard.env });
  assertInstanceOf(error, BootstrapError);
  assertEquals([error.stage, error.status], ["banner", 3]);
  assertStringIncludes(error.message, "the interpreter ended before its agent answered");
  assertStringIncludes(error.message, "exit status: 3");
  assertStringIncludes(error.message, "stdout: Welcome to the machine");
  assertStringIncludes(error.message, `does "${interpreter}" run there, and is it a deno?`);
});

Deno.test("an interpreter that prints garbage without end is stopped", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(guard, "exec yes >&4");
  const error = await failure("local:", { interpreter, env: guard.env });
  assertInstanceOf(error, BootstrapError);
  assertStringIncludes(error.message, "it printed more than 65536 bytes before the agent answered");
  assertStringIncludes(error.message, "stdout: ");
  assert(error.message.length < 3000);
});

Deno.test("an agent of another version is named", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(guard, `printf '\\nPUSHY/9 {}\\n' >&4; sleep 100`);
  const error = await failure("local:", { interpreter, env: guard.env, closeTimeout: 50 });
  assertInstanceOf(error, BootstrapError);
  assertStringIncludes(error.message, "speaks version 9");
});

Deno.test("an interpreter that prints nothing is given up in time, at a stage that is named", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(guard, "echo I am thinking >&2; exec sleep 1000");
  const error = await failure("local:", {
    interpreter,
    env: guard.env,
    connectTimeout: 500,
    closeTimeout: 50,
  });
  assertInstanceOf(error, BootstrapError);
  assertEquals(error.stage, "banner");
  assertStringIncludes(
    error.message,
    `Cannot connect to "local:": the stage "banner" did not end within 500 ms`,
  );
  assertStringIncludes(error.message, "stderr: I am thinking");
  assertStringIncludes(error.message, "larger connectTimeout");
});

Deno.test("an interpreter that dies half way says what it wrote", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(
    guard,
    "head -c 1000 <&3 >/dev/null; echo out of memory >&2; kill -9 $$",
  );
  const error = await failure("local:", { interpreter, env: guard.env });
  assertInstanceOf(error, BootstrapError);
  assertEquals(error.status, "SIGKILL");
  assertStringIncludes(error.message, "stderr: out of memory");
});

Deno.test("a working folder that does not exist is named", async () => {
  await using guard = leakGuard();
  const error = await failure("local:", { cwd: "/no/such/folder", env: guard.env });
  assertInstanceOf(error, ConnectionError);
  assertStringIncludes(error.message, "/no/such/folder");
});

Deno.test("connectTimeout and signal end a transport that never opens", async () => {
  registerTransport("never", { Popen: () => new Promise(() => {}) });
  const late = await failure("never:x", { connectTimeout: 50 });
  assertInstanceOf(late, ConnectionError);
  assertEquals([late.stage, late.code], ["start", "ETIMEDOUT"]);
  assertStringIncludes(
    late.message,
    `Cannot connect to "never:x": the stage "start" did not end within 50 ms`,
  );
  const controller = new AbortController();
  const failing = failure("never:x", { signal: controller.signal });
  const reason = new Error("changed my mind");
  controller.abort(reason);
  assertStrictEquals(await failing, reason);
  assertStrictEquals(await failure("never:x", { signal: AbortSignal.abort(reason) }), reason);
});

Deno.test("a signal ends the wait for the banner, and the process", async () => {
  await using guard = leakGuard();
  const interpreter = await fake(guard, "echo started >&2; exec sleep 1000");
  const controller = new AbortController();
  const reason = new Error("changed my mind");
  const failing = failure("local:", {
    interpreter,
    env: guard.env,
    signal: controller.signal,
    closeTimeout: 50,
  });
  while (!guard.left().some((line) => line.includes("sleep"))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  controller.abort(reason);
  assertStrictEquals(await failing, reason);
});

Deno.test("a transport that opens too late is closed", async () => {
  await using guard = leakGuard();
  const { promise, resolve } = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<void>();
  registerTransport("late", {
    async Popen(_, options) {
      await promise;
      const transport = await Popen(["cat"], { ...options, address: "", signal: undefined });
      transport.status.then(() => closed.resolve());
      return transport;
    },
  });
  const error = await failure("late:", { connectTimeout: 20, env: guard.env });
  assertStringIncludes(error.message, "did not end within 20 ms");
  resolve();
  await closed.promise;
});

Deno.test("a signal that is aborted after connecting has no effect", async () => {
  await using guard = leakGuard();
  const controller = new AbortController();
  await using con = await connect("local:", { signal: controller.signal, env: guard.env });
  controller.abort();
  assertEquals(await con.eval("1"), 1);
});

Deno.test("noise before the banner is tolerated", async () => {
  await using guard = leakGuard();
  registerTransport("noisy", {
    Popen: (command, options) =>
      Popen(
        [
          "sh",
          "-c",
          'echo "Last login: today"; printf "no newline PUSHY/"; exec "$@"',
          "sh",
          ...command,
        ],
        { ...options, address: "" },
      ),
  });
  await using con = await connect("noisy:", { env: guard.env });
  assertEquals(await con.eval("1 + 2"), 3);
});

Deno.test("a login shell that only makes noise is shown with it", async () => {
  await using guard = leakGuard();
  registerTransport("nologin", {
    Popen: (_, options) =>
      Popen(["sh", "-c", "echo This account is currently not available.; exit 1"], {
        ...options,
        address: "",
      }),
  });
  const error = await assertRejects(() => connect("nologin:", { env: guard.env }), BootstrapError);
  assertStringIncludes(error.message, "stdout: This account is currently not available.");
  assertStringIncludes(error.message, "exit status: 1");
});
