/**
 * Seeded fuzzing: of the value codec, and of sessions that hear a conversation which was tampered with.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { open } from "../../protocol/access.ts";
import { ConnectionLostError, ProtocolError } from "../../protocol/errors.ts";
import { Session } from "../../protocol/session.ts";
import { decode, type Importer, NULL_IMPORTER, parse } from "../../protocol/values.ts";
import corpus from "../fuzz_corpus.json" with { type: "json" };
import { DEPTH, SEED, toWire, value } from "./arbitrary.ts";
import { conversationRoot, converse, unsettled } from "./conversation.ts";
import { build, describeValue, fromHex } from "./notation.ts";
import { type End, Pair, unhandledDuring } from "./pair.ts";
import { RawPeer } from "./raw.ts";

function importerOf(hex: string): Importer {
  const attachments = fromHex(hex);
  return {
    ...NULL_IMPORTER,
    bytes(position, length) {
      if (position < 0 || position + length > attachments.length) {
        throw new ProtocolError("The bytes are missing");
      }
      return attachments.slice(position, position + length);
    },
  };
}

const fromWire = (
  { json, form, attachments }: { json: string; form: number; attachments: string },
) => decode(parse(json, DEPTH), form, importerOf(attachments), DEPTH);

Deno.test("any value is the same after it has crossed", () => {
  fc.assert(
    fc.property(value, (value) => {
      assertEquals(describeValue(fromWire(toWire(value))), describeValue(value));
    }),
    { seed: SEED, numRuns: 1500 },
  );
});

Deno.test("the corpus is decoded to what it says, and encoded as it says", () => {
  for (const [index, entry] of corpus.entries()) {
    assertEquals(describeValue(fromWire(entry)), entry.value, `entry ${index}`);
    const { json, form, attachments } = toWire(build(entry.value));
    assertEquals({ json, form, attachments }, {
      json: entry.json,
      form: entry.form,
      attachments: entry.attachments,
    }, `entry ${index}`);
  }
});

const tag = fc.constantFrom(
  ...[0, "u", "n", "i", "d", "x", "l", "m", "s", "o", "e", "b", "t", "y", "Y", "J", "#", "h", "r"],
);
const wild = fc.letrec((tie) => ({
  item: fc.oneof(
    { depthSize: "small" },
    fc.oneof(
      fc.integer({ min: -3, max: 5 }),
      fc.constantFrom("", "a", "ff", "Uint8Array", "iterator"),
      fc.constant(null),
    ),
    fc.tuple(tag, fc.array(tie("item"), { maxLength: 6 })).map(([tag, rest]) => [tag, ...rest]),
    fc.dictionary(fc.constantFrom("a", "then", "__proto__"), tie("item")),
  ),
}));

Deno.test("any text of the tagged form is a value or a ProtocolError", () => {
  let decoded = 0;
  fc.assert(
    fc.property(wild.item, fc.string(), (item, noise) => {
      for (const json of [JSON.stringify(item), noise]) {
        try {
          fromWire({ json, form: 1, attachments: "01020304" });
          decoded++;
        } catch (error) {
          // An expression or a URL that cannot be made fails its call alone.
          if (!(error instanceof ProtocolError || error instanceof TypeError)) throw error;
        }
      }
    }),
    { seed: SEED, numRuns: 3000 },
  );
  assert(decoded > 100);
});

/** What each end said in a conversation that went well. */
async function record(): Promise<Record<End, Uint8Array[]>> {
  const said: Record<End, Uint8Array[]> = { client: [], agent: [] };
  await using pair = new Pair(conversationRoot(), { tap: (from, bytes) => said[from].push(bytes) });
  await Promise.allSettled(converse(pair));
  await pair.fence();
  return { client: [...said.client], agent: [...said.agent] };
}

function joined(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

type Mutation = { kind: number; at: number; length: number; byte: number };

const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.record({
    kind: fc.nat(6),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    length: fc.integer({ min: 1, max: 40 }),
    byte: fc.nat(255),
  }),
  { minLength: 1, maxLength: 4 },
);

/** Bytes that were tampered with: digits most of all, as they keep the text well-formed. */
function mutate(bytes: Uint8Array, mutations: Mutation[]): Uint8Array {
  let mutated: Uint8Array = bytes.slice();
  for (const { kind, at, length, byte } of mutations) {
    const place = Math.floor(at * mutated.length);
    const [before, here, after] = [
      mutated.slice(0, place),
      mutated.slice(place, place + length),
      mutated.slice(place + length),
    ];
    switch (kind) {
      case 0:
        mutated[place] = byte;
        break;
      case 1:
        mutated = joined([before, after]);
        break;
      case 2:
        mutated = joined([before, here, here, after]);
        break;
      case 3:
        mutated = joined([before, Uint8Array.of(byte), here, after]);
        break;
      default:
        for (let i = place; i < mutated.length; i++) {
          const digit = mutated[i]! >= 0x30 && mutated[i]! <= 0x39;
          if (!digit) continue;
          mutated[i] = 0x30 + byte % 10;
          break;
        }
    }
  }
  return mutated;
}

/** Nothing is left of a session that is over. */
function assertEmpty(session: Session): void {
  const { pending, localRefs, remoteRefs } = session.stats;
  assertEquals([pending, localRefs, remoteRefs, session.working, session.openChannels], [
    0,
    0,
    0,
    0,
    0,
  ]);
}

Deno.test("a client that hears a conversation which was tampered with survives it", async () => {
  const { agent } = await record();
  const ends = { protocol: 0, other: 0 };
  await fc.assert(
    fc.asyncProperty(mutations, fc.integer({ min: 1, max: 5000 }), async (mutations, size) => {
      const bytes = mutate(joined(agent), mutations);
      const unhandled = await unhandledDuring(async () => {
        const peer = new RawPeer();
        const promises = converse({ root: peer.root, client: peer.session } as unknown as Pair)
          .map((promise) => promise.catch(() => {}));
        await new Promise((resolve) => setImmediate(resolve));
        for (let at = 0; at < bytes.length; at += size) {
          peer.raw(bytes.slice(at, at + size));
          await undefined;
        }
        await new Promise((resolve) => setImmediate(resolve));
        const reason = peer.session.closeReason;
        if (reason instanceof ProtocolError) ends.protocol++;
        else ends.other++;
        assert(!reason || reason instanceof ProtocolError || reason instanceof ConnectionLostError);
        // That would be an error of ours, not one that was foreseen.
        assert(
          !reason?.message.includes("cannot be handled"),
          String((reason?.cause as Error)?.stack),
        );
        peer.session.end(new ConnectionLostError("over"));
        assertEquals(await unsettled(promises), []);
        assertEmpty(peer.session);
      });
      assertEquals(unhandled.map(String), []);
    }),
    { seed: SEED, numRuns: 400 },
  );
  assert(ends.protocol > 50 && ends.other > 20, JSON.stringify(ends));
});

Deno.test("an agent that hears one survives it too", async () => {
  const { client } = await record();
  await fc.assert(
    fc.asyncProperty(mutations, fc.integer({ min: 1, max: 5000 }), async (mutations, size) => {
      const bytes = mutate(joined(client), mutations);
      const unhandled = await unhandledDuring(async () => {
        const session = new Session({ access: open, root: conversationRoot(), send: () => {} });
        for (let at = 0; at < bytes.length; at += size) {
          session.receive(bytes.slice(at, at + size));
          await undefined;
        }
        await new Promise((resolve) => setImmediate(resolve));
        const reason = session.closeReason;
        assert(!reason || reason instanceof ProtocolError || reason instanceof ConnectionLostError);
        assert(
          !reason?.message.includes("cannot be handled"),
          String((reason?.cause as Error)?.stack),
        );
        session.end(new ConnectionLostError("over"));
        assertEmpty(session);
      });
      assertEquals(unhandled.map(String), []);
    }),
    { seed: SEED, numRuns: 400 },
  );
});
