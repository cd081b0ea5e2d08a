/**
 * What a connection does, told as it happens: stages of connecting, and frames. Values are left out: names of properties,
 * numbers and sizes are all that a trace has.
 *
 * @module
 */

import { FrameReader, type FrameSink } from "../protocol/frame.ts";
import { How, Op } from "../protocol/messages.ts";
import { printable, shorten } from "../protocol/text.ts";

/** Something that a connection did. */
export interface TraceEvent {
  /** `"stage"`: a stage of connecting begins; `"sent"` and `"received"`: a frame. */
  readonly kind: "stage" | "sent" | "received";
  /** When, in milliseconds since connecting began. */
  readonly at: number;
  /** The stage's name, or what is in the frame: `"call 7 modules.os.hostname()"`. */
  readonly what: string;
  /** The size of the frame in bytes; 0 for a stage. */
  readonly bytes: number;
}

/** Tells `tell` what a connection does. */
export class Tracer {
  readonly #tell: (event: TraceEvent) => void;
  readonly #start = performance.now();
  readonly #readers: Record<"sent" | "received", FrameReader>;

  /** Begins to count the time. */
  constructor(tell: (event: TraceEvent) => void) {
    this.#tell = tell;
    this.#readers = { sent: this.#reader("sent"), received: this.#reader("received") };
  }

  #reader(kind: "sent" | "received"): FrameReader {
    const sink: FrameSink = {
      messages: (text, attachments) => {
        const messages: unknown[] = text === "" ? [] : JSON.parse(text);
        const what = messages.map(describe).join(", ") || "acknowledgement";
        this.#event(kind, shorten(what, 300), text.length + attachments.length);
      },
      chunk: (channel, bytes) => this.#event(kind, `bytes of channel ${channel}`, bytes.length),
    };
    return new FrameReader(sink, Infinity);
  }

  #event(kind: TraceEvent["kind"], what: string, bytes: number): void {
    this.#tell({ kind, at: performance.now() - this.#start, what: printable(what), bytes });
  }

  /** A stage begins. */
  stage(name: string): void {
    this.#event("stage", name, 0);
  }

  /** Bytes go out, or come in. What cannot be read is the session's to complain about. */
  frames(kind: "sent" | "received", bytes: Uint8Array): void {
    try {
      this.#readers[kind].push(bytes);
    } catch (error) {
      this.#event(kind, `unreadable: ${(error as Error).message}`, bytes.length);
    }
  }
}

const OPS = nameOf(Op);
const HOWS = nameOf(How);

function nameOf(numbers: Record<string, number>): Record<number, string> {
  return Object.fromEntries(Object.entries(numbers).map(([name, number]) => [number, name]));
}

function describe(message: unknown): string {
  if (!Array.isArray(message)) return "something else";
  const [op, id, target, path, how] = message;
  const name = OPS[op] ?? `message ${op}`;
  if (op === Op.call || op === Op.callAndPull) {
    const on = target === 0 ? [] : [target > 0 ? `(result ${target})` : `(object ${-target})`];
    const names = Array.isArray(path) ? path : [];
    const end = how === How.call ? "()" : how === How.get ? "" : ` ${HOWS[how] ?? how}`;
    return `call ${id} ${[...on, ...names].join(".") || "(root)"}${end}`;
  }
  if (typeof id === "number" && op !== Op.output) return `${name} ${id}`;
  return name;
}
