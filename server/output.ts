/**
 * What the programs of a shared interpreter print goes to the connection whose call made it.
 *
 * @module
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { captureOutput } from "../runtime/js/output.ts";

/** Takes what is printed on behalf of a connection; says whether it did. */
export type Printer = (descriptor: 1 | 2, bytes: Uint8Array) => boolean;

const printing = new AsyncLocalStorage<Printer>();

interface Capture {
  users: number;
  restore: () => void;
}

let capture: Capture | undefined;

/** Runs `work`; what it prints, now and later, goes to `printer`. */
export function printTo<T>(printer: Printer, work: () => T): T {
  return printing.run(printer, work);
}

/** The printer of the code that runs now, if it runs on behalf of a connection. */
export function currentPrinter(): Printer | undefined {
  return printing.getStore();
}

/**
 * Begins to catch what `console`, `Deno.stdout` and `process.stdout` are given. What no connection takes goes where it
 * would have gone. Servers of one program share it; the function that is given back ends it.
 *
 * @param own The descriptor that the program's own standard output goes to: 2 where 1 belongs to the protocol.
 */
export function catchOutput(own: 1 | 2 = 1): () => void {
  capture ??= beginCapture(own);
  capture.users++;
  let ended = false;
  return () => {
    if (ended || !capture) return;
    ended = true;
    if (--capture.users > 0) return;
    capture.restore();
    capture = undefined;
  };
}

function beginCapture(own: 1 | 2): Capture {
  const streams = {
    1: Deno.stdout.writeSync.bind(Deno.stdout),
    2: Deno.stderr.writeSync.bind(Deno.stderr),
  };
  const writes = { 1: streams[own], 2: streams[2] };
  const saved = [console, Deno.stdout, Deno.stderr].map((object) => ({
    object,
    properties: Object.getOwnPropertyDescriptors(object),
  }));
  captureOutput((descriptor, bytes) => {
    if (printing.getStore()?.(descriptor, bytes)) return;
    const write = writes[descriptor];
    for (let at = 0; at < bytes.length;) at += write(bytes.subarray(at));
  });
  const restore = () => {
    for (const { object, properties } of saved) {
      for (const key of Object.getOwnPropertyNames(object)) {
        const before = properties[key];
        if (before?.configurable) Object.defineProperty(object, key, before);
        else if (!before) Reflect.deleteProperty(object, key);
      }
    }
  };
  return { users: 0, restore };
}
