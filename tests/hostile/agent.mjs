/**
 * An agent that means no good. It shares nothing with the real one: it builds its frames itself, says what it likes,
 * and does what a call of `attack` orders: `con.globals.attack(orders, …)`, with the orders as JSON text, and behind
 * them what the attack is on. So one program can make every attempt of `attempts.ts`, over any transport.
 *
 * Plain JavaScript without imports, so that every runtime runs it.
 *
 * ```text
 * { "say": [message, …] }                        messages, in one frame
 * { "text": [[text, times], …], "length": n, … }  a frame of any text, and any words in its head
 * { "hex": "5bff5d" }                            a frame whose text is these bytes
 * { "chunk": channel, "bytes": n }               a chunk frame
 * { "print": n }                                 n bytes of output
 * { "repeat": n, "orders": [order, …] }          the same n times; without n until the link breaks
 * { "try": [target, path, how, args, form] }     a call, whose answer is waited for and noted
 * { "deaf": true }                               reads no more
 * { "tell": true }                               answers `attack` with the answers that were noted
 * ```
 *
 * In messages, `"$0"` is the number of what was passed first, `"-$0"` that number from the other side,
 * `"$first"` the number of the first call that is tried, and `"$n"` counts the repetitions.
 */

const HEAD = 12;
const CHUNK = 0xffff_ffff;
const encoder = new TextEncoder();

/** A frame: its words may claim anything. */
export function frame(body, { attached = 0, length, textLength, acknowledged = 0 } = {}) {
  const bytes = new Uint8Array(HEAD + body.length + attached);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length ?? body.length + attached, true);
  view.setUint32(4, acknowledged, true);
  view.setUint32(8, textLength ?? body.length, true);
  bytes.set(body, HEAD);
  return bytes;
}

/** The bytes of an order that only says something; `names` are the numbers that `$` stands for. */
export function bytesOf(order, names = {}) {
  const { say, text, hex, chunk, bytes, print, ...head } = order;
  if (say) {
    const json = JSON.stringify(say).replace(
      /"(-?)\$(\w+)"/g,
      (_, sign, name) => sign + names[name],
    );
    return frame(encoder.encode(json), head);
  }
  if (text) return frame(encoder.encode(text.map(([part, n]) => part.repeat(n)).join("")), head);
  if (hex) return frame(Uint8Array.from(hex.match(/../g), (digits) => parseInt(digits, 16)), head);
  if (print) {
    return frame(encoder.encode(`[[13,1,0,${print}]]`), { ...head, attached: print });
  }
  return frame(new Uint8Array(bytes), { acknowledged: chunk, textLength: CHUNK });
}

/** One end of a connection, without any input and output of its own. */
export class HostileAgent {
  #take;
  #taken = Promise.resolve();
  #deafen;
  #skip;
  #buffer = new Uint8Array(0);
  #calls = 0;
  #waiting = new Map();
  #over = false;

  /**
   * `send` takes bytes away, and gives a promise of having done so; `deafen` stops the reading; `loaded` says
   * whether the code of the real agent comes first, to be left alone.
   */
  constructor({ send, deafen, loaded, runtime }) {
    this.#take = send;
    this.#deafen = deafen;
    this.#skip = loaded;
    const banner = { runtime, version: "0", pid: 0, platform: "linux" };
    if (runtime === "python") banner.threads = true;
    this.#send(encoder.encode(`\nPUSHY/1 ${JSON.stringify(banner)}\n`)).catch(() => this.end());
  }

  /** One after the other: what is taken away in pieces must not mix. */
  #send(bytes) {
    return this.#taken = this.#taken.then(() => this.#take(bytes));
  }

  /** The link is gone: what repeats without end ends. */
  end() {
    this.#over = true;
  }

  /** Takes what the client sends. */
  receive(bytes) {
    const all = new Uint8Array(this.#buffer.length + bytes.length);
    all.set(this.#buffer);
    all.set(bytes, this.#buffer.length);
    this.#buffer = all;
    while (this.#read());
  }

  #read() {
    const bytes = this.#buffer;
    if (this.#skip) {
      if (bytes.length < 9) return false;
      const length = parseInt(new TextDecoder().decode(bytes.subarray(1, 9)), 16);
      if (bytes.length < 9 + length) return false;
      this.#skip = false;
      this.#buffer = bytes.subarray(9 + length);
      return true;
    }
    if (bytes.length < HEAD) return false;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = view.getUint32(0, true);
    const textLength = view.getUint32(8, true);
    if (bytes.length < HEAD + length) return false;
    this.#buffer = bytes.slice(HEAD + length);
    if (textLength !== CHUNK && textLength > 0) {
      const text = new TextDecoder().decode(bytes.subarray(HEAD, HEAD + textLength));
      for (const message of JSON.parse(text)) this.#hear(message);
    }
    return true;
  }

  #hear(message) {
    const [op, id, ...rest] = message;
    if (op === 4 || op === 5) {
      this.#waiting.get(id)?.(message);
      this.#waiting.delete(id);
    }
    if (op !== 1 && op !== 2) return;
    const [, path, , args, form] = rest;
    const name = path.at(-1);
    if (name === "hello") void this.#send(bytesOf({ say: [[4, id, "hello"]] })).catch(() => {});
    if (name !== "attack") return;
    const [orders, ...passed] = form === 1 ? args.slice(1) : args;
    const names = Object.fromEntries(passed.map((tag, i) => [i, tag[1]]));
    names.first = this.#calls + 1;
    this.#obey(JSON.parse(orders), names, id).catch(() => this.end());
  }

  async #obey(orders, names, call, noted = []) {
    for (const order of orders) {
      if (this.#over) return;
      if (order.orders) {
        for (let n = 1; n <= (order.repeat ?? Infinity) && !this.#over; n++) {
          await this.#obey(order.orders, { ...names, n }, call, noted);
          // Whoever else lives in this process has a turn.
          if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve));
        }
      } else if (order.try) {
        noted.push(await this.#attempt(order.try, names));
      } else if (order.tell) {
        await this.#send(bytesOf({ say: [[4, call, JSON.stringify(noted)]] }));
      } else if (order.deaf) {
        this.#deafen();
      } else {
        await this.#send(bytesOf(order, names));
      }
    }
  }

  #attempt(parts, names) {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      this.#send(bytesOf({ say: [[2, id, ...parts]] }, names)).catch(reject);
    });
  }
}
