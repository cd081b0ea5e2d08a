/**
 * What one peer may make the other hold or do. Everything is checked before it is parsed or kept.
 *
 * @module
 */

/** The limits of a session. A peer that goes beyond one of them loses the session. */
export interface Limits {
  /** The longest frame, in bytes, that is taken. Default: 4 MiB. */
  frameBytes: number;
  /** The largest single value (a string, an array of bytes, a structure), in bytes. Default: 2 GiB. */
  valueBytes: number;
  /** How many bytes of large values may be on their way in at once. Default: 4 GiB. */
  incomingBytes: number;
  /** How deep a value may be nested. Default: 500. */
  depth: number;
  /** How many objects of the peer this side agrees to hold. Default: 4 000 000. */
  references: number;
  /** How many calls of the peer may be under way, or answered and not yet taken. Default: 1 000 000. */
  pendingCalls: number;
  /** How many bytes of answers the peer may leave untaken before it makes the next call. Default: 4 GiB. */
  answerBytes: number;
  /** How many streams and iterators of the peer may be open. Default: 100 000. */
  channels: number;
  /** How many bytes a stream may have under way, at the most: up to 128 MiB. Default: 16 MiB. */
  streamWindow: number;
  /** How many bytes of the remote's output may wait to be written here. Default: 4 MiB. */
  outputBytes: number;
}

/** The limits that hold where the user names none. */
export const DEFAULT_LIMITS: Readonly<Limits> = Object.freeze({
  frameBytes: 4 << 20,
  valueBytes: 2 ** 31,
  incomingBytes: 2 ** 32,
  depth: 500,
  references: 4_000_000,
  pendingCalls: 1_000_000,
  answerBytes: 2 ** 32,
  channels: 100_000,
  streamWindow: 16 << 20,
  outputBytes: 4 << 20,
});

/** What a limit must not be set to: the peer relies on less. */
const BOUNDS: { readonly [name in keyof Limits]?: readonly [least: number, most: number] } = {
  frameBytes: [2 << 20, 2 ** 32 - 1],
  streamWindow: [1, 128 << 20],
};

/** Limits of which some are named; refuses names and numbers that mean nothing. */
export function resolveLimits(limits: Partial<Limits> = {}): Limits {
  const resolved = { ...DEFAULT_LIMITS };
  for (const [name, value] of Object.entries(limits)) {
    if (!Object.hasOwn(DEFAULT_LIMITS, name)) {
      throw new TypeError(`Cannot use limit "${name}": there is none of that name`);
    }
    if (value === undefined) continue;
    if (typeof value !== "number" || !(value > 0)) {
      throw new RangeError(`Cannot use limit "${name}": expected a positive number, got ${value}`);
    }
    const [least, most] = BOUNDS[name as keyof Limits] ?? [0, Infinity];
    if (value < least || value > most) {
      throw new RangeError(
        `Cannot use limit "${name}": expected ${least} to ${most}, got ${value}`,
      );
    }
    resolved[name as keyof Limits] = value;
  }
  return resolved;
}
