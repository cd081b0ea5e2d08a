import { assertEquals } from "@std/assert";
import { Pair } from "./pair.ts";

const LONG = "x".repeat(200_000);

Deno.test("a long reason arrives in one frame with its message", async () => {
  const told = Promise.withResolvers<unknown>();
  const stream = () => new ReadableStream({ cancel: (reason) => told.resolve(reason) });
  const failing = () =>
    new ReadableStream({
      start(controller) {
        controller.error(new Error(LONG));
      },
    });
  await using pair = new Pair({ stream, failing });
  const { root } = pair;
  const endless: ReadableStream = await root.stream();
  await endless.cancel(new Error(LONG));
  assertEquals((await told.promise as Error).message, LONG);
  const torn: ReadableStream = await root.failing();
  const error = await torn.getReader().read().then(() => undefined, (error) => error);
  assertEquals(error.message, LONG);
  assertEquals(pair.client.closeReason, undefined);
  assertEquals(pair.agent.closeReason, undefined);
});
