/**
 * Where a Python agent may find itself, under other users, flags and warnings; and that it leaves the interpreter as a script
 * would find it.
 *
 * @module
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { RemoteError } from "../../mod.ts";
import { requires, requiresAll, requiresThat } from "../support/requirement.ts";
import { held, PYTHON, python, PYTHONS } from "./pythons.ts";

const ignore = PYTHON === undefined;

for (const { path, version } of PYTHONS) {
  Deno.test(`Python ${version} (${path}): nothing of the agent is deprecated, and copies work`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await using py = await python({}, [path, "-Werror"]);
      await py.execute("async def later(x): return x");
      assertEquals(await py.globals.later(5), 5);
      assertEquals(await py.eval("x = 1\nx + 1"), 2);
      await assertRejects(async () => await py.eval("1/0"), RemoteError, "by zero");
      assertEquals(await py.eval("lambda d: d.year")(new Date(0)), 1970);
      await Deno.writeFile(`${folder}/a`, new Uint8Array(300_000).fill(1));
      const options = { checksum: "sha256", preserve: true } as const;
      await py.putfile(`${folder}/a`, `${folder}/b`, options);
      await py.getfile(`${folder}/b`, `${folder}/c`, options);
      assertEquals(await Deno.readFile(`${folder}/c`), await Deno.readFile(`${folder}/a`));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test({
  name: "Python: it works for a user who may do nothing",
  ...requiresAll(
    requires("python3"),
    requiresThat(Deno.uid() === 0, "not root: it becomes somebody else", "run the tests as root"),
  ),
  fn: async () => {
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    await using py = await python({ env: { HOME: "/nonexistent" } }, [
      ...nobody,
      "/usr/bin/python3",
    ]);
    assertEquals(await py.modules.os.getuid(), 65534);
    const error = await assertRejects(
      async () => await py.builtins.open("/etc/shadow"),
      RemoteError,
    );
    assertEquals([error.type, error.code], ["PermissionError", "EACCES"]);
    assertEquals(await py.eval("await __import__('asyncio').sleep(0, 4)"), 4);
  },
});

Deno.test({
  name: "Python: its process is the one that was named, and the user's packages are there",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${folder}/mine.py`, "x = 5");
      for (const flags of [[], ["-S"], ["-u", "-O"]]) {
        await using py = await python({ env: { PYTHONPATH: folder } }, [PYTHON!.path, ...flags]);
        assertEquals(await py.modules.mine.x, 5);
        const { pid } = py.interpreter;
        assertEquals(await py.modules.os.getpid(), pid);
        const words = (await Deno.readTextFile(`/proc/${pid}/cmdline`)).split("\0");
        assertEquals(words.slice(0, 1 + flags.length), [PYTHON!.path, ...flags]);
        assertEquals((await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`)).trim(), "");
        assertEquals(await py.modules.sys.argv, [""]);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "Python: what belongs to the main thread works from one call to the next",
  ignore,
  fn: async () => {
    await using py = await python();
    // A database is only for the thread that opened it.
    const database = await py.modules.sqlite3.connect(":memory:");
    await database.execute("create table t (n)");
    await database.execute("insert into t values (7)");
    assertEquals(await database.execute("select n from t").fetchall(), [[7]]);
    const { signal, os } = py.modules;
    const heard: number[] = [];
    await signal.signal(signal.SIGUSR1, (number: number) => heard.push(number));
    await os.kill(os.getpid(), signal.SIGUSR1);
    assertEquals(heard, [await signal.SIGUSR1.value]);
    await py.execute(
      "import asyncio\nasync def main():\n await asyncio.sleep(0)\n return 'ran'\ndef run(): return asyncio.run(main())",
    );
    assertEquals(await py.globals.run(), "ran");
    assertEquals(await py.globals.main(), "ran");
  },
});

Deno.test({
  name: "Python: async context managers are left, and those whose end fails say so",
  ignore,
  fn: async () => {
    await using py = await python();
    await py.execute(`
      log = []
      class Later:
          async def __aenter__(self): return self
          async def __aexit__(self, *error): log.append("left")
      class Failing:
          def __enter__(self): return self
          def __exit__(self, *error): raise ValueError("cannot end")
    `);
    {
      await using _ = await py.globals.Later();
    }
    assertEquals(await py.globals.log, ["left"]);
    await assertRejects(
      async () => {
        await using _ = await py.globals.Failing();
      },
      RemoteError,
      "cannot end",
    );
  },
});

Deno.test({
  name: "Python: values of the standard library's own kinds",
  ignore,
  fn: async () => {
    await using py = await python();
    const values: [source: string, expected: unknown][] = [
      ["enum.IntEnum('E', 'a b').b", 2],
      ["enum.Flag('F', 'a b').b", 2],
      ["enum.Enum('T', [('a', 'text')]).a", "text"],
      ["[decimal.Decimal('1E+2'), decimal.Decimal('NaN')]", ["1E+2", "NaN"]],
      ["pathlib.PurePosixPath('a') / 'b'", "a/b"],
      ["{datetime.date(2020, 1, 1): 1}", new Map([[new Date("2020-01-01"), 1]])],
      ["collections.Counter('aab')", { a: 2, b: 1 }],
      ["collections.defaultdict(list, {'k': [1]})", { k: [1] }],
      ["{None: 1, True: 2, 1.5: 3}", new Map<unknown, unknown>([[null, 1], [true, 2], [1.5, 3]])],
      ["dataclasses.make_dataclass('D', ['x', 'y'])(1, {'z': (2,)})", { x: 1, y: { z: [2] } }],
      ["range(3).__reduce__()[1]", [0, 3, 1]],
    ];
    const names = "enum decimal pathlib datetime collections dataclasses".split(" ");
    const scope = py.scope(Object.fromEntries(names.map((name) => [name, py.modules[name]])));
    for (const [source, expected] of values) {
      if (source.startsWith("dataclasses") && PYTHON!.version.startsWith("3.6")) continue;
      assertEquals(await py.eval(source, scope), expected, source);
    }
    const pair = await py.eval("collections.namedtuple('Pair', 'x y')(1, 2)", scope);
    assertEquals([await pair.x, await pair[1], String(pair)], [
      1,
      2,
      "[remote Pair Pair(x=1, y=2)]",
    ]);
  },
});

Deno.test({
  name: "Python: a thread that waits for a callback runs no call of somebody else",
  ignore,
  fn: async () => {
    await using py = await python();
    const lock = await py.modules.threading.RLock();
    let heard!: () => void;
    const waiting = new Promise<void>((resolve) => heard = resolve);
    let go!: (value: number) => void;
    const gate = new Promise<number>((resolve) => go = resolve);
    const holding = py.compile("def f(call):\n with lock: return call()", { scope: { lock } });
    const call = holding(async () => {
      heard();
      // What descends from the call has its thread, and so its lock.
      assertEquals(await lock.acquire(false), true);
      await lock.release();
      return await gate;
    });
    await held(waiting);
    assertEquals(await lock.acquire(false), false);
    go(5);
    assertEquals(await call, 5);
  },
});

Deno.test({
  name: "Python: a cancellation never hits what comes after its call",
  ignore,
  fn: async () => {
    await using py = await python({ stderr: "null" });
    const work = await py.compile("def f(n):\n for i in range(n): pass\n return n");
    let cancelled = 0;
    for (let i = 0; i < 300; i++) {
      const control = new AbortController();
      const call = py.with({ signal: control.signal }).builtins.sum(py.builtins.range(i * 20));
      const settled = call.then(() => {}, () => cancelled++);
      for (let turn = 0; turn < i % 7; turn++) await Promise.resolve();
      control.abort(new Error("enough"));
      assertEquals(await work(50), 50);
      await settled;
    }
    assert(cancelled > 0);
    assertEquals(await work(1), 1);
  },
});

Deno.test({
  name: "Python: where no thread can be started, calls wait for one another",
  ignore,
  fn: async () => {
    await using py = await python({ stderr: "null" });
    await py.execute(`
      import _thread, time
      started = _thread.start_new_thread
      def refuse(*args): raise RuntimeError("can't start new thread")
      _thread.start_new_thread = refuse
      order = []
      def slow():
          time.sleep(0.1)
          order.append("slow")
    `);
    const slow = py.globals.slow();
    const after = py.globals.order.append("after");
    await Promise.all([slow, after]);
    assertEquals(await py.globals.order, ["slow", "after"]);
    await py.execute("_thread.start_new_thread = started");
    assertEquals(await py.eval("1 + 1"), 2);
  },
});

Deno.test({
  name: "Python: names of files are UTF-8 under a locale of ASCII",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      const env = { LC_ALL: "POSIX", PYTHONUTF8: "0", PYTHONCOERCECLOCALE: "0" };
      await using py = await python({ env });
      await Deno.mkdir(`${folder}/naïve`);
      await Deno.writeTextFile(`${folder}/naïve/日本`, "text");
      await py.getfile(`${folder}/naïve`, `${folder}/back`, { recursive: true });
      await py.putfile(`${folder}/back`, `${folder}/ü`, { recursive: true });
      assertEquals(await Deno.readTextFile(`${folder}/ü/日本`), "text");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
