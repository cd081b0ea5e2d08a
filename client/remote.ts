/**
 * What the other side's types are on this side.
 *
 * `Remote<T>` is what a remote `T` is here once it was awaited; `RemotePromise<T>` is what a call or a property
 * gives before that: a promise whose members can be used without waiting. `Local<T>` is the inverse: what this side
 * may pass where the remote expects a `T`.
 *
 * Overloads are kept, up to eight. Type parameters are erased: a generic function gives what it gives for the
 * constraint of its parameter, because TypeScript has no way to map a generic signature.
 *
 * @module
 */

/** What crosses by value as it is. */
export type Plain =
  | string
  | number
  | bigint
  | boolean
  | symbol
  | null
  | undefined
  | void
  | Date
  | RegExp
  | URL
  | Error
  | ArrayBuffer
  | SharedArrayBuffer
  | ArrayBufferView
  | ReadableStream
  | WritableStream
  | AbortSignal;

/** Any function. */
// deno-lint-ignore no-explicit-any
export type AnyFunction = (...args: any[]) => unknown;
/** Any class. */
// deno-lint-ignore no-explicit-any
export type AnyConstructor = abstract new (...args: any[]) => unknown;

/** Has this type no members that can be called? Then it is data, and crosses by value. */
export type IsData<T> = true extends
  { [K in keyof T]: T[K] extends AnyFunction ? true : never }[keyof T] ? false
  : true;

/** What a remote `T` is on this side, once it was awaited. */
export type Remote<T> = unknown extends T ? T
  : T extends Plain ? T
  : T extends AnyFunction | AnyConstructor ? RemoteMembers<T>
  : T extends AsyncIterable<infer I> ? AsyncIterable<Remote<I>> & RemoteMembers<T>
  : T extends Map<infer K, infer V> ? Map<Remote<K>, Remote<V>>
  : T extends Set<infer I> ? Set<Remote<I>>
  : T extends readonly unknown[] ? { [K in keyof T]: Remote<T[K]> }
  : T extends Iterator<infer I> ? AsyncIterableIterator<Remote<I>>
  : IsData<T> extends true ? { [K in keyof T]: Remote<T[K]> }
  : RemoteMembers<T>;

/** The promise of a remote `T`; its members can be used before it resolves. */
export type RemotePromise<T> =
  & Promise<Remote<T>>
  & RemoteMembers<T>
  & AsyncIterable<Remote<ItemOf<T>>>;

/** What iterating over a `T` gives. */
export type ItemOf<T> = T extends AsyncIterable<infer I> ? I
  : T extends Iterable<infer I> ? I
  : unknown;

/** The members of something remote: each is the promise of what it is there, and functions can be called. */
export type RemoteMembers<T> =
  & (T extends AnyFunction ? RemoteFunction<T> : unknown)
  & (T extends AnyConstructor ? RemoteConstructor<T> : unknown)
  & (unknown extends T ? unknown
    : T extends string | number | bigint | boolean | symbol | null | undefined | void ? unknown
    : {
      readonly [K in keyof T & string as K extends "then" ? never : K]: RemotePromise<
        Awaited<T[K]>
      >;
    })
  & Disposable
  & AsyncDisposable;

/**
 * What may be passed where the remote expects a `T`: that, a reference to a remote one, or the result of a call
 * that has not come yet. A promise of this side is no such result: it arrives as a promise.
 */
export type Local<T> =
  | (Promise<Remote<T>> & Disposable)
  // Of functions one call signature and no more, so that the parameters of a callback have types.
  | LocalFunctions<T>
  | (HasFunction<T> extends true ? LocalData<Exclude<T, AnyFunction>> : LocalData<T> | Untyped);

/** Is one of the members of this union a function? */
export type HasFunction<T> = [Extract<T, AnyFunction>] extends [never] ? false : true;

/** The callbacks that may be passed where a function of type `T` is expected. */
export type LocalFunctions<T> = T extends AnyFunction ? LocalFunction<T> : never;

/** What may be passed where data of type `T` is expected. */
// Not one member of a union after the other: the promise of a boolean is none of true, and none of false.
export type LocalData<T> = [T] extends [never] ? never : T | Remote<T> | LocalParts<T>;

/** The same for the parts of an array or object. */
export type LocalParts<T> = T extends Plain ? never
  : T extends readonly unknown[] ? { [K in keyof T]: Local<T[K]> }
  : T extends object ? { [K in keyof T]: Local<T[K]> }
  : never;

/** A callback: it gets what is remote as such, and may answer with a promise. */
export type LocalFunction<T extends AnyFunction> = (
  ...args: RemoteAll<Parameters<T>>
) => unknown;

/** What the arguments of a callback are here. */
export type RemoteAll<A extends readonly unknown[]> = { [K in keyof A]: Remote<A[K]> };

/** What may be passed for each of these parameters. */
export type LocalAll<A extends readonly unknown[]> = { [K in keyof A]: Local<A[K]> };

/** One signature of a remote function. */
export type Call<A extends readonly unknown[], R> = (
  ...args: LocalAll<A>
) => RemotePromise<Awaited<R>>;

/** A remote class, to be constructed with `new`. */
export type RemoteConstructor<T> = T extends abstract new (...args: infer A) => infer R
  ? new (...args: LocalAll<A>) => RemotePromise<R>
  : unknown;

/** A remote function, with up to eight of its overloads. */
// One line for each number of overloads: a type with fewer does not match a pattern with more.
// deno-fmt-ignore
export type RemoteFunction<T> =
  T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R; (...d: infer D): infer S; (...e: infer E): infer U; (...f: infer F): infer V; (...g: infer G): infer W; (...h: infer H): infer X } ? Call<A, P> & Call<B, Q> & Call<C, R> & Call<D, S> & Call<E, U> & Call<F, V> & Call<G, W> & Call<H, X>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R; (...d: infer D): infer S; (...e: infer E): infer U; (...f: infer F): infer V; (...g: infer G): infer W } ? Call<A, P> & Call<B, Q> & Call<C, R> & Call<D, S> & Call<E, U> & Call<F, V> & Call<G, W>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R; (...d: infer D): infer S; (...e: infer E): infer U; (...f: infer F): infer V } ? Call<A, P> & Call<B, Q> & Call<C, R> & Call<D, S> & Call<E, U> & Call<F, V>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R; (...d: infer D): infer S; (...e: infer E): infer U } ? Call<A, P> & Call<B, Q> & Call<C, R> & Call<D, S> & Call<E, U>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R; (...d: infer D): infer S } ? Call<A, P> & Call<B, Q> & Call<C, R> & Call<D, S>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q; (...c: infer C): infer R } ? Call<A, P> & Call<B, Q> & Call<C, R>
  : T extends { (...a: infer A): infer P; (...b: infer B): infer Q } ? Call<A, P> & Call<B, Q>
  : T extends (...a: infer A) => infer P ? Call<A, P>
  : unknown;

/** Something remote of which nothing is known: every member is there, and its value is `unknown`. */
export type Untyped = Promise<unknown> & UntypedMembers & AsyncIterable<unknown>;

/** The members of something of which nothing is known. */
export interface UntypedMembers {
  /** Calls it. */
  (...args: unknown[]): Untyped;
  /** Constructs it. */
  new (...args: unknown[]): Untyped;
  /** A member. */
  readonly [key: string]: Untyped;
  /** Gives it back early. */
  [Symbol.dispose](): void;
  /** Lets it dispose of itself, and gives it back. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A remote module. */
export type Module<T> = RemotePromise<T>;

/** The modules of a JavaScript runtime: Node's own are typed, and any other can be named. */
// deno-fmt-ignore
export type Modules = {
  readonly assert: Module<typeof import("node:assert")>;
  readonly buffer: Module<typeof import("node:buffer")>;
  readonly child_process: Module<typeof import("node:child_process")>;
  readonly crypto: Module<typeof import("node:crypto")>;
  readonly dns: Module<typeof import("node:dns")>;
  readonly "dns/promises": Module<typeof import("node:dns/promises")>;
  readonly events: Module<typeof import("node:events")>;
  readonly fs: Module<typeof import("node:fs")>;
  readonly "fs/promises": Module<typeof import("node:fs/promises")>;
  readonly http: Module<typeof import("node:http")>;
  readonly https: Module<typeof import("node:https")>;
  readonly net: Module<typeof import("node:net")>;
  readonly os: Module<typeof import("node:os")>;
  readonly path: Module<typeof import("node:path")>;
  readonly process: Module<typeof import("node:process")>;
  readonly querystring: Module<typeof import("node:querystring")>;
  readonly readline: Module<typeof import("node:readline")>;
  readonly stream: Module<typeof import("node:stream")>;
  readonly string_decoder: Module<typeof import("node:string_decoder")>;
  readonly timers: Module<typeof import("node:timers")>;
  readonly "timers/promises": Module<typeof import("node:timers/promises")>;
  readonly tls: Module<typeof import("node:tls")>;
  readonly url: Module<typeof import("node:url")>;
  readonly util: Module<typeof import("node:util")>;
  readonly v8: Module<typeof import("node:v8")>;
  readonly zlib: Module<typeof import("node:zlib")>;
} & {
  readonly [name: string]: Untyped;
};

/** The remote `globalThis`. */
export type Globals = RemoteMembers<typeof globalThis> & { readonly [name: string]: Untyped };

/** The variables of a scope. */
export type Scope = Untyped;
