import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { byRef, type Connection, copy, kwargs, release, RemoteError } from "../../mod.ts";
import { item, len, repr, setItem, slice, str } from "../../python.ts";
import { held, Printed, PYTHON, python, PYTHONS } from "./pythons.ts";

// deno-lint-ignore no-explicit-any
type Any = any;

/** The same on every interpreter: what differs between versions shows here. */
for (const { path, version, pypy } of PYTHONS) {
  const name = `${pypy ? "PyPy" : "Python"} ${version} (${path})`;

  Deno.test(`${name}: values cross in both directions`, async () => {
    await using py: Connection<"python"> = await python({}, path);
    const values: [source: string, expected: unknown][] = [
      ["None", null],
      ["True", true],
      ["42", 42],
      ["-(2**53-1)", -(2 ** 53 - 1)],
      ["2**53", 2n ** 53n],
      ["-2**100", -(2n ** 100n)],
      ["10**5000 == int('1' + '0' * 4000) * 10**1000", true],
      ["1.5", 1.5],
      ["float('nan')", NaN],
      ["float('inf')", Infinity],
      ["-float('inf')", -Infinity],
      ["-0.0", -0],
      ["1e300", 1e300],
      ["'naïve 日本 \\U0001f600'", "naïve 日本 😀"],
      ["'\\udc80'", "\udc80"],
      ["'x' * 100000", "x".repeat(100000)],
      ["'é' * 20000", "é".repeat(20000)],
      ["(1, [2, (3,)])", [1, [2, [3]]]],
      ["{'a': [1, {'b': None}]}", { a: [1, { b: null }] }],
      ["{1: 'a', (2, 3): 'b'}", new Map<unknown, unknown>([[1, "a"], [[2, 3], "b"]])],
      ["{1, 2}", new Set([1, 2])],
      ["frozenset([3])", new Set([3])],
      ["b'\\0\\xff'", new Uint8Array([0, 255])],
      ["bytearray(b'ab')", new Uint8Array([97, 98])],
      ["memoryview(b'ab')", new Uint8Array([97, 98])],
      ["__import__('array').array('d', [1, 2.5])", new Float64Array([1, 2.5])],
      ["__import__('array').array('q', [-1])", new BigInt64Array([-1n])],
      ["__import__('array').array('H', [1, 65535])", new Uint16Array([1, 65535])],
      ["memoryview(__import__('array').array('i', [-5]))", new Int32Array([-5])],
      [
        "__import__('datetime').datetime(2020, 1, 2, 3, 4, 5, 678000, __import__('datetime').timezone.utc)",
        new Date("2020-01-02T03:04:05.678Z"),
      ],
      ["__import__('datetime').date(1969, 12, 31)", new Date("1969-12-31T00:00:00Z")],
      ["__import__('decimal').Decimal('1.10')", "1.10"],
      ["__import__('pathlib').Path('/a') / 'b'", "/a/b"],
      ["__import__('enum').Enum('E', 'x y').y", 2],
      ["__import__('collections').OrderedDict([('z', 1), ('a', 2)])", { z: 1, a: 2 }],
      ["[[0] * 3] * 2", [[0, 0, 0], [0, 0, 0]]],
      ["list(range(30000))", Array.from({ length: 30000 }, (_, i) => i)],
      ["b'x' * 3000000", new Uint8Array(3000000).fill(120)],
    ];
    const echo = await py.eval("lambda x: x");
    for (const [source, expected] of values) {
      const value = await py.eval(source);
      assertEquals(value, expected, source);
      assertEquals(await echo(value), expected, `there and back: ${source}`);
    }
    const cyclic = await py.eval("(lambda l: (l.append(l), l)[1])([1])") as unknown[];
    assertStrictEquals(cyclic[1], cyclic);
    const shared = await py.eval("(lambda l: [l, l])([])") as unknown[];
    assertStrictEquals(shared[0], shared[1]);
    const kinds = await py.eval("lambda *a: [type(x).__name__ for x in a]");
    assertEquals(
      await kinds(
        1,
        1.5,
        1e20,
        -0,
        5n,
        new Uint8Array(1),
        new Float32Array(1),
        new Date(0),
        /a(?<n>b)/i,
        undefined,
        new Set(),
      ),
      [
        "int",
        "float",
        "float",
        "float",
        "int",
        "bytes",
        "array",
        "datetime",
        "Pattern",
        "NoneType",
        "set",
      ]
        .map((kind) =>
          kind === "Pattern" && version.startsWith("3.6.") && !pypy ? "SRE_Pattern" : kind
        ),
    );
    assertEquals(await py.eval("lambda d: (d[1], sorted(d))")(new Map([[1, "x"], [2, "y"]])), [
      "x",
      [1, 2],
    ]);
    assertEquals(await py.eval("lambda s: (2, 3) in s")(new Set([[2, 3]])), true);
  });

  Deno.test(`${name}: calls, callbacks, errors and iterators`, async () => {
    await using py: Connection<"python"> = await python({}, path);
    assertEquals(await py.modules.os.path.join("a", "b"), "a/b");
    assertEquals(
      await py.modules.os.path.join(py.modules.os.path.join("a", "b"), Promise.resolve("c")),
      "a/b/c",
    );
    assertEquals(await py.eval("lambda f: [f(i) for i in range(3)]")((x: number) => x * 2), [
      0,
      2,
      4,
    ]);
    assertEquals(
      await py.eval("lambda f: f(lambda x: x + 1)")(async (g: Any) => await g(await g(1))),
      3,
    );
    const error = await assertRejects(async () => await py.eval("{}['key']"), RemoteError);
    assertEquals([error.type, error.message], ["KeyError", "'key'"]);
    assert(error.remoteStack.includes("<pushy "), error.remoteStack);
    assert(!error.remoteStack.includes("pushy:agent"), error.remoteStack);
    const missing = await assertRejects(
      async () => await py.builtins.open("/no/such"),
      RemoteError,
    );
    assertEquals([missing.type, missing.errno, missing.filename], [
      "FileNotFoundError",
      2,
      "/no/such",
    ]);
    const items: unknown[] = [];
    for await (const x of py.eval("(i * i for i in range(20000))")) items.push(x);
    assertEquals(items.length, 20000);
    assertEquals(items[19999], 19999 ** 2);
    for (const source of ["range(150000)", "(i for i in range(150000))"]) {
      let next = 0;
      for await (const x of py.eval(source)) assertStrictEquals(x, next++);
      assertEquals(next, 150000, source);
    }
    const floats: unknown[] = [];
    for await (const x of py.eval("(i / 7 + 1e16 for i in range(20000))")) floats.push(x);
    assertEquals(floats.length, 20000);
    assertEquals(
      await py.eval("lambda it: sum(it)")((function* () {
        for (let i = 0; i < 5000; i++) yield i / 2;
      })()),
      5000 * 4999 / 4,
    );
    if (version >= "3.6") {
      await py.execute(
        "import asyncio\nasync def later(x):\n await asyncio.sleep(0.01)\n return x\nasync def gen():\n for i in range(5):\n  yield i",
      );
      assertEquals(await py.globals.later(7), 7);
      const asynchronous: unknown[] = [];
      for await (const x of py.eval("gen()")) asynchronous.push(x);
      assertEquals(asynchronous, [0, 1, 2, 3, 4]);
      assertEquals(
        await py.compile("async def f(g):\n return await g(1) + await g(2)")((x: number) => x * 10),
        30,
      );
    }
  });

  Deno.test(`${name}: threads, cancellation and the end`, async () => {
    await using py: Connection<"python"> = await python({}, path);
    const both = await py.compile("def f(barrier, i):\n return barrier.wait(10)");
    const barrier = await py.modules.threading.Barrier(4);
    // All four must be there at once.
    const turns = await Promise.all([0, 1, 2, 3].map((i) => both(barrier, i)));
    assertEquals(turns.sort(), [0, 1, 2, 3]);
    assertEquals(
      await py.eval(
        "__import__('threading').current_thread() is __import__('threading').main_thread()",
      ),
      true,
    );
    const nested = await py.compile("def f(cb):\n with lock:\n  return cb()", {
      scope: { lock: py.modules.threading.RLock() },
    });
    // The callback's own call needs the lock that its caller's thread holds.
    assertEquals(await nested(async () => await nested(() => 5)), 5);
    if (!pypy) {
      const control = new AbortController();
      let started!: () => void;
      const running = new Promise<void>((resolve) => started = resolve);
      let ended!: (kind: string) => void;
      const end = new Promise<string>((resolve) => ended = resolve);
      const call = py.with({ signal: control.signal }).compile(
        "def f(started, ended):\n try:\n  started()\n  while True: pass\n except BaseException as e:\n  ended(type(e).__name__)\n  raise",
      )(started, ended);
      const rejected = assertRejects(async () => await call, Error, "enough");
      await running;
      control.abort(new Error("enough"));
      await rejected;
      assertEquals(await held(end), "Cancelled");
    }
    assertEquals(await py.eval("1 + 1"), 2);
  });
}

const ignore = PYTHON === undefined;

Deno.test({
  name: "python: an iterator that makes itself waited for does not send beyond its credit",
  ignore: PYTHON === undefined,
  fn: async () => {
    await using py: Connection<"python"> = await python();
    await py.execute(`
import time
def large(pause):
    yield "small"
    yield "a" * 9000
    pause()  # What was gathered leaves meanwhile, and takes all the credit.
    yield "b" * 9000
    yield "c" * 9000
async def large_async(pause):
    for item in large(lambda: None):
        if item[0] == "b":
            await pause()
        yield item
async def pause_async():
    import asyncio
    await asyncio.sleep(0.1)
`);
    const pauses = { large: "lambda: time.sleep(0.1)", large_async: "pause_async" };
    for (const [large, pause] of Object.entries(pauses)) {
      const items: string[] = [];
      const iterator = (await py.eval(`${large}(${pause})`) as Any)[Symbol.asyncIterator]();
      items.push((await iterator.next()).value);
      // By then all has been made that may be, and nothing more was asked for.
      await py.eval("time.sleep(0.2)");
      for await (const item of { [Symbol.asyncIterator]: () => iterator }) items.push(item);
      assertEquals(items.map((item) => item.length), [5, 9000, 9000, 9000], large);
    }
  },
});

Deno.test({
  name: "Python: modules, kwargs, classes, operators, items",
  ignore,
  fn: async () => {
    await using py = await python();
    const dom = await py.modules.xml.dom.minidom.parseString("<a><b/></a>");
    assertEquals(await dom.documentElement.tagName, "a");
    const run = await py.modules.subprocess.run(
      ["echo", "hi"],
      kwargs({ stdout: -1, universal_newlines: true }),
    );
    assertEquals(await run.stdout, "hi\n");
    assertEquals(await py.builtins.sorted([3, 1, 2], kwargs({ key: (x: number) => -x })), [
      3,
      2,
      1,
    ]);
    const scope = py.scope({ n: 20 });
    await py.execute(
      `
    import dataclasses
    class Point:
        def __init__(self, x, y): self.x, self.y = x, y
        def __repr__(self): return "Point(%r, %r)" % (self.x, self.y)
        def __add__(self, other): return Point(self.x + other.x, self.y + other.y)
        def __getitem__(self, i): return (self.x, self.y)[i]
        @property
        def norm(self): return (self.x ** 2 + self.y ** 2) ** .5
    @dataclasses.dataclass
    class Data:
        name: str
        inner: object
    y = n + 1
  `,
      scope,
    );
    assertEquals(await scope.y, 21);
    const a = await new (scope as Any).Point(3, 4);
    const b = await (scope as Any).Point(1, 1);
    assertEquals(String(a), "[remote Point Point(3, 4)]");
    assertEquals(await a.norm, 5);
    assertEquals(await repr(py.modules.operator.add(a, b)), "Point(4, 5)");
    assertEquals(await item(a, 1), 4);
    assertEquals(await py.builtins.isinstance(a, (scope as Any).Point), true);
    a.x = 30;
    assertEquals(await a.x, 30);
    await py.set(a, "x", 31);
    assertEquals(await py.has(a, "x"), true);
    assertEquals(await py.keys(a), ["x", "y"]);
    assertEquals(await copy(a), { x: 31, y: 4 });
    assertEquals(await (scope as Any).Data("n", [1]), { name: "n", inner: [1] });
    const deque = await py.modules.collections.deque([1, 2, 3]);
    assertEquals(await len(deque), 3);
    await setItem(deque, 0, "x");
    assertEquals(await py.builtins.list(deque), ["x", 2, 3]);
    assertEquals(await str(py.modules.fractions.Fraction(1, 3)), "1/3");
    assertEquals(await item("abcdef", slice(1, 5, 2), py), "bd");
    assertStrictEquals(await py.eval("lambda x: x")(a), a);
    const here = () => 1;
    assertStrictEquals(await py.eval("lambda x: x")(here), here);
    assertEquals(await py.eval("os.sep", await py.scope({ os: py.modules.os })), "/");
    await assertRejects(
      async () => await py.modules.no_such_module_at_all,
      RemoteError,
      "no_such_module",
    );
    const stat = await py.modules.os.stat("/");
    assertEquals(typeof await stat.st_mode, "number");
    let failed: unknown;
    try {
      py.compile((x: number) => x);
    } catch (error) {
      failed = error;
    }
    assert(failed instanceof TypeError && /Python source/.test(failed.message));
  },
});

Deno.test({
  name: "Python: context managers, classes that were passed, streams, signals",
  ignore,
  fn: async () => {
    await using py = await python();
    const path = await Deno.makeTempFile();
    try {
      {
        await using file = await py.builtins.open(path, "w");
        await file.write("text");
      }
      assertEquals(await Deno.readTextFile(path), "text");
    } finally {
      await Deno.remove(path);
    }
    class Counter {
      n = 0;
      add(by: number) {
        return this.n += by;
      }
    }
    const counter = new Counter();
    assertEquals(await py.eval("lambda c: c.add(2) + c.add(3)")(counter), 7);
    await assertRejects(
      async () => await py.eval("lambda c: c.n()")(counter),
      RemoteError,
      "was not passed",
    );
    const open = { count: 1 };
    await py.compile("def f(o):\n o.count += 1")(byRef(open, { fields: true, writable: true }));
    assertEquals(open.count, 2);
    const read = await py.compile(
      "def f(s):\n import io\n assert isinstance(s, io.RawIOBase)\n return s.read()",
    );
    const big = new Uint8Array(1_500_000).map((_, i) => i);
    assertEquals(await read(new Blob([big]).stream()), big);
    const lines = await py.eval(
      "lambda s: [l for l in __import__('io').TextIOWrapper(__import__('io').BufferedReader(s))]",
    );
    assertEquals(await lines(new Response("a\nb\n").body), ["a\n", "b\n"]);
    const chunks: unknown[] = [];
    let closed = false;
    await py.compile("def f(w):\n for i in range(3): w.write(b'x' * 300000)\n w.close()")(
      new WritableStream({
        write: (chunk) => void chunks.push(chunk.length),
        close: () => void (closed = true),
      }),
    );
    assertEquals((chunks as number[]).reduce((x, y) => x + y), 900000);
    assert(closed);
    const control = new AbortController();
    const waiting = py.eval("lambda s, started: (started(), s.wait(), s.aborted)[1:]")(
      control.signal,
      () => control.abort(),
    );
    assertEquals(await waiting, [true, true]);
    assertEquals(await py.eval("lambda s: s.wait(0.01)")(new AbortController().signal), false);
    // A sink that is dropped is closed, and what that closing asks for is answered.
    let got: unknown;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const dropped = new WritableStream({
      async close() {
        got = await py.eval("[[1]]")[0][0];
        resolve();
      },
    });
    assertEquals(await py.eval("lambda w: w.write(b'x')")(dropped), 1);
    await held(over);
    assertEquals(got, 1);
    // A generator whose consumer stops early runs its `finally`.
    await py.execute(
      "ended = []\ndef gen():\n try:\n  i = 0\n  while True:\n   yield i\n   i += 1\n finally:\n  ended.append(1)",
    );
    for await (const i of py.eval("gen()")) if (i === 5000) break;
    assertEquals(await py.eval("ended"), [1]);
    const slow: number[] = [];
    for await (const i of py.eval("(__import__('time').sleep(0.05) or i for i in range(3))")) {
      slow.push(i as number);
    }
    assertEquals(slow, [0, 1, 2]);
  },
});

Deno.test({
  name: "Python: errors carry their cause, and go back and forth",
  ignore,
  fn: async () => {
    await using py = await python();
    const error = await assertRejects(
      async () =>
        await py.compile(
          "def f():\n try:\n  1/0\n except Exception as e:\n  raise ValueError('outer') from e",
        )(),
      RemoteError,
    );
    assertEquals([error.type, (error.cause as RemoteError).type], [
      "ValueError",
      "ZeroDivisionError",
    ]);
    const caught = await py.compile(
      "def f(cb):\n try:\n  cb()\n except TypeError as e:\n  return [type(e).__name__, str(e), e.code]",
    )(() => {
      throw Object.assign(new TypeError("from here"), { code: "E1" });
    });
    assertEquals(caught, ["TypeError", "from here", "E1"]);
    const back = await assertRejects(
      async () =>
        await py.eval("lambda cb: cb()")(() => {
          throw new RangeError("mine");
        }),
      RemoteError,
      "mine",
    );
    assertEquals(back.type, "RangeError");
    const value = await py.eval("ValueError('as a value')") as Error;
    assert(value instanceof Error);
    assertEquals(value.message, "as a value");
    await assertRejects(async () => await py.eval("lambda x: x")(/(?<=a|bc)d/), Error, "Python");
    assertEquals(
      await py.eval("__import__('sys').exit(3)").catch((e: RemoteError) => e.type),
      "SystemExit",
    );
  },
});

Deno.test({
  name: "Python: what is printed arrives here, before the result",
  ignore,
  fn: async () => {
    const stdout = new Printed();
    const stderr = new Printed();
    await using py = await python({ stdout, stderr });
    await py.execute(
      "import sys, os, subprocess\nprint('one')\nsys.stdout.write('two\\n')\nos.write(1, b'three\\n')\nsubprocess.call(['echo', 'four'])\nprint('err', file=sys.stderr)",
    );
    await stdout.has("four");
    assertEquals(stdout.text.split("\n").sort().join(), ",four,one,three,two");
    await stderr.has("err");
    const ended = await assertRejects(async () => await py.eval("input()"), RemoteError);
    assertEquals(ended.type, "EOFError");
    // What a call prints while it runs does not wait for its end.
    const waiting = py.compile("def f(s):\n print('early')\n s.wait()");
    const control = new AbortController();
    const call = waiting(control.signal);
    await stdout.has("early");
    control.abort();
    await call;
  },
});

Deno.test({
  name: "Python: odd places to start in",
  ignore,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      for (const module of ["json", "struct", "asyncio", "traceback", "threading", "ast"]) {
        await Deno.writeTextFile(`${folder}/${module}.py`, "raise Exception('hostile')");
      }
      await Deno.writeTextFile(`${folder}/mine.py`, "x = 5");
      {
        await using py = await python({ cwd: folder });
        assertEquals(await py.modules.mine.x, 5);
        assertEquals(
          (await py.eval("1/0").catch((e: RemoteError) => e) as RemoteError).type,
          "ZeroDivisionError",
        );
        assertEquals(await py.eval("(lambda: [i for i in (1, 2)])()"), [1, 2]);
      }
      assertEquals([...Deno.readDirSync(folder)].some(({ name }) => name === "__pycache__"), false);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
    {
      await using py = await python({}, [PYTHON!.path, "-I"]);
      assertEquals(await py.modules.sys.flags.isolated, 1);
    }
    {
      await using py = await python({ env: { LC_ALL: "C", LANG: "C", PYTHONCOERCECLOCALE: "0" } });
      assertEquals(await py.eval("'é' + chr(0x65e5)"), "é日");
    }
    {
      await using py = await python({}, ["sh", "-c", 'exec "$0" "$@" 2>&-', PYTHON!.path]);
      assertEquals(await py.eval("1 + 1"), 2);
    }
  },
});

for (const { path, version, pypy } of PYTHONS) {
  Deno.test({
    name: `${
      pypy ? "PyPy" : "Python"
    } ${version} (${path}): destructors may call the other side and print`,
    // Its collector runs destructors when it likes.
    ignore: pypy,
    fn: async () => {
      await using py = await python({ stdout: "null" }, path) as Any;
      const scope = py.scope();
      await py.execute(
        `
        import gc
        class Held:
            def __init__(self, gone): self.gone = gone
            def __del__(self): self.gone("released")
        class Cycle(Held):
            def __init__(self, gone):
                self.gone = gone
                self.me = self
            def __del__(self):
                print("collected")
                self.gone(object())
        def make(n, gone):
            for i in range(n): Cycle(gone)
            return Held
        def loud(n, gone):
            for i in range(n):
                Cycle(gone)
                print(i)
                gone({"a": [i]})
        gc.set_threshold(20)
        `,
        scope,
      );
      let gone = 0;
      const callback = () => void gone++;
      // Given back while other calls are answered: it is dropped where the agent reads.
      for (let i = 0; i < 3; i++) {
        const held = await scope.Held(callback);
        await py.eval("1");
        release(held);
        await py.eval("2");
      }
      for (let i = 0; i < 50 && gone < 3; i++) await py.eval("3");
      assertEquals(gone, 3);
      for (let i = 0; i < 20; i++) {
        await Promise.all(Array.from({ length: 20 }, (_, n) => scope.make(n % 7, callback)));
        await scope.loud(30, callback);
      }
      assertEquals(await py.eval("6 * 7"), 42);
      assert(await py.eval("__import__('gc').isenabled()"));
    },
  });
}

Deno.test({
  name: "Python: what waits for a large value keeps its order, its streams and its signals",
  ignore: PYTHON === undefined,
  fn: async () => {
    await using py = await python() as Any;
    const scope = py.scope();
    await py.execute(
      `
      def both(data, items): return [len(data), sum(len(item) for item in items)]
      def size(items): return sum(len(item) for item in items)
      def wait(data, signal): return [len(data), signal.wait(10)]
      def order(items): return [item["i"] if isinstance(item, dict) else item[0] for item in items]
      `,
      scope,
    );
    const stream = () => ReadableStream.from([new Uint8Array(1000), new Uint8Array(10)]);
    // The stream beside the large value has a smaller number than the one of the call behind it.
    assertEquals(
      await Promise.all([scope.both(new Uint8Array(20_000_000), stream()), scope.size(stream())]),
      [[20_000_000, 1010], 1010],
    );
    const controller = new AbortController();
    const waiting = scope.wait(new Uint8Array(20_000_000), controller.signal).then((it: Any) => it);
    setTimeout(() => controller.abort(), 0);
    assertEquals(await waiting, [20_000_000, true]);

    const late = <T>(value: T) => new Promise<T>((resolve) => setTimeout(resolve, 20, value));
    for (const second of [new Uint8Array(90_000), late(1)]) {
      const items = [{ i: 0, second }, new Uint8Array(10).fill(1), { i: 2 }];
      assertEquals(await scope.order(ReadableStream.from(items)), [0, 1, 2]);
    }
  },
});
