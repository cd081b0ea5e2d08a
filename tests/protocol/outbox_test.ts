import { assert, assertEquals } from "@std/assert";
import { CHUNK_BYTES, FrameReader, LARGE_CHUNK_BYTES } from "../../protocol/frame.ts";
import { Outbox } from "../../protocol/outbox.ts";
import { turn } from "./pair.ts";

/** An outbox whose writes are seen, and end when the test says so. */
class Link {
  readonly outbox: Outbox;
  /** What has left, in its order: messages as JSON, channels of chunks. */
  readonly left: unknown[] = [];
  /** The time, and how much of it each write takes, in milliseconds. */
  time = 0;
  writeTime = 2;
  /** The bytes of the chunks, as they came. */
  readonly chunks: { channel: number; length: number; content: Uint8Array }[] = [];
  writes = 0;
  failures: unknown[] = [];
  acknowledged = 0;
  #pending: { resolve: () => void; reject: (error: unknown) => void } | undefined;
  readonly #reader = new FrameReader({
    messages: (text, _, acknowledged) => {
      this.left.push(text === "" ? acknowledged : JSON.parse(text));
    },
    chunk: (channel, bytes) => {
      this.chunks.push({ channel, length: bytes.length, content: bytes.slice() });
      if (this.left.at(-1) !== channel || this.#fresh) this.left.push(channel);
    },
  }, 1 << 30);
  #fresh = false;

  constructor(mode: "held" | "free") {
    this.outbox = new Outbox(
      (bytes) => {
        this.writes++;
        this.time += this.writeTime;
        this.#fresh = true;
        this.#reader.push(bytes.slice());
        if (mode === "free") return;
        assertEquals(this.#pending, undefined, "two writes at once");
        return new Promise((resolve, reject) => this.#pending = { resolve, reject });
      },
      () => this.acknowledged,
      (error) => this.failures.push(error),
      () => this.time,
    );
  }

  add(message: string): void {
    this.outbox.add(message, message.length);
  }

  /** Ends the write that is under way. */
  async written(): Promise<void> {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.resolve();
    await turn();
  }

  async fails(error: unknown): Promise<void> {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.reject(error);
    await turn();
  }
}

Deno.test("messages of one turn share a frame and a write, and a frame is one write", async () => {
  const link = new Link("free");
  link.add("1");
  link.add("2");
  assertEquals(link.writes, 0);
  await turn();
  link.add("3");
  await turn();
  assertEquals(link.left, [[1, 2], [3]]);
  assertEquals(link.writes, 2);
  assertEquals(link.outbox.sent.frames, 2);
});

Deno.test("a message that is added when an await begins is in the same frame", async () => {
  const link = new Link("free");
  link.add("1");
  await undefined;
  link.add("2");
  await turn();
  assertEquals(link.left, [[1, 2]]);
});

Deno.test("one write is under way at a time; what gathers meanwhile is one frame", async () => {
  const link = new Link("held");
  link.add("1");
  await turn();
  for (let i = 2; i < 100; i++) {
    link.add(String(i));
    await undefined;
  }
  await turn();
  assertEquals(link.left, [[1]]);
  assert(link.outbox.busy);
  await link.written();
  assertEquals(link.left.length, 2);
  await link.written();
  assert(!link.outbox.busy);
});

Deno.test("the pieces of a blob never precede the message that they belong to", async () => {
  const link = new Link("held");
  link.add("1");
  await turn();
  // Sealed frames, a frame in the making, and a blob for each: in any mixture.
  for (let i = 0; i < 20; i++) {
    link.add(`"${"x".repeat(i % 3 === 0 ? 70_000 : 10)}"`);
    link.add(JSON.stringify([`blob ${i + 1}`]));
    link.outbox.addBulk(i + 1, new Uint8Array(10));
  }
  for (let i = 0; i < 200; i++) await link.written();
  const announced = new Set<number>();
  let chunks = 0;
  for (const item of link.left) {
    if (typeof item === "number") {
      assert(announced.has(item), `channel ${item} came first`);
      chunks++;
    } else {
      for (const message of item as unknown[]) {
        if (Array.isArray(message)) announced.add(Number(String(message[0]).slice(5)));
      }
    }
  }
  assertEquals(chunks, 20);
});

Deno.test("large values share the link piece by piece, and messages go between", async () => {
  const link = new Link("held");
  link.outbox.addBulk(1, new Uint8Array(4 * CHUNK_BYTES));
  link.outbox.addBulk(2, new Uint8Array(4 * CHUNK_BYTES));
  await turn();
  link.add('"a"');
  await link.written();
  await link.written();
  link.add('"b"');
  for (let i = 0; i < 20; i++) await link.written();
  assertEquals(link.left, [1, ["a"], 2, ["b"], 1, 2, 1, 2, 1, 2]);
});

Deno.test("what follows on a channel fills the frame up, in its order, and is told when it has left", async () => {
  const link = new Link("held");
  const taken: number[] = [];
  for (let i = 0; i < 5; i++) {
    link.outbox.addBulk(1, new Uint8Array(CHUNK_BYTES / 2 + 2).fill(i), () => taken.push(i));
  }
  link.outbox.addBulk(2, new Uint8Array(10), () => taken.push(9));
  await turn();
  assertEquals(link.chunks.map(({ channel, length }) => [channel, length]), [[1, CHUNK_BYTES]]);
  assertEquals(taken, []);
  for (let i = 0; i < 5; i++) await link.written();
  const bytes = link.chunks.filter(({ channel }) => channel === 1);
  assertEquals(bytes.map(({ length }) => length), [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES / 2 + 10]);
  assertEquals(taken, [0, 9, 1, 2, 3, 4]);
  // The last byte of each piece, in their order.
  const whole = bytes.flatMap(({ content }) => [...content]);
  assertEquals(whole.filter((byte, i) => byte !== whole[i + 1]), [0, 1, 2, 3, 4]);
});

Deno.test("a link that takes frames at once gets larger ones, until it is slow", async () => {
  const link = new Link("free");
  link.writeTime = 0.5;
  link.outbox.addBulk(1, new Uint8Array(4 * CHUNK_BYTES + LARGE_CHUNK_BYTES));
  await turn();
  link.writeTime = 5;
  link.outbox.addBulk(1, new Uint8Array(LARGE_CHUNK_BYTES + 2 * CHUNK_BYTES));
  await turn();
  const { length } = link.chunks.splice(0, 4).filter(({ length }) => length === CHUNK_BYTES);
  assertEquals(length, 4);
  assertEquals(link.chunks.map(({ length }) => length), [
    LARGE_CHUNK_BYTES,
    LARGE_CHUNK_BYTES,
    CHUNK_BYTES,
    CHUNK_BYTES,
  ]);
});

Deno.test("a flood of messages does not hold up the pieces for ever", async () => {
  const link = new Link("held");
  link.outbox.addBulk(1, new Uint8Array(4 * CHUNK_BYTES));
  for (let i = 0; i < 10; i++) {
    link.add(String(i));
    await link.written();
  }
  assertEquals(link.left.filter((item) => item === 1).length, 4);
});

Deno.test("while it is held, nothing leaves, and what has attachments stays one frame", async () => {
  const link = new Link("free");
  link.outbox.hold();
  assertEquals(link.outbox.attach(new Uint8Array(5)), 0);
  link.add(`"${"x".repeat(100_000)}"`);
  assertEquals(link.outbox.attach(new Uint8Array(5)), 5);
  link.add("1");
  link.outbox.flush();
  assertEquals(link.writes, 0);
  link.outbox.unhold();
  await turn();
  link.outbox.flush();
  assertEquals(link.writes, 1);
});

Deno.test("many messages of one turn go in several frames, whose text is made when they leave", async () => {
  const link = new Link("held");
  let made = 0;
  for (let i = 0; i < 10; i++) {
    const text = () => (made++, `"${"x".repeat(20_000)}"`);
    link.outbox.add({ text, write: () => 0 }, 20_002);
  }
  assertEquals(made, 0);
  await turn();
  assertEquals([made, link.writes], [4, 1]);
  // What has an attachment does not join the crowd.
  assertEquals(link.outbox.attach(new Uint8Array(5)), 0);
  link.add("1");
  for (let i = 0; i < 5; i++) await link.written();
  assertEquals(link.left.map((frame) => (frame as unknown[]).length), [4, 4, 2, 1]);
  assertEquals(link.outbox.waiting, 0);
});

Deno.test("acknowledging costs an empty frame, and only where nothing else is on its way", async () => {
  const link = new Link("held");
  link.acknowledged = 5;
  link.outbox.acknowledge();
  link.outbox.acknowledge();
  await turn();
  assertEquals(link.left, [5]);
  link.outbox.acknowledge();
  await link.written();
  assertEquals(link.left, [5]);
});

Deno.test("a blob behind an acknowledgement still follows its message", async () => {
  const link = new Link("held");
  link.outbox.acknowledge();
  link.add('"m"');
  link.outbox.addBulk(1, new Uint8Array(10));
  await turn();
  for (let i = 0; i < 5; i++) await link.written();
  assertEquals(link.left, [0, ["m"], 1]);
});

Deno.test("who waits for the link to be relieved is told when it is, and at its end", async () => {
  const link = new Link("held");
  assertEquals(link.outbox.relieved(), undefined);
  for (let i = 0; i < 100; i++) link.add(`"${"x".repeat(70_000)}"`);
  let relieved = false;
  link.outbox.relieved()!.then(() => relieved = true);
  await turn();
  assert(!relieved);
  for (let i = 0; i < 80; i++) await link.written();
  assert(relieved);
  for (let i = 0; i < 100; i++) link.add(`"${"x".repeat(70_000)}"`);
  const last = link.outbox.relieved();
  link.outbox.close();
  await last;
});

Deno.test("a write that fails is told once, at once or later", async () => {
  const link = new Link("held");
  link.add("1");
  await turn();
  await link.fails("broken");
  assertEquals(link.failures, ["broken"]);
  const failures: unknown[] = [];
  const outbox = new Outbox(
    () => {
      throw "broken";
    },
    () => 0,
    (error) => failures.push(error),
  );
  outbox.add("1", 1);
  await turn();
  assertEquals(failures, ["broken"]);
});

Deno.test("finishing sends what is queued, drops the pieces, and tells all who wait", async () => {
  const link = new Link("held");
  let taken = 0;
  link.add("1");
  await turn();
  link.outbox.addBulk(1, new Uint8Array(4 * CHUNK_BYTES), () => taken++);
  link.add("2");
  let finished = false;
  const end = link.outbox.finish().then(() => finished = true);
  link.add("3");
  link.outbox.addBulk(2, new Uint8Array(1), () => taken++);
  link.outbox.close();
  assertEquals(taken, 2);
  await link.written();
  assert(!finished);
  await link.written();
  await end;
  assertEquals(link.left, [[1], [2]]);
});

Deno.test("who waits for bytes to leave is told when the link ends while they do", async () => {
  for (const end of ["close", "finish", "detach"] as const) {
    const link = new Link("held");
    const done: number[] = [];
    link.outbox.addBulk(1, new Uint8Array(10), () => done.push(1));
    const detached = new Uint8Array(10);
    link.outbox.addBulk(2, detached, () => done.push(2));
    await turn();
    assertEquals([link.left, done], [[1], []]);
    if (end === "detach") {
      structuredClone(detached.buffer, { transfer: [detached.buffer] });
      await link.written();
      assertEquals([link.failures.length, done], [1, [1]]);
      link.outbox.close();
    } else {
      void link.outbox[end]();
    }
    assertEquals(done, [1, 2], end);
  }
});
