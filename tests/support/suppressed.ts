/**
 * Shows what a `SuppressedError` holds. Where a test fails and then `await using` fails too, Deno 2.9
 * prints neither error; it does print a cause. The test runner loads this file before the tests.
 *
 * @module
 */

Object.defineProperty(SuppressedError.prototype, "cause", {
  configurable: true,
  get(this: SuppressedError) {
    return new AggregateError([this.suppressed, this.error], "both failed, the first one first");
  },
});
