/**
 * What the remote program prints becomes output messages, in order with results.
 *
 * @module
 */

import { deno, host, node } from "./host.ts";

/** Takes printed bytes; 1 is standard output, 2 is standard error. */
export type Print = (descriptor: 1 | 2, bytes: Uint8Array) => void;

/** Sends what `console`, `process.stdout` and `Deno.stdout` are given to `print`. */
export function captureOutput(print: Print): void {
  const encoder = new TextEncoder();
  if (deno) {
    captureDeno(deno.stdout, (bytes) => print(1, bytes));
    captureDeno(deno.stderr, (bytes) => print(2, bytes));
    const internals = (deno as unknown as Record<symbol, Record<string, unknown>>)[deno.internal];
    const NativeConsole = internals?.["Console"] as
      | (new (print: (text: string, level: number) => void) => object)
      | undefined;
    const write = (text: string, level: number) => print(level > 1 ? 2 : 1, encoder.encode(text));
    if (NativeConsole) adopt(new NativeConsole(write));
    else adopt(plainConsole(deno.inspect, write));
    return;
  }
  captureNode(node!.stdout, (bytes) => print(1, bytes));
  captureNode(node!.stderr, (bytes) => print(2, bytes));
  if (host.name === "bun") {
    // Bun's console writes to the descriptors by itself.
    const inspect =
      (globalThis as unknown as { Bun: { inspect(value: unknown): string } }).Bun.inspect;
    adopt(plainConsole(inspect, (text, level) => print(level > 1 ? 2 : 1, encoder.encode(text))));
  }
}

function adopt(source: object): void {
  const target = console as unknown as Record<string, unknown>;
  for (const name of Object.getOwnPropertyNames(target)) {
    const method = (source as Record<string, unknown>)[name];
    if (typeof method === "function") target[name] = method.bind(source);
  }
}

function plainConsole(
  inspect: (value: unknown) => string,
  write: (text: string, level: number) => void,
): Record<string, unknown> {
  const format = (values: unknown[]) =>
    values.map((value) => typeof value === "string" ? value : inspect(value)).join(" ") + "\n";
  const at = (level: number) => (...values: unknown[]) => write(format(values), level);
  return {
    log: at(1),
    info: at(1),
    debug: at(1),
    dir: at(1),
    table: at(1),
    warn: at(2),
    error: at(2),
    trace: at(2),
    assert: (condition: unknown, ...values: unknown[]) => {
      if (!condition) write(format(["Assertion failed:", ...values]), 2);
    },
  };
}

function captureDeno(stream: Record<string, unknown>, print: (bytes: Uint8Array) => void): void {
  const writeSync = (bytes: Uint8Array) => {
    print(bytes);
    return bytes.length;
  };
  Object.defineProperties(stream, {
    writeSync: { value: writeSync, configurable: true },
    write: { value: (bytes: Uint8Array) => Promise.resolve(writeSync(bytes)), configurable: true },
    writable: {
      get: () => new WritableStream<Uint8Array>({ write: print }),
      configurable: true,
    },
  });
}

function captureNode(stream: { write: unknown }, print: (bytes: Uint8Array) => void): void {
  const encoder = new TextEncoder();
  stream.write = (
    chunk: string | Uint8Array,
    encoding?: string | (() => void),
    done?: () => void,
  ) => {
    print(typeof chunk === "string" ? encoder.encode(chunk) : chunk);
    const callback = typeof encoding === "function" ? encoding : done;
    if (callback) queueMicrotask(callback);
    return true;
  };
}
