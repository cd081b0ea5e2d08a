/**
 * The types of what tests use of `@std/streams`, for the JavaScript that stands in for it where
 * JSR does not answer.
 *
 * @module
 */

export class TextLineStream extends TransformStream<string, string> {
  constructor(options?: { allowCR?: boolean });
}
export function concatReadableStreams<T>(...streams: ReadableStream<T>[]): ReadableStream<T>;
export function mergeReadableStreams<T>(...streams: ReadableStream<T>[]): ReadableStream<T>;
export function toArrayBuffer(stream: ReadableStream<Uint8Array>): Promise<ArrayBuffer>;
export function toBlob(stream: ReadableStream<Uint8Array>): Promise<Blob>;
export function toJson(stream: ReadableStream): Promise<unknown>;
export function toText(stream: ReadableStream): Promise<string>;
