import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../../protocol/errors.ts";
import {
  CHUNK_BYTES,
  FrameReader,
  FrameWriter,
  HEAD,
  type LateMessage,
  writeAscii,
  writeChunkHead,
} from "../../protocol/frame.ts";
import { Question } from "../../protocol/questions.ts";
import { chunk, frame } from "./raw.ts";

type Seen =
  | { text: string; attachments: number[]; acknowledged: number }
  | { channel: number; bytes: number[] };

/** A reader, and what it hands over; pieces of one chunk are joined. */
function reader(limit = 1 << 20): { reader: FrameReader; seen: Seen[] } {
  const seen: Seen[] = [];
  const sink = {
    messages(text: string, attachments: Uint8Array, acknowledged: number) {
      seen.push({ text, attachments: [...attachments], acknowledged });
    },
    chunk(channel: number, bytes: Uint8Array) {
      const last = seen.at(-1);
      if (last && "channel" in last && last.channel === channel) last.bytes.push(...bytes);
      else seen.push({ channel, bytes: [...bytes] });
    },
  };
  return { reader: new FrameReader(sink, limit), seen };
}

function join(...parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const STREAM = join(
  frame('["é😀",1]', { attachments: Uint8Array.of(1, 2, 3), acknowledged: 7 }),
  frame(""),
  chunk(5, Uint8Array.of(9, 8, 7)),
  chunk(-6, Uint8Array.of(0)),
  frame("[]", { acknowledged: 0xffff_ffff }),
  frame("", { attachments: Uint8Array.of(4) }),
);
const EXPECTED: Seen[] = [
  { text: '["é😀",1]', attachments: [1, 2, 3], acknowledged: 7 },
  { text: "", attachments: [], acknowledged: 0 },
  { channel: 5, bytes: [9, 8, 7] },
  { channel: -6, bytes: [0] },
  { text: "[]", attachments: [], acknowledged: 0xffff_ffff },
  { text: "", attachments: [4], acknowledged: 0 },
];

Deno.test("frames are found however the stream is cut in two", () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const { reader: frames, seen } = reader();
    frames.push(STREAM.slice(0, cut));
    frames.push(STREAM.slice(cut));
    assertEquals(seen, EXPECTED, `cut at ${cut}`);
    assert(frames.atBoundary);
  }
});

Deno.test("frames are found in pieces of every size", () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const { reader: frames, seen } = reader();
    for (let at = 0; at < STREAM.length; at += size) frames.push(STREAM.slice(at, at + size));
    assertEquals(seen, EXPECTED, `pieces of ${size}`);
  }
});

Deno.test("a frame of the limit is taken, a longer one is refused by its head", () => {
  const { reader: frames, seen } = reader(100);
  frames.push(frame(" ".repeat(100)));
  assertEquals(seen.length, 1);
  const head = frame("", { length: 101 });
  assertThrows(() => frames.push(head), ProtocolError, "limits.frameBytes is 100");
  const whole = reader(100).reader;
  whole.push(head.slice(0, HEAD - 1));
  assertThrows(() => whole.push(head.slice(HEAD - 1)), ProtocolError, "101 bytes");
});

Deno.test("a length that is only claimed reserves nothing", () => {
  const before = Deno.memoryUsage().external + Deno.memoryUsage().rss;
  const claimed: FrameReader[] = [];
  for (let i = 0; i < 100; i++) {
    const { reader: frames } = reader(1 << 30);
    frames.push(frame(new Uint8Array(10), { length: 1 << 30, textLength: 10 }));
    claimed.push(frames);
  }
  const grown = Deno.memoryUsage().external + Deno.memoryUsage().rss - before;
  assert(grown < 64 << 20, `${grown} bytes`);
  assert(claimed.every((frames) => !frames.atBoundary));
});

Deno.test("heads that contradict themselves, and text that is not UTF-8, are refused", () => {
  for (
    const [bytes, message] of [
      [frame("[]", { textLength: 3 }), "longer than the frame"],
      [frame("[]", { textLength: 0xffff_fffe }), "longer than the frame"],
      [frame(Uint8Array.of(0xff)), "not UTF-8"],
      [frame(Uint8Array.of(0xc3)), "not UTF-8"],
      [frame(Uint8Array.of(0xed, 0xa0, 0x80)), "not UTF-8"],
      [frame(Uint8Array.of(0xc3, 0xa9), { textLength: 1 }), "not UTF-8"],
    ] as const
  ) {
    assertThrows(() => reader().reader.push(bytes), ProtocolError, message);
  }
});

Deno.test("a byte order mark is no part of nothing: the text keeps it", () => {
  const { reader: frames, seen } = reader();
  frames.push(frame("\ufeff[]"));
  assertEquals((seen[0] as { text: string }).text, "\ufeff[]");
});

Deno.test("a chunk is handed over as it comes, without waiting for its end", () => {
  const { reader: frames, seen } = reader();
  const bytes = chunk(3, new Uint8Array(1000));
  frames.push(bytes.slice(0, HEAD + 10));
  assertEquals((seen[0] as { bytes: number[] }).bytes.length, 10);
});

Deno.test("a large value is cut into chunks that come together again", () => {
  for (const length of [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17]) {
    const value = Uint8Array.from({ length }, (_, i) => i * 31);
    let at = 0;
    const check = new FrameReader({
      messages() {
        throw new Error("not a chunk");
      },
      chunk(channel, bytes) {
        assertEquals(channel, 9);
        for (let i = 0; i < bytes.length; i += 997) assertEquals(bytes[i], value[at + i]);
        at += bytes.length;
      },
    }, 1 << 30);
    const frame = new Uint8Array(HEAD + CHUNK_BYTES);
    for (let from = 0; from < length; from += CHUNK_BYTES) {
      const piece = value.subarray(from, from + CHUNK_BYTES);
      writeChunkHead(frame, 9, piece.length);
      frame.set(piece, HEAD);
      check.push(frame.subarray(0, HEAD + piece.length));
    }
    assertEquals(at, length);
  }
});

Deno.test("what a writer makes, a reader takes apart", () => {
  const writer = new FrameWriter();
  const { reader: frames, seen } = reader();
  assert(writer.empty);
  writer.add('[1,"é"]', 7);
  assertEquals(writer.attach(Uint8Array.of(1)), 0);
  writer.add({ text: () => "[2]", write: () => 0 }, 3);
  assertEquals(writer.attach(Uint8Array.of(2, 3)), 1);
  frames.push(writer.take(3).slice());
  assert(writer.empty);
  frames.push(writer.take(4, true));
  // Far more bytes than characters, and more text than was announced.
  writer.add("[" + '"€",'.repeat(50_000) + "1]", 10);
  frames.push(writer.take(5));
  assertEquals(seen[0], { text: '[[1,"é"],[2]]', attachments: [1, 2, 3], acknowledged: 3 });
  assertEquals(seen[1], { text: "", attachments: [], acknowledged: 4 });
  assertEquals(JSON.parse((seen[2] as { text: string }).text)[0].length, 50_001);
});

Deno.test("one short message is written as it is, and one that is not ASCII as a text", () => {
  const writer = new FrameWriter();
  const { reader: frames, seen } = reader();
  const written = (to: Uint8Array, at: number) => writeAscii("[4]", to, at);
  const messages: [string | LateMessage, string][] = [
    ["[1]", "[[1]]"],
    ['["é"]', '[["é"]]'],
    [{ text: () => "[2]", write: () => 0 }, "[[2]]"],
    [{ text: () => "[3]", write: written }, "[[4]]"],
  ];
  for (const own of [false, true]) {
    for (const [message] of messages) {
      writer.add(message, 5);
      frames.push(writer.take(9, own));
      assertEquals(writer.lastCount, 1);
      assert(writer.empty);
      assertEquals(writer.size, 0);
    }
  }
  const texts = messages.map(([, text]) => ({ text, attachments: [], acknowledged: 9 }));
  assertEquals(seen, [...texts, ...texts]);
});

Deno.test("a question writes the same message that its text is", () => {
  const about = ',0,["globals","Math","abs"],1';
  for (const id of [1, 9, 10, 99, 100, 123_456, Number.MAX_SAFE_INTEGER]) {
    for (const wanted of [false, true]) {
      for (const rest of ["", ",[1]", ',["é"]']) {
        const heard: number[] = [];
        const make = () => {
          const question = new Question(id, about, rest, ({ id }) => heard.push(id));
          question.wanted = wanted;
          return question;
        };
        const one = make();
        const text = one.text();
        assertEquals(text, `[${wanted ? 2 : 1},${id}${about}${rest}]`);
        const other = make();
        const bytes = new Uint8Array(100);
        const end = other.write(bytes, 7);
        if (rest.includes("é")) {
          assertEquals(end, 0);
          assert(!other.sent);
          assertEquals(other.text(), text);
        } else {
          assertEquals(new TextDecoder().decode(bytes.subarray(7, end)), text);
        }
        assert(one.sent && other.sent);
        assertEquals(heard, wanted ? [] : [id, id]);
      }
    }
  }
});

Deno.test("attachments can be taken back, unless a message came after them", () => {
  const writer = new FrameWriter();
  const { reader: frames, seen } = reader();
  writer.attach(Uint8Array.of(1));
  const mark = writer.mark();
  writer.attach(Uint8Array.of(2));
  writer.detach(mark);
  writer.attach(Uint8Array.of(3));
  writer.add("1", 1);
  writer.detach(mark);
  frames.push(writer.take(0));
  assertEquals(seen, [{ text: "[1]", attachments: [1, 3], acknowledged: 0 }]);
});
