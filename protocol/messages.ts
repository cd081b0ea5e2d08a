/**
 * Every message of the protocol. A message is a JSON array whose first item says which it is.
 *
 * Positive numbers name what the sender made, negative ones what the receiver made: a call's `id` is
 * positive in the call, and so are the references and channels that a message introduces; a reference that
 * comes home, or a channel that the receiver opened, is negative. Ids grow and are never used again.
 *
 * A *value* is JSON text in one of two forms (see `values.ts`): plain, where it means itself, or
 * tagged, where arrays carry what JSON cannot. `form` says which; it is 0 (plain) where it is missing.
 *
 * `blobs` lists what must have arrived before the message can be read: `[channel, bytes, …]`.
 *
 * @module
 */

/** What a call does with what it finds at the end of its path. */
export const How = {
  /** Reads it. */
  get: 0,
  /** Calls it, with what stands before it in the path as `this`. */
  call: 1,
  /** Constructs it. */
  construct: 2,
  /** Sets it to the only argument. */
  set: 3,
  /** Deletes it. */
  delete: 4,
  /** Says whether it is there. */
  has: 5,
  /** Lists the names of its own properties. */
  keys: 6,
  /** Opens an iterator over it. */
  iterate: 7,
  /** Lets it dispose of itself, if it knows how. */
  dispose: 8,
  /** Gives its own fields by value. */
  copy: 9,
} as const;

/** One of the numbers of {@linkcode How}. */
export type How = (typeof How)[keyof typeof How];

/** 0: a value that is plain JSON; 1: a tagged one. */
export type Form = 0 | 1;

/** Call ids, blobs and their sizes, and the like. */
type Id = number;

/**
 * What stands at the start of a call's path: 0 is the receiver's root object, `-n` its object
 * number n, and a positive number the result of the sender's own earlier call.
 */
export type Target = number;

/** The first item of every message. */
export const Op = {
  /** A call whose value is not asked for yet. */
  call: 1,
  /** A call, and the request for its value. */
  callAndPull: 2,
  /** The request for the value of an earlier call. */
  pull: 3,
  /** A call's value. */
  return: 4,
  /** A call's error; it is sent whether it was asked for or not. */
  throw: 5,
  /** References and results given back. */
  release: 6,
  /** The caller has lost interest in a call. */
  cancel: 7,
  /** How much more the receiver of this message may send on a channel. */
  credit: 8,
  /** Items of a stream or an iterator. */
  items: 9,
  /** The end of what a channel carries, with its error if it has one. */
  end: 10,
  /** Whoever reads the channel has stopped, with a reason if there is one. */
  stop: 11,
  /** A signal that was passed has been aborted. */
  abort: 12,
  /** What the remote program printed. */
  output: 13,
  /** Are you there? */
  ping: 14,
  /** Yes. */
  pong: 15,
  /** The first message of each side: what it is and what it wants. */
  hello: 16,
  /** The last message: why the sender closes. */
  bye: 17,
  /** An agent lacks the rest of itself, and needs it. */
  need: 18,
  /** The rest of an agent. */
  rest: 19,
} as const;

/** The path from a target to what is meant: names of properties. */
export type Path = readonly string[];

/** `args` is a value: an array of the arguments. `parent`: the receiver's call that this one descends from. */
export type CallMessage = [
  op: typeof Op.call | typeof Op.callAndPull,
  id: Id,
  target: Target,
  path: Path,
  how: How,
  args?: unknown,
  form?: Form,
  parent?: Id,
  blobs?: number[],
];
/** Asks for the value of the sender's call `id`. */
export type PullMessage = [op: typeof Op.pull, id: Id];
/** The value of the receiver's call `id`. */
export type ReturnMessage = [
  op: typeof Op.return,
  id: Id,
  value: unknown,
  form?: Form,
  blobs?: number[],
];
/** The error of the receiver's call `id`. */
export type ThrowMessage = [
  op: typeof Op.throw,
  id: Id,
  error: unknown,
  form?: Form,
  blobs?: number[],
];
/**
 * `[-n, count, …]`: so many introductions of the receiver's object n are given back;
 * `[id, 1, …]`: the result of the sender's own call, whose value it never asked for.
 */
export type ReleaseMessage = [op: typeof Op.release, counts: number[]];
/** The sender's call `id` is no longer wanted. */
export type CancelMessage = [op: typeof Op.cancel, id: Id, reason?: unknown, form?: Form];
/** `amount` bytes more (for an iterator: bytes of the items' text) on channel `channel`. */
export type CreditMessage = [op: typeof Op.credit, channel: Id, amount: number];
/**
 * `items` is a value: an array. `size` is the credit that they use up: the length of their text, and of
 * their blobs.
 */
export type ItemsMessage = [
  op: typeof Op.items,
  channel: Id,
  size: number,
  items: unknown,
  form?: Form,
  blobs?: number[],
];
/**
 * The last message of a channel's source. `value` is its error if `failed` is 1, else what an iterator
 * returned. The channel is closed when its source has sent this and its reader a stop.
 */
export type EndMessage = [
  op: typeof Op.end,
  channel: Id,
  failed: 0 | 1,
  value?: unknown,
  form?: Form,
];
/**
 * The last message of a channel's reader: 0 it has had everything, 1 it wants no more, with a reason. The
 * source answers a reader that wants no more with its end.
 */
export type StopMessage = [
  op: typeof Op.stop,
  channel: Id,
  early: 0 | 1,
  reason?: unknown,
  form?: Form,
];
/** The sender's signal `signal` was aborted. */
export type AbortMessage = [op: typeof Op.abort, signal: Id, reason?: unknown, form?: Form];
/** `descriptor` is 1 or 2; the bytes stand in the frame's attachments. */
export type OutputMessage = [
  op: typeof Op.output,
  descriptor: number,
  offset: number,
  length: number,
];
/** Asks for a pong with the same number. */
export type PingMessage = [op: typeof Op.ping, number: number];
/** Answers a ping. */
export type PongMessage = [op: typeof Op.pong, number: number];
/** `settings` is plain JSON; what it has in it is between the two shells. */
export type HelloMessage = [op: typeof Op.hello, settings: Record<string, unknown>];
/** `reason` is text. */
export type ByeMessage = [op: typeof Op.bye, reason?: string];

/** Asks for the rest of the sender. */
export type NeedMessage = [op: typeof Op.need];
/**
 * The code of what the receiver lacks of itself: `"b"` Brotli or `"d"` deflate in base64, or `"p"` plain. It is sent once, before the
 * first message that introduces an object or a channel of the sender's, or else when it is asked for.
 */
export type RestMessage = [op: typeof Op.rest, packing: string, text: string];

/** Every message there is. */
export type Message =
  | CallMessage
  | PullMessage
  | ReturnMessage
  | ThrowMessage
  | ReleaseMessage
  | CancelMessage
  | CreditMessage
  | ItemsMessage
  | EndMessage
  | StopMessage
  | AbortMessage
  | OutputMessage
  | PingMessage
  | PongMessage
  | HelloMessage
  | ByeMessage
  | NeedMessage
  | RestMessage;
