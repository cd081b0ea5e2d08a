/**
 * The notation of `tests/vectors.json`: values as JSON that any language can build and compare.
 *
 * @module
 */

/** A value in the notation. */
export type Note = unknown;

type Noted = { $: string; id?: number } & Record<string, unknown>;

/** The value that a note means. */
export function build(note: Note): unknown {
  return new Builder().build(note);
}

/** The note of a value: what {@linkcode build} takes, in one canonical form. */
export function describeValue(value: unknown): Note {
  return new Describer(value).note(value);
}

/** Bytes as hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The opposite of {@linkcode toHex}. */
export function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(
    { length: hex.length / 2 },
    (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  );
}

/** A text of the table: itself, or something that is repeated. */
export function expandText(
  text: string | { before: string; text: string; times: number; after: string },
): string {
  return typeof text === "string" ? text : text.before + text.text.repeat(text.times) + text.after;
}

/** Bytes of the table: hexadecimal digits, or some that are repeated. */
export function expandBytes(bytes: Parameters<typeof expandText>[0]): Uint8Array {
  return fromHex(expandText(bytes));
}

class Builder {
  readonly #named = new Map<number, unknown>();

  build(note: Note): unknown {
    if (typeof note !== "object" || note === null) return note;
    const noted = note as Noted;
    const named = <T>(value: T): T => {
      if (noted.id !== undefined) this.#named.set(noted.id, value);
      return value;
    };
    switch (noted.$) {
      case "undefined":
        return undefined;
      case "number":
        return Number(noted.value);
      case "bigint": {
        const hex = noted.hex as string;
        return hex.startsWith("-") ? -BigInt(`0x${hex.slice(1)}`) : BigInt(`0x${hex}`);
      }
      case "power": {
        const { base, exponent, plus } = noted as unknown as Record<string, number>;
        return BigInt(base!) ** BigInt(exponent!) + BigInt(plus!);
      }
      case "units":
        return String.fromCharCode(...noted.units as number[]);
      case "repeat":
        return (this.build(noted.text) as string).repeat(noted.times as number);
      case "same":
        return this.#named.get(noted.id!);
      case "nested": {
        let value: unknown[] = [];
        for (let i = 1; i < (noted.depth as number); i++) value = [value];
        return value;
      }
      case "list":
        return this.#list(noted.items as Note[], named([]));
      case "object":
        return this.#object(noted.entries as [Note, Note][], named({}));
      case "map": {
        const map = named(new Map());
        for (const [key, value] of noted.entries as [Note, Note][]) {
          map.set(this.build(key), this.build(value));
        }
        return map;
      }
      case "set": {
        const set = named(new Set());
        for (const item of noted.items as Note[]) set.add(this.build(item));
        return set;
      }
      case "date":
        return named(new Date(noted.ms as number ?? NaN));
      case "regexp":
        return named(new RegExp(noted.source as string, noted.flags as string));
      case "url":
        return named(new URL(noted.href as string));
      case "symbol":
        return noted.known
          ? (Symbol as unknown as Record<string, symbol>)[noted.known as string]
          : Symbol.for(noted.for as string);
      case "error":
        return this.#error(noted, named);
      case "bytes":
        return named(bytesOf(noted));
    }
    throw new Error(`Cannot build a value of kind ${noted.$}`);
  }

  #list(items: Note[], list: unknown[]): unknown[] {
    for (const item of items) {
      const { $, value, times } = (item ?? {}) as Noted;
      if ($ === "hole") list.length++;
      else if ($ === "times") {
        for (let i = 0; i < Number(times); i++) list.push(this.build(value));
      } else list.push(this.build(item));
    }
    return list;
  }

  #object(entries: [Note, Note][], object: object): object {
    for (const [key, value] of entries) {
      Object.defineProperty(object, this.build(key) as PropertyKey, {
        value: this.build(value),
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    return object;
  }

  #error(noted: Noted, named: <T>(value: T) => T): Error {
    const type = noted.type as string;
    const known = { Error, TypeError, RangeError }[type] ?? Error;
    const error = named(new known(noted.message as string));
    const hide = (key: string, value: unknown) =>
      Object.defineProperty(error, key, { value, configurable: true, writable: true });
    if (error.name !== type) hide("name", type);
    hide("stack", noted.stack);
    this.#object(noted.properties as [Note, Note][], error);
    if ("cause" in noted) hide("cause", this.build(noted.cause));
    if ("errors" in noted) hide("errors", this.build(noted.errors));
    return error;
  }
}

function bytesOf(noted: Noted): unknown {
  const { type, hex, view, detached } = noted as unknown as {
    type: string;
    hex: string;
    view?: { before: string; after: string };
    detached?: boolean;
  };
  const { buffer } = fromHex((view?.before ?? "") + hex + (view?.after ?? ""));
  const offset = (view?.before.length ?? 0) / 2;
  let made: unknown = buffer;
  if (type === "DataView") made = new DataView(buffer, offset, hex.length / 2);
  else if (type !== "ArrayBuffer") {
    // deno-lint-ignore no-explicit-any
    const constructor = (globalThis as any)[type];
    made = new constructor(buffer, offset, hex.length / 2 / constructor.BYTES_PER_ELEMENT);
  }
  if (detached) structuredClone(buffer, { transfer: [buffer] });
  return made;
}

/** Writes notes in one way only, so that they can be compared as JSON. */
class Describer {
  readonly #met = new Map<object, number>();
  readonly #ids = new Map<object, number>();

  constructor(value: unknown) {
    this.#count(value);
  }

  /** Which objects are met more than once? */
  #count(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    const met = (this.#met.get(value) ?? 0) + 1;
    this.#met.set(value, met);
    if (met > 1) return;
    for (const part of partsOf(value)) this.#count(part);
  }

  note(value: unknown): Note {
    switch (typeof value) {
      case "undefined":
        return { $: "undefined" };
      case "number":
        return Number.isFinite(value) && !Object.is(value, -0)
          ? value
          : { $: "number", value: Object.is(value, -0) ? "-0" : String(value) };
      case "bigint":
        return { $: "bigint", hex: value.toString(16) };
      case "string":
        return value.isWellFormed() ? value : {
          $: "units",
          units: Array.from({ length: value.length }, (_, i) => value.charCodeAt(i)),
        };
      case "symbol": {
        const key = Symbol.keyFor(value);
        return key === undefined
          ? { $: "symbol", known: value.description!.replace("Symbol.", "") }
          : { $: "symbol", for: key };
      }
      case "boolean":
        return value;
      case "function":
        throw new Error("A function is no data");
    }
    if (typeof value !== "object" || value === null) return null;
    const before = this.#ids.get(value);
    if (before !== undefined) return { $: "same", id: before };
    let id = {};
    if (this.#met.get(value)! > 1) {
      id = { id: this.#ids.size + 1 };
      this.#ids.set(value, this.#ids.size + 1);
    }
    return { ...this.#object(value), ...id };
  }

  #object(value: object): Record<string, unknown> {
    const notes = (items: Iterable<unknown>) => Array.from(items, (item) => this.note(item));
    const entries = (items: Iterable<[unknown, unknown]>) =>
      Array.from(items, ([key, value]) => [this.note(key), this.note(value)]);
    if (Array.isArray(value)) {
      return {
        $: "list",
        items: Array.from(value, (item, i) => i in value ? this.note(item) : { $: "hole" }),
      };
    }
    if (value instanceof Map) return { $: "map", entries: entries(value) };
    if (value instanceof Set) return { $: "set", items: notes(value) };
    if (value instanceof Date) return { $: "date", ms: isNaN(+value) ? null : +value };
    if (value instanceof RegExp) return { $: "regexp", source: value.source, flags: value.flags };
    if (value instanceof URL) return { $: "url", href: value.href };
    if (value instanceof Error) {
      const own = (key: string) => Object.hasOwn(value, key);
      return {
        $: "error",
        type: value.name,
        message: value.message,
        stack: value.stack,
        properties: entries(Object.entries(value)),
        ...(own("cause") ? { cause: this.note(value.cause) } : {}),
        ...(own("errors") ? { errors: this.note((value as AggregateError).errors) } : {}),
      };
    }
    if (value instanceof ArrayBuffer) {
      return { $: "bytes", type: "ArrayBuffer", hex: toHex(new Uint8Array(value)) };
    }
    if (ArrayBuffer.isView(value)) {
      const { buffer, byteOffset, byteLength, constructor } = value;
      if (buffer.byteLength !== byteLength) throw new Error("More than the view has crossed");
      return {
        $: "bytes",
        type: constructor.name,
        hex: toHex(new Uint8Array(buffer, byteOffset, byteLength)),
      };
    }
    if (Object.getPrototypeOf(value) !== Object.prototype) throw new Error("Not a plain object");
    return {
      $: "object",
      entries: Reflect.ownKeys(value).map((key) => [
        this.note(key),
        this.note((value as Record<PropertyKey, unknown>)[key]),
      ]),
    };
  }
}

function partsOf(value: object): Iterable<unknown> {
  if (value instanceof Map) return [...value].flat();
  if (value instanceof Set) return value;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return [];
  if (value instanceof Error) {
    const { cause, errors } = value as Error & { errors?: unknown };
    return [...Object.values(value), cause, errors];
  }
  return Reflect.ownKeys(value).map((key) => (value as Record<PropertyKey, unknown>)[key]);
}
