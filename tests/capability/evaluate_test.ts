import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { isRemote, RemoteError } from "../../mod.ts";
import { capability } from "../matrix.ts";
import { roundTrips } from "./observe.ts";

capability("eval gives the value of an expression, await included", async ({ con }) => {
  assertEquals(await con.eval("1 + 2"), 3);
  assertEquals(await con.eval("await Promise.resolve(4) + 1"), 5);
  assertEquals(await con.eval("{ a: 1 }"), { a: 1 });
  assertEquals(await con.eval("[1, 2] // with a comment"), [1, 2]);
  assertEquals(await con.eval("  'x'  "), "x");
  assertEquals(await con.eval("undefined"), undefined);
});

capability("eval of statements gives the value of the last", async ({ con }) => {
  assertEquals(await con.eval("const a = 20; a + 1"), 21);
  assertEquals(await con.eval("let s = 0; for (const n of [1, 2]) s += n; s"), 3);
});

capability("execute keeps what it declares, for execute and eval", async ({ con }) => {
  await con.execute("var a = 1; let b = 2; const c = 3; class D { e() { return 4 } }");
  await con.execute("function f() { return a + b + c + new D().e() }; g = 5");
  assertEquals(await con.eval("f() + g"), 15);
  await con.execute("b = 20");
  assertEquals(await con.eval("f()"), 28);
});

capability("a scope's variables are its properties", async ({ con }) => {
  const scope = con.scope({ x: 20 });
  await con.execute("y = x + 1; function twice(n) { return 2 * n }; let z = 1; const k = 7", scope);
  const { trips, value } = await roundTrips(con, () => scope.twice(scope.y));
  assertEquals([trips, value], [1, 42]);
  assertEquals([await scope.x, await scope.z, await scope.k], [20, 1, 7]);
  assertEquals(await scope.missing, undefined);
  await con.set(scope, "z", 5);
  assertEquals(await con.eval("z", scope), 5);
  await con.set(scope, "fresh", 6);
  assertEquals(await con.eval("fresh + z", scope), 11);
  assertEquals(await con.has(scope, "fresh"), true);
  assertEquals(await con.has(scope, "missing"), false);
  await assertRejects(() => con.set(scope, "not a name", 1), RemoteError, "not a name");
});

capability("keys lists all that a scope declares", async ({ con }) => {
  const scope = con.scope({ x: 20 });
  await con.execute("y = 1; function f() {}; let z = 1; const k = 7; class C {}; var v", scope);
  assertEquals((await con.keys(scope)).sort(), ["C", "f", "k", "v", "x", "y", "z"]);
});

capability("scopes do not see each other, nor the global object them", async ({ con }) => {
  const a = con.scope({ n: 1 });
  const b = con.scope({ n: 2 });
  await con.execute("own = n * 10", a);
  await con.execute("own = n * 10", b);
  assertEquals(await con.eval("own", a), 10);
  assertEquals(await con.eval("own", b), 20);
  assertEquals(await con.eval("typeof own"), "undefined");
  assertEquals(await con.eval("'own' in globalThis", a), false);
  assertEquals(await con.eval("typeof unheardOf", a), "undefined");
});

capability("a name of the scope hides a global one", async ({ con }) => {
  const scope = con.scope({ name: "mine", fetch: 1 });
  assertEquals(await con.eval("[name, fetch, typeof Array]", scope), ["mine", 1, "function"]);
});

capability("a scope holds functions and objects of this side", async ({ con }) => {
  const scope = con.scope({ ask: (q: string) => `${q}?` });
  assertEquals(await con.eval("await ask('why')", scope), "why?");
});

capability("code that throws half-way keeps what came before", async ({ con }) => {
  const scope = con.scope();
  await assertRejects(
    async () => await con.execute("a = 1; throw new RangeError('stop')", scope),
    RemoteError,
    "stop",
  );
  assertEquals(await con.eval("a", scope), 1);
  await assertRejects(async () => await con.execute("let broken = ;", scope), RemoteError);
  await con.execute("b = 2", scope);
  assertEquals(await con.eval("a + b", scope), 3);
});

capability(
  "execute takes source that ends in a comment or without a semicolon",
  async ({ con }) => {
    const scope = con.scope();
    await con.execute("a = 1 // one", scope);
    await con.execute("b = () => 2\n/* two */", scope);
    await con.execute("'use strict'\nc = [1]", scope);
    await con.execute("", scope);
    assertEquals(await con.eval("a + b() + c[0]", scope), 4);
  },
);

capability("it is the main realm", async ({ con }) => {
  assertEquals(await con.eval("[] instanceof Array && {} instanceof Object"), true);
  assertEquals(await con.eval("typeof fetch"), "function");
  assertEquals(await con.eval("(await import('node:path')).posix.join('a', 'b')"), "a/b");
});

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

capability("compile of a class, and of source", async ({ con }) => {
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
  assertEquals(await con.compile("(a) => a * 2")(2), 4);
  assertEquals(await con.compile("function named(n) { return n ? n * named(n - 1) : 1 }")(5), 120);
  const error = await assertRejects(async () => await con.compile("(a => "), RemoteError);
  assertEquals(error.type, "SyntaxError");
});

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

capability(
  "a module that was awaited is a reference whose functions are called",
  async ({ con }) => {
    const os = await con.modules.os;
    assert(isRemote(os));
    assertEquals(typeof await os.hostname(), "string");
  },
);

capability("globals is the remote global object", async ({ con }) => {
  assertEquals(await con.globals.process!.pid, con.interpreter.pid);
  assertEquals(await con.globals.Math.max(1, 2), 2);
  const scope = con.globals as Record<string, unknown>;
  await con.set(scope, "shared", 5);
  assertEquals(await con.eval("shared"), 5);
  await con.delete(scope, "shared");
  assertEquals(await con.eval("typeof shared"), "undefined");
});

capability("the interpreter says what it is", async ({ con, row }) => {
  const { runtime, version, pid, platform } = con.interpreter;
  assertEquals(runtime, row.runtime);
  assertEquals(pid, await con.eval("process.pid"));
  assert(/^\d+\.\d+/.test(version));
  assertEquals(platform, Deno.build.os);
  assertEquals(Deno.inspect(con), `Connection { ${runtime} ${version}, pid ${pid}, open }`);
});

capability("reserved words are no variables of a scope", async ({ con }) => {
  const scope = con.scope();
  for (const word of ["class", "this", "null", "arguments"]) {
    assertEquals(await con.has(scope, word), false, word);
    assertEquals(await scope[word], undefined, word);
  }
});

capability("stacks of evaluated code name no code of the agent's", async ({ con }) => {
  await con.execute("function guilty() { throw new Error('x') }");
  const error = await assertRejects(async () => await con.eval("guilty()"), RemoteError);
  assertStringIncludes(error.remoteStack, "guilty");
  assert(!/blob:|data:|pushy/.test(error.remoteStack), error.remoteStack);
});
