import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { isRemote, kwargs, RemoteError } from "../../mod.ts";
import { type Anything, capability } from "../matrix.ts";
import { roundTrips } from "./observe.ts";

capability("eval gives the value of an expression, await included", async ({ con, code, row }) => {
  assertEquals(await con.eval("1 + 2"), 3);
  assertEquals(
    await con.eval(
      code({
        js: "await Promise.resolve(4) + 1",
        py: "await __import__('asyncio').sleep(0, 4) + 1",
      }),
    ),
    5,
  );
  assertEquals(await con.eval("{ 'a': 1 }"), { a: 1 });
  assertEquals(
    await con.eval(code({ js: "[1, 2] // with a comment", py: "[1, 2] # with a comment" })),
    [1, 2],
  );
  assertEquals(await con.eval("  'x'  "), "x");
  const nothing = code({ js: "undefined", py: "None" });
  assertEquals(await con.eval(nothing), row.runtime === "python" ? null : undefined);
}, { needs: [] });

capability("eval of statements gives the value of the last", async ({ con, code }) => {
  assertEquals(await con.eval(code({ js: "const a = 20; a + 1", py: "a = 20; a + 1" })), 21);
  assertEquals(
    await con.eval(
      code({
        js: "let s = 0; for (const n of [1, 2]) s += n; s",
        py: "s = 0\nfor n in [1, 2]: s += n\ns",
      }),
    ),
    3,
  );
}, { needs: [] });

capability("execute keeps what it declares, for execute and eval", async ({ con, code }) => {
  await con.execute(
    code({
      js: "var a = 1; let b = 2; const c = 3; class D { e() { return 4 } }",
      py: "a = 1; b = 2; c = 3\nclass D:\n def e(self): return 4",
    }),
  );
  await con.execute(
    code({
      js: "function f() { return a + b + c + new D().e() }; g = 5",
      py: "def f(): return a + b + c + D().e()\ng = 5",
    }),
  );
  assertEquals(await con.eval("f() + g"), 15);
  await con.execute("b = 20");
  assertEquals(await con.eval("f()"), 28);
}, { needs: [] });

capability("a scope's variables are its properties", async ({ con, code, row }) => {
  const scope = con.scope({ x: 20 });
  await con.execute(
    code({
      js: "y = x + 1; function twice(n) { return 2 * n }; let z = 1; const k = 7",
      py: "y = x + 1\ndef twice(n): return 2 * n\nz = 1; k = 7",
    }),
    scope,
  );
  const { trips, value } = await roundTrips(con, () => scope.twice(scope.y));
  assertEquals([trips, value], [1, 42]);
  assertEquals([await scope.x, await scope.z, await scope.k], [20, 1, 7]);
  if (row.runtime !== "python") assertEquals(await scope.missing, undefined);
  else {await assertRejects(
      async () => await scope.missing,
      RemoteError,
      "'missing' is not defined",
    );}
  await con.set(scope, "z", 5);
  assertEquals(await con.eval("z", scope), 5);
  await con.set(scope, "fresh", 6);
  assertEquals(await con.eval("fresh + z", scope), 11);
  assertEquals(await con.has(scope, "fresh"), true);
  assertEquals(await con.has(scope, "missing"), false);
  await assertRejects(() => con.set(scope, "not a name", 1), RemoteError, "not a name");
}, { needs: [] });

capability("keys lists all that a scope declares", async ({ con, code }) => {
  const scope = con.scope({ x: 20 });
  await con.execute(
    code({
      js: "y = 1; function f() {}; let z = 1; const k = 7; class C {}; var v",
      py: "y = 1\ndef f(): pass\nz = 1; k = 7\nclass C: pass\nv = None",
    }),
    scope,
  );
  assertEquals((await con.keys(scope)).sort(), ["C", "f", "k", "v", "x", "y", "z"]);
}, { needs: [] });

capability("scopes do not see each other, nor the global object them", async ({ con, row }) => {
  const a = con.scope({ n: 1 });
  const b = con.scope({ n: 2 });
  await con.execute("own = n * 10", a);
  await con.execute("own = n * 10", b);
  assertEquals(await con.eval("own", a), 10);
  assertEquals(await con.eval("own", b), 20);
  if (row.runtime === "python") {
    assertEquals(await con.eval("'own' in globals()"), false);
    return;
  }
  assertEquals(await con.eval("typeof own"), "undefined");
  assertEquals(await con.eval("'own' in globalThis", a), false);
  assertEquals(await con.eval("typeof unheardOf", a), "undefined");
}, { needs: [] });

capability("a name of the scope hides a global one", async ({ con, row }) => {
  const scope = con.scope({ name: "mine", fetch: 1, len: 2 });
  if (row.runtime === "python") {
    assertEquals(await con.eval("[name, len, callable(print)]", scope), ["mine", 2, true]);
    return;
  }
  assertEquals(await con.eval("[name, fetch, typeof Array]", scope), ["mine", 1, "function"]);
}, { needs: [] });

capability("a scope holds functions and objects of this side", async ({ con, code }) => {
  const scope = con.scope({ ask: (q: string) => `${q}?` });
  assertEquals(await con.eval(code({ js: "await ask('why')", py: "ask('why')" }), scope), "why?");
}, { needs: [] });

capability("code that throws half-way keeps what came before", async ({ con, code }) => {
  const scope = con.scope();
  await assertRejects(
    async () =>
      await con.execute(
        code({ js: "a = 1; throw new RangeError('stop')", py: "a = 1; raise ValueError('stop')" }),
        scope,
      ),
    RemoteError,
    "stop",
  );
  assertEquals(await con.eval("a", scope), 1);
  await assertRejects(async () => await con.execute("let broken = ;", scope), RemoteError);
  await con.execute("b = 2", scope);
  assertEquals(await con.eval("a + b", scope), 3);
}, { needs: [] });

capability(
  "execute takes source that ends in a comment or without a semicolon",
  async ({ con, code }) => {
    const scope = con.scope();
    await con.execute(code({ js: "a = 1 // one", py: "a = 1 # one" }), scope);
    await con.execute(code({ js: "b = () => 2\n/* two */", py: "b = lambda: 2\n# two" }), scope);
    await con.execute("'use strict'\nc = [1]", scope);
    await con.execute("", scope);
    assertEquals(await con.eval("a + b() + c[0]", scope), 4);
  },
  { needs: [] },
);

capability("it is the main realm", async ({ con }) => {
  assertEquals(await con.eval("[] instanceof Array && {} instanceof Object"), true);
  assertEquals(await con.eval("typeof fetch"), "function");
  assertEquals(await con.eval("(await import('node:path')).posix.join('a', 'b')"), "a/b");
});

capability("it is the main module, and the main thread", async ({ con }) => {
  assertEquals(await con.eval("__name__"), "__main__");
  assertEquals(await con.eval("__import__('__main__').__dict__ is globals()"), true);
  const threads = con.modules.threading as Anything;
  assertEquals(await threads.current_thread().name, "MainThread");
}, { needs: ["python"] });

capability("compile makes a remote function of every kind of function", async ({ con }) => {
  const key = "computed";
  const object = {
    method(a: number) {
      return a + 1;
    },
    async later(a: number) {
      return await Promise.resolve(a + 2);
    },
    *items(n: number) {
      for (let i = 0; i < n; i++) yield i;
    },
    async *slowItems(n: number) {
      for (let i = 0; i < n; i++) yield await Promise.resolve(i);
    },
    [key](a: number) {
      return a + 3;
    },
    get(a: number) {
      return a + 4;
    },
    async(a: number) {
      return a + 5;
    },
    "quoted name"(a: number) {
      return a + 6;
    },
    static(a: number) {
      return a + 7;
    },
  };
  class Static {
    static make(a: number) {
      return a + 8;
    }
    static async makeLater(a: number) {
      return await Promise.resolve(a + 9);
    }
  }
  function declared(a: number) {
    return a + 10;
  }
  const numbers: [(a: number) => unknown, number][] = [
    [(a) => a, 0],
    [async (a) => await Promise.resolve(a), 0],
    [object.method, 1],
    [object.later, 2],
    [object[key], 3],
    [object.get, 4],
    [object.async, 5],
    [object["quoted name"], 6],
    [object.static, 7],
    [Static.make, 8],
    [Static.makeLater, 9],
    [declared, 10],
    [function (a) {
      return a + 11;
    }, 11],
    [(a) => (({ b = 12 }: { b?: number }, [c]: number[]) => a + b + c!)({}, [0]), 12],
  ];
  for (const [f, more] of numbers) {
    assertEquals(await con.compile(f)(100), 100 + more, String(f));
  }
  const seen: unknown[] = [];
  for await (const item of con.compile(object.items)(3)) seen.push(item);
  for await (const item of con.compile(object.slowItems)(3)) seen.push(item);
  assertEquals(seen, [0, 1, 2, 0, 1, 2]);
});

capability("compile keeps defaults, destructuring and rest", async ({ con }) => {
  const f = await con.compile(
    (
      a: number,
      { b = 2, ...rest }: { b?: number; c: number },
      [c, ...more]: number[],
      d = a + b,
      ...e: number[]
    ) => [
      a,
      b,
      rest,
      c,
      more,
      d,
      e,
    ],
  );
  assertEquals(await f(1, { c: 3 }, [4, 5]), [1, 2, { c: 3 }, 4, [5], 3, []]);
  assertEquals(await f(1, { b: 9, c: 3 }, [4], 6, 7, 8), [1, 9, { c: 3 }, 4, [], 6, [7, 8]]);
});

capability("compile of a class", async ({ con }) => {
  const Point = await con.compile(
    class Point {
      x: number;
      constructor(x: number) {
        this.x = x;
      }
      double() {
        return this.x * 2;
      }
    },
  );
  assertEquals(await new Point(4).double(), 8);
});

capability("compile makes a remote function of every kind of Python source", async ({ con }) => {
  const numbers: [source: string, expected: unknown][] = [
    ["lambda a: a", 100],
    ["def f(a): return a + 1", 101],
    ["async def f(a): return a + 2", 102],
    ["import functools\n@functools.lru_cache(None)\ndef f(a): return a + 3", 103],
    ["def outer(n):\n return lambda a: a + n\nouter(4)", 104],
    ["class F:\n def __new__(cls, a): return a + 5", 105],
    ["class F:\n def __call__(self, a): return a + 6\nF()", 106],
    ["\n    def f(a):\n        return a + 7\n", 107],
    ["def f(*all): return sum(all) + 8", 108],
  ];
  for (const [source, expected] of numbers) {
    assertEquals(await con.compile(source)(100), expected, source);
  }
  const seen: unknown[] = [];
  for await (const i of con.compile("def f(n):\n for i in range(n): yield i")(3)) seen.push(i);
  for await (const i of con.compile("async def f(n):\n for i in range(n): yield i")(3)) {
    seen.push(i);
  }
  assertEquals(seen, [0, 1, 2, 0, 1, 2]);
  const f = await con.compile(
    "def f(a, b=2, *more, c, d=4, **rest): return [a, b, more, c, d, rest]",
  );
  assertEquals(await f(1, kwargs({ c: 3 })), [1, 2, [], 3, 4, {}]);
  assertEquals(await f(1, 9, 8, 7, kwargs({ d: 6, e: 5, c: 3 })), [1, 9, [8, 7], 3, 6, { e: 5 }]);
  const error = await assertRejects(async () => await f(1), RemoteError);
  assertStringIncludes(error.message, "'c'");
  assertThrows(() => con.compile((n: number) => n), TypeError, "Python source");
}, { needs: ["python"] });

capability("compile of source", async ({ con, code, make }) => {
  assertEquals(await make({ js: "(a) => a * 2", py: "lambda a: a * 2" })(2), 4);
  assertEquals(
    await make({
      js: "function named(n) { return n ? n * named(n - 1) : 1 }",
      py: "def named(n): return n * named(n - 1) if n else 1",
    })(5),
    120,
  );
  const Point = await make({
    js: "class Point { constructor(x) { this.x = x } double() { return this.x * 2 } }",
    py: `class Point:
    def __init__(self, x): self.x = x
    def double(self): return self.x * 2`,
  });
  assertEquals(await new Point(4).double(), 8);
  const error = await assertRejects(
    async () => await con.compile(code({ js: "(a => ", py: "lambda a: (" })),
    RemoteError,
  );
  assertEquals(error.type, "SyntaxError");
}, { needs: [] });

capability("compile passes the values that a function closes over by name", async ({ con }) => {
  const factor = 3;
  const log: string[] = [];
  const f = con.compile((n: number) => (note(`n=${n}`), n * factor), {
    scope: { factor, note: (line: string) => void log.push(line) },
  });
  function note(_line: string) {}
  assertEquals(await f(2), 6);
  assertEquals(log, ["n=2"]);
  const error = await assertRejects(async () => await con.compile(() => factor)(), RemoteError);
  assertEquals(error.type, "ReferenceError");
  assertStringIncludes(error.message, "factor");
  const scope = con.scope({ base: 40 });
  await con.execute("let plus = 2", scope);
  assertEquals(await con.compile("() => base + plus", { scope })(), 42);
});

capability("compile of source takes the values that it names", async ({ con, code, row }) => {
  const log: string[] = [];
  const f = con.compile(
    code({
      js: "(n) => (note(`n=${n}`), n * factor)",
      py: "def f(n):\n note('n=%d' % n)\n return n * factor",
    }),
    { scope: { factor: 3, note: (line: string) => void log.push(line) } },
  );
  assertEquals(await f(2), 6);
  assertEquals(log, ["n=2"]);
  const nothing = code({ js: "() => factor", py: "lambda: factor" });
  const error = await assertRejects(async () => await con.compile(nothing)(), RemoteError);
  assertEquals(error.type, row.runtime === "python" ? "NameError" : "ReferenceError");
  assertStringIncludes(error.message, "factor");
  const scope = con.scope({ base: 40 });
  await con.execute("plus = 2", scope);
  const sum = code({ js: "() => base + plus", py: "lambda: base + plus" });
  assertEquals(await con.compile(sum, { scope })(), 42);
}, { needs: [] });

capability("native, bound and remote functions are not compiled", async ({ con }) => {
  assertThrows(() => con.compile(Math.max), TypeError, "native or bound");
  assertThrows(() => con.compile((() => 1).bind(null)), TypeError, "native or bound");
  const remote = await con.eval("() => 1");
  assertThrows(() => con.compile(remote), TypeError, "there already");
});

capability("compiled code is strict", async ({ con }) => {
  const error = await assertRejects(
    async () => await con.compile("() => { undeclared = 1 }")(),
    RemoteError,
  );
  assertEquals(error.type, "ReferenceError");
});

capability("modules by name, with a slash, a path and a URL", async ({ con, guard }) => {
  const { os, path } = con.modules;
  assertEquals(await os.platform(), Deno.build.os);
  assertEquals(await path.join("a", "b"), "a/b");
  assertEquals(await con.modules["fs/promises"].readFile("/dev/null", "utf8"), "");
  assertEquals(await con.modules["node:path"]!.basename!("/a/b"), "b");
  const file = `${guard.folder}/own.mjs`;
  await Deno.writeTextFile(
    file,
    "export const answer = 42; export function f() { return this === undefined }",
  );
  assertEquals(await con.import(file).answer, 42);
  assertEquals(await con.import(`file://${file}`).answer, 42);
  const error = await assertRejects(async () => await con.modules["no-such-module"], Error);
  assertStringIncludes(error.message, "no-such-module");
  await assertRejects(async () => await con.import(""), RemoteError, "a module has a name");
});

capability("modules by name, and those inside packages", async ({ con }) => {
  const modules = con.modules as Anything;
  assertEquals(await modules.os.path.join("a", "b"), "a/b");
  assertEquals(await modules["os.path"].basename("/a/b"), "b");
  assertEquals(await con.import("xml.dom.minidom").Node.ELEMENT_NODE, 1);
  assertEquals(await modules.xml.dom.minidom.Node.TEXT_NODE, 3);
  const error = await assertRejects(async () => await modules.no_such_module, RemoteError);
  assertStringIncludes(error.message, "no_such_module");
  await assertRejects(async () => await con.import(""), RemoteError);
}, { needs: ["python"] });

capability(
  "a module that was awaited is a reference whose functions are called",
  async ({ con, row }) => {
    const module: Anything = await con.modules[row.runtime === "python" ? "posixpath" : "path"];
    assert(isRemote(module));
    assertEquals(await module.join("a", "b"), "a/b");
  },
  { needs: [] },
);

capability("globals is the remote global object", async ({ con, code, row }) => {
  if (row.runtime !== "python") {
    assertEquals(await con.globals.process!.pid, con.interpreter.pid);
    assertEquals(await con.globals.Math.max(1, 2), 2);
  } else assertEquals(await con.builtins.max(1, 2), 2);
  const scope = con.globals as Record<string, unknown>;
  await con.set(scope, "shared", 5);
  assertEquals(await con.eval("shared"), 5);
  await con.delete(scope, "shared");
  const there = code({ js: "'shared' in globalThis", py: "'shared' in globals()" });
  assertEquals(await con.eval(there), false);
}, { needs: [] });

capability("the interpreter says what it is", async ({ con, code, row }) => {
  const { runtime, version, pid, platform } = con.interpreter;
  assertEquals(runtime, row.runtime);
  assertEquals(pid, await con.eval(code({ js: "process.pid", py: "__import__('os').getpid()" })));
  assert(/^\d+\.\d+/.test(version));
  assertEquals(platform, Deno.build.os);
  assertEquals(Deno.inspect(con), `Connection { ${runtime} ${version}, pid ${pid}, open }`);
}, { needs: [] });

capability("reserved words are no variables of a scope", async ({ con }) => {
  const scope = con.scope();
  for (const word of ["class", "this", "null", "arguments"]) {
    assertEquals(await con.has(scope, word), false, word);
    assertEquals(await scope[word], undefined, word);
  }
});

capability("stacks of evaluated code name no code of the agent's", async ({ con, code, row }) => {
  await con.execute(
    code({
      js: "function guilty() { throw new Error('x') }",
      py: "def guilty(): raise Exception('x')",
    }),
  );
  const error = await assertRejects(async () => await con.eval("guilty()"), RemoteError);
  assertStringIncludes(error.remoteStack, "guilty");
  const own = row.runtime === "python" ? /pushy:agent/ : /blob:|data:|pushy/;
  assert(!own.test(error.remoteStack), error.remoteStack);
}, { needs: [] });

capability("stacks have the places of the code alone", async ({ con }) => {
  const frames = async (work: Promise<unknown>) => {
    const { remoteStack } = await assertRejects(() => work, RemoteError);
    return remoteStack.split("\n").filter((line) => /^\s+at |@/.test(line));
  };
  for (let i = 0; i < 2; i++) {
    assertEquals(await frames(con.execute("const x: number = 1").then()), []);
    assertEquals(await frames(con.eval(".help").then()), []);
    const places = await frames(con.execute("(() => {\n null.x })()").then());
    assert(places.length > 0);
    for (const place of places) assertStringIncludes(place, "execute");
    await con.execute("var kept = 1");
  }
  // JavaScriptCore has frames of its own for source that it cannot read.
}, { rows: ({ runtime }) => runtime === "deno" || runtime === "node" });

capability("an object of variables is a scope for one call", async ({ con, code }) => {
  const { roundTrips } = con.stats;
  assertEquals(await con.eval("x * 2", { x: 21 }), 42);
  assertEquals(con.stats.roundTrips - roundTrips, 1);
  const seen: number[] = [];
  await con.execute(code({ js: "y = see(x + 1)", py: "y = see(x + 1)" }), {
    x: 1,
    see: (n: number) => void seen.push(n),
  });
  assertEquals(seen, [2]);
  await assertRejects(async () => await con.eval("x"), RemoteError);
  await assertRejects(async () => await con.eval("y"), RemoteError);
  assertThrows(() => con.eval("x", 1 as never), TypeError, "a scope is made by con.scope");
}, { needs: [] });
