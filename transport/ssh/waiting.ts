/**
 * Waiting that always ends.
 *
 * @module
 */

/** Resolves to whether `promise` settled within `wait` milliseconds; leaves no timer behind. */
export async function endsWithin(promise: Promise<unknown>, wait: number): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), wait);
  const settled = promise.then(() => true, () => true);
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}
