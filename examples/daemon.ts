/**
 * Looks into a program that runs already, and that goes on when this one ends.
 *
 *     pushy server                                         # or: deno task server
 *     deno run -A examples/daemon.ts                       # daemon:localhost
 *     deno run -A examples/daemon.ts daemon:web1           # over TLS, with PUSHY_TOKEN
 *
 * Run it twice: what it counts is kept by the server.
 */

import { connect } from "../mod.ts";

const target = Deno.args[0] ?? "daemon:localhost";
await using con = await connect(target);
console.log("the server is process", await con.globals.process.pid);

// Clients share the interpreter: its modules, with their state, and globalThis.
const visits = await con.compile(() => {
  const all = globalThis as { visits?: number };
  return all.visits = (all.visits ?? 0) + 1;
});
console.log("visits so far:", await visits());

// A second client sees what the first has left there, and what only the first has declared it does not.
await using other = await connect(target);
await con.execute("const mine = 1");
console.log("the other sees:", await other.eval("[globalThis.visits, typeof mine]"));

// What lives there can tell this side of what happens, for as long as this side is here.
const heard = Promise.withResolvers<string>();
await con.eval("globalThis.bus ??= new EventTarget(), 0");
const listen = await con.compile((tell: (detail: string) => void) => {
  const { bus } = globalThis as unknown as { bus: EventTarget };
  bus.addEventListener("news", (event) => tell((event as CustomEvent).detail), { once: true });
});
await listen((detail: string) => heard.resolve(detail));
await other.eval('globalThis.bus.dispatchEvent(new CustomEvent("news", { detail: "hello" })), 0');
console.log("heard:", await heard.promise);
