/**
 * What both directions of the codec know of an interpreter's kinds of values.
 *
 * @module
 */

/** A string of more characters than this goes as bytes beside the text. */
export const LONG_STRING: number = 16 << 10;

type ViewConstructor = new (buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView;

/** The views that cross, by name; an interpreter may lack the newest. */
export const VIEWS: Record<string, [constructor: ViewConstructor, bytes: number]> = Object.assign(
  Object.create(null),
  Object.fromEntries(
    [
      "Int8Array",
      "Uint8Array",
      "Uint8ClampedArray",
      "Int16Array",
      "Uint16Array",
      "Int32Array",
      "Uint32Array",
      "Float16Array",
      "Float32Array",
      "Float64Array",
      "BigInt64Array",
      "BigUint64Array",
    ].flatMap((name) => {
      const constructor = (globalThis as unknown as Record<string, unknown>)[name] as
        | (ViewConstructor & { BYTES_PER_ELEMENT: number })
        | undefined;
      return constructor ? [[name, [constructor, constructor.BYTES_PER_ELEMENT]]] : [];
    }),
  ),
);

/** Views that not every interpreter has. */
export const NEW_VIEWS = new Set(["Float16Array"]);

/** The language's own symbols, by what they are. */
export const WELL_KNOWN_SYMBOLS = new Map<symbol, string>(
  Object.getOwnPropertyNames(Symbol).flatMap((name) => {
    const symbol = (Symbol as unknown as Record<string, unknown>)[name];
    return typeof symbol === "symbol" ? [[symbol, name] as const] : [];
  }),
);
