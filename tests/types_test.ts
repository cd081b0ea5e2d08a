/**
 * What users' programs are given as types. `deno check` is the test: each line that must not compile
 * says so, and nothing here is run.
 *
 * @module
 */

import { connect, type Connection, type ConnectOptions, type Local } from "../mod.ts";
import type { Remote, RemotePromise, RuntimeName } from "../mod.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

function expect<_ extends true>(): void {}

type AwaitedType<T> = T extends PromiseLike<infer V> ? V : never;
type IsAny<T> = 0 extends 1 & T ? true : false;

interface Plain {
  a: number;
  list: string[];
  nested: { when: Date; maybe?: bigint };
}

class Counter {
  n = 0;
  add(by: number): number {
    return this.n += by;
  }
  later(): Promise<string> {
    return Promise.resolve("");
  }
  self(): this {
    return this;
  }
}

interface Overloaded {
  (x: number): number;
  (x: string): string;
  (x: boolean, y: Date): Date;
}

/** A transport that the compiler knows has its options and no others; one of the user's own has any. */
async function options(host: string, any: ConnectOptions, runtime: RuntimeName) {
  const plain = await connect("local:", { closeTimeout: 500 });
  expect<Equal<typeof plain, Connection<"deno">>>();
  const python = await connect(`ssh:${host}`, { runtime: "python", useNative: false });
  expect<Equal<typeof python, Connection<"python">>>();
  const some = await connect("daemon:localhost:10101", { runtime, token: host });
  expect<Equal<typeof some, Connection<RuntimeName>>>();
  const named = await connect<"node">(`smb:${host}`, { username: host });
  expect<Equal<typeof named, Connection<"node">>>();
  await connect("nice:web1", { level: 3 });
  await connect(host, { level: 3 });
  await connect("local:", any);
  // @ts-expect-error: a misspelt option.
  await connect("local:", { runtim: "python" });
  // @ts-expect-error: an option of another transport.
  await connect(`ssh:${host}`, { closeTimeout: 500 });
  // @ts-expect-error: no runtime of that name.
  await connect("daemon:/run/pushy.sock", { runtime: "pyton" });
  // @ts-expect-error: a value of another type.
  await connect("local:", { closeTimeout: "500" });
}

/** Data is itself. */
function data() {
  expect<Equal<Remote<string>, string>>();
  expect<Equal<Remote<number | undefined>, number | undefined>>();
  expect<Equal<Remote<Plain>["nested"]["when"], Date>>();
  expect<Equal<Remote<Plain>["list"], string[]>>();
  expect<Equal<Remote<Uint8Array>, Uint8Array>>();
  expect<Equal<Remote<[1, "a"]>, [1, "a"]>>();
  expect<Equal<Remote<Map<string, Date>>, Map<string, Date>>>();
  expect<Equal<Remote<null>, null>>();
  expect<Equal<Remote<unknown>, unknown>>();
}

/** What a call or a property gives is a promise, and its members can be used before it resolves. */
async function promises(counter: RemotePromise<Counter>, f: Remote<(n: number) => Plain>) {
  const added = counter.add(1);
  expect<Equal<AwaitedType<typeof added>, number>>();
  expect<Equal<AwaitedType<ReturnType<typeof counter.later>>, string>>();
  const n = await counter.n;
  expect<Equal<typeof n, number>>();
  const date = await f(1).nested.when;
  expect<Equal<typeof date, Date>>();
  const chained = await counter.self().self().add(f(1).a);
  expect<Equal<typeof chained, number>>();
  // @ts-expect-error: text is no number.
  counter.add("1");
  // @ts-expect-error: there is no such method.
  counter.nothing();
  const settled = await counter;
  // @ts-expect-error: a settled reference has no then.
  settled.then;
  using held = settled;
  await using disposed = settled;
  void [held, disposed];
}

/** Overloads are kept. */
async function overloads(f: Remote<Overloaded>) {
  const a = await f(1);
  const b = await f("1");
  const c = await f(true, new Date());
  expect<Equal<[typeof a, typeof b, typeof c], [number, string, Date]>>();
  // @ts-expect-error: no overload takes this.
  f({});
}

/** A generic function gives what it gives for the constraint of its parameter. */
async function generics(
  f: Remote<<T extends { id: number }>(x: T) => T>,
  g: Remote<<T>(x: T) => T[]>,
) {
  const one = await f({ id: 1 });
  expect<Equal<typeof one.id, number>>();
  const any = await g(1);
  expect<Equal<IsAny<(typeof any)[number]>, false>>();
}

/** Classes are constructed there. */
async function classes(Class: Remote<typeof Counter>) {
  const counter = new Class();
  expect<Equal<AwaitedType<ReturnType<typeof counter.add>>, number>>();
  const settled = await counter;
  const n = await settled.add(1);
  expect<Equal<typeof n, number>>();
}

/** What is passed may be the thing, its promise, or a reference to a remote one. */
async function local(
  f: Remote<(counter: Counter, on: (n: number) => void, options: Plain) => void>,
  counter: Remote<Counter>,
  promise: RemotePromise<Counter>,
  a: RemotePromise<number>,
  con: Connection<"deno">,
) {
  await f(new Counter(), () => {}, { a: 1, list: [], nested: { when: new Date() } });
  await f(counter, (n) => expect<Equal<typeof n, number>>(), {
    a,
    list: [],
    nested: { when: new Date() },
  });
  await f(promise, async () => {}, { a: 1, list: [], nested: { when: new Date() } });
  await f(counter, console.log, con.eval("({ a: 1, list: [], nested: {} })"));
  using untyped = con.eval("1");
  void untyped;
  const callback = await con.compile((n: number) => void n);
  await f(counter, callback, { a: await a, list: [], nested: { when: new Date() } });
  // @ts-expect-error: a promise of this side arrives as a promise.
  await f(counter, () => {}, { a: Promise.resolve(1), list: [], nested: { when: new Date() } });
  // @ts-expect-error: a callback of other arguments.
  await f(counter, (text: string) => text, { a: 1, list: [], nested: { when: new Date() } });
  // @ts-expect-error: a field is missing.
  await f(counter, () => {}, { a: 1 });
  const optional = await con.import<
    (deep: boolean, level?: 1 | 2, done?: (text: string) => void) => boolean
  >("x");
  await optional(optional(true), 2, (text) => expect<Equal<typeof text, string>>());
  await optional(false, undefined, undefined);
  // @ts-expect-error: there is no level 3.
  await optional(true, 3);
  const text: Local<string> = "text";
  void text;
}

/** Iterables are iterated over with `for await`. */
async function iteration(
  f: Remote<{ gen(): Generator<number>; agen(): AsyncGenerator<Plain>; list(): string[] }>,
) {
  for await (const n of f.gen()) expect<Equal<typeof n, number>>();
  for await (const plain of f.agen()) expect<Equal<typeof plain.a, number>>();
  for await (const text of f.list()) expect<Equal<typeof text, string>>();
  for await (const n of await f.gen()) expect<Equal<typeof n, number>>();
}

/** Node's modules are typed, others can be named, and nothing of ours is `any`. */
async function modules(con: Connection<"deno">) {
  const name = await con.modules.os.hostname();
  expect<Equal<typeof name, string>>();
  const joined = await con.modules.path.join("a", con.modules.os.tmpdir());
  expect<Equal<typeof joined, string>>();
  const text = await con.modules["fs/promises"].readFile("a", "utf8");
  expect<Equal<typeof text, string>>();
  const bytes = await con.modules.fs.readFileSync("a");
  expect<Equal<IsAny<typeof bytes>, false>>();
  // @ts-expect-error: hostname takes no text.
  con.modules.os.hostname("x");
  const other = await con.modules["npm:chalk"]!.red!("x");
  expect<Equal<typeof other, unknown>>();
  const path = await con.import<typeof import("node:path")>("path");
  expect<Equal<AwaitedType<ReturnType<typeof path.basename>>, string>>();
  const unknown = await con.import("x").y!.z!(1);
  expect<Equal<typeof unknown, unknown>>();
  const evaluated = await con.eval("1");
  expect<Equal<typeof evaluated, unknown>>();
  const typed = await con.eval<number>("1");
  expect<Equal<typeof typed, number>>();
  const global = await con.globals.whatever!.x!();
  expect<Equal<typeof global, unknown>>();
  const scope = con.scope({ x: 1 });
  const twice = await scope.twice!(scope.x);
  expect<Equal<typeof twice, unknown>>();
}

/** `compile` infers arguments and result. */
async function compiling(con: Connection<"deno">) {
  const add = await con.compile((a: number, b: number) => a + b);
  const sum = await add(1, 2);
  expect<Equal<typeof sum, number>>();
  // @ts-expect-error: text is no number.
  add("1", 2);
  const later = await con.compile(async (text: string) => await Promise.resolve([text]));
  const list = await later("x");
  expect<Equal<typeof list, string[]>>();
  const generator = await con.compile(function* (to: number) {
    for (let i = 0; i < to; i++) yield i;
  });
  for await (const i of generator(3)) expect<Equal<typeof i, number>>();
}

Deno.test("the types say what they should", () => {
  // They were checked when this file was loaded.
  void [
    options,
    data,
    promises,
    overloads,
    generics,
    classes,
    local,
    iteration,
    modules,
    compiling,
  ];
});
