/**
 * Deflates a text as small as it gets: what is embedded is compressed once, and sent many times.
 *
 * A usual encoder takes the longest match it sees. This one knows what each choice costs in bits, takes the cheapest way
 * through the whole text, learns from that what each choice costs, and goes again. It needs no library, so what it makes
 * is the same with every version of Deno.
 *
 * @module
 */

const LONGEST = 258;
const WINDOW = 32768;
const END = 256;
const ROUNDS = 12;
/** Between how many pieces of the text a block may end. */
const PIECES = 24;

const LENGTH_EXTRA = [
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  1,
  1,
  1,
  1,
  2,
  2,
  2,
  2,
  3,
  3,
  3,
  3,
  4,
  4,
  4,
  4,
  5,
  5,
  5,
  5,
  0,
];
const LENGTH_BASE: number[] = [];
const DISTANCE_BASE: number[] = [];
const distanceExtra = (symbol: number) => symbol < 4 ? 0 : (symbol >> 1) - 1;
for (let symbol = 0, base = 3; symbol < 28; base += 1 << LENGTH_EXTRA[symbol++]!) {
  LENGTH_BASE.push(base);
}
LENGTH_BASE.push(LONGEST);
for (let symbol = 0, base = 1; symbol < 30; base += 1 << distanceExtra(symbol++)) {
  DISTANCE_BASE.push(base);
}

const lengthSymbol = (length: number) => LENGTH_BASE.findLastIndex((base) => base <= length);
const distanceSymbol = (distance: number) =>
  DISTANCE_BASE.findLastIndex((base) => base <= distance);
const LENGTH_SYMBOL = Array.from({ length: LONGEST + 1 }, (_, length) => lengthSymbol(length));

/** At each position: longer and longer matches, each with the smallest distance, as `length, distance, …`. */
function matches(data: Uint8Array): number[][] {
  const last = new Map<number, number>();
  const before = new Int32Array(data.length).fill(-1);
  return Array.from(data, (_, at) => {
    const found: number[] = [];
    if (at + 3 > data.length) return found;
    const key = data[at]! << 16 | data[at + 1]! << 8 | data[at + 2]!;
    let best = 2;
    const most = Math.min(LONGEST, data.length - at);
    before[at] = last.get(key) ?? -1;
    for (let from = before[at]!; from >= 0 && at - from <= WINDOW; from = before[from]!) {
      if (best === most) break;
      if (data[from + best] !== data[at + best]) continue;
      let length = 3;
      while (length < most && data[from + length] === data[at + length]) length++;
      if (length > best) found.push(best = length, at - from);
    }
    last.set(key, at);
    return found;
  });
}

/** What each symbol costs, in bits. */
interface Costs {
  readonly literals: ArrayLike<number>;
  readonly distances: ArrayLike<number>;
}

const FIRST: Costs = {
  literals: Array.from({ length: 286 }, (_, symbol) => symbol < 256 ? 7 : 6),
  distances: new Array(30).fill(5),
};

/** A literal, or a match: `distance` is 0 for a literal. */
interface Choice {
  readonly value: number;
  readonly distance: number;
}

/** The cheapest way through a part of the data. */
function cheapest(
  data: Uint8Array,
  found: number[][],
  start: number,
  end: number,
  costs: Costs,
): Choice[] {
  const total = new Float64Array(end - start + 1).fill(Infinity);
  const lengths = new Uint16Array(end - start + 1);
  const distances = new Uint16Array(end - start + 1);
  const ofLength = LENGTH_SYMBOL.map((symbol) =>
    symbol < 0 ? 0 : costs.literals[257 + symbol]! + LENGTH_EXTRA[symbol]!
  );
  total[0] = 0;
  for (let at = start; at < end; at++) {
    const here = total[at - start]!;
    const reach = (length: number, distance: number, cost: number) => {
      const to = at - start + length;
      if (here + cost >= total[to]!) return;
      total[to] = here + cost;
      lengths[to] = length;
      distances[to] = distance;
    };
    reach(1, 0, costs.literals[data[at]!]!);
    const pairs = found[at]!;
    for (let i = 0, length = 3; i < pairs.length; i += 2) {
      const symbol = distanceSymbol(pairs[i + 1]!);
      const cost = costs.distances[symbol]! + distanceExtra(symbol);
      const most = Math.min(pairs[i]!, end - at);
      for (; length <= most; length++) reach(length, pairs[i + 1]!, ofLength[length]! + cost);
    }
  }
  const choices: Choice[] = [];
  for (let to = end - start; to > 0; to -= lengths[to]!) {
    const distance = distances[to]!;
    choices.push({ value: distance ? lengths[to]! : data[start + to - 1]!, distance });
  }
  return choices.reverse();
}

interface Counts {
  readonly literals: number[];
  readonly distances: number[];
}

function count(choices: readonly Choice[]): Counts {
  const literals: number[] = new Array(286).fill(0);
  const distances: number[] = new Array(30).fill(0);
  literals[END] = 1;
  for (const { value, distance } of choices) {
    literals[distance ? 257 + LENGTH_SYMBOL[value]! : value]!++;
    if (distance) distances[distanceSymbol(distance)]!++;
  }
  return { literals, distances };
}

/** What a symbol would cost if bits could be split; one that was not used is not impossible. */
function entropy(counts: readonly number[]): number[] {
  const sum = counts.reduce((a, b) => a + b, 0) || 1;
  return counts.map((n) => Math.log2(sum / (n || 0.5)));
}

function costsOf({ literals, distances }: Counts): Costs {
  return { literals: entropy(literals), distances: entropy(distances) };
}

/** The lengths of a Huffman code in which none is longer than `limit` (package-merge). */
function codeLengths(counts: readonly number[], limit: number): number[] {
  const lengths: number[] = counts.map(() => 0);
  const leaves = counts.map((weight, symbol) => ({ weight, symbols: [symbol] }))
    .filter(({ weight }) => weight > 0);
  if (leaves.length < 2) {
    // A code of one symbol has one bit all the same.
    for (const { symbols } of leaves) lengths[symbols[0]!] = 1;
    return lengths;
  }
  let merged: typeof leaves = [];
  for (let round = 0; round < limit; round++) {
    const packages: typeof leaves = [];
    for (let i = 0; i + 1 < merged.length; i += 2) {
      const [a, b] = [merged[i]!, merged[i + 1]!];
      packages.push({ weight: a.weight + b.weight, symbols: [...a.symbols, ...b.symbols] });
    }
    merged = [...leaves, ...packages].sort((a, b) => a.weight - b.weight);
  }
  for (const { symbols } of merged.slice(0, 2 * leaves.length - 2)) {
    for (const symbol of symbols) lengths[symbol]!++;
  }
  return lengths;
}

/** Bits, the lowest first. */
class Bits {
  readonly bytes: number[] = [];
  #filled = 0;

  get length(): number {
    return 8 * this.bytes.length - (this.#filled ? 8 - this.#filled : 0);
  }

  put(value: number, bits: number): void {
    for (let i = 0; i < bits; i++) {
      if (this.#filled === 0) this.bytes.push(0);
      this.bytes[this.bytes.length - 1]! |= (value >> i & 1) << this.#filled;
      this.#filled = (this.#filled + 1) % 8;
    }
  }
}

/** A Huffman code: how each symbol is written. */
function coder(lengths: readonly number[]): (bits: Bits, symbol: number) => void {
  const codes: number[] = [];
  let code = 0;
  for (let length = 1; length <= 15; length++, code <<= 1) {
    lengths.forEach((its, symbol) => {
      if (its === length) codes[symbol] = code++;
    });
  }
  return (bits, symbol) => {
    for (let i = lengths[symbol]! - 1; i >= 0; i--) bits.put(codes[symbol]! >> i, 1);
  };
}

/** The lengths of both codes as `symbol, extra bits, their number`, in which repeats are short. */
function runs(lengths: readonly number[]): [symbol: number, extra: number, bits: number][] {
  const made: [number, number, number][] = [];
  for (let i = 0; i < lengths.length;) {
    let same = 1;
    while (lengths[i + same] === lengths[i]) same++;
    let rest = same;
    if (lengths[i] === 0) {
      for (; rest >= 11; rest -= Math.min(rest, 138)) made.push([18, Math.min(rest, 138) - 11, 7]);
      if (rest >= 3) made.push([17, rest - 3, 3]);
      if (rest >= 3) rest = 0;
    } else {
      made.push([lengths[i]!, 0, 0]);
      rest--;
      for (; rest >= 3; rest -= Math.min(rest, 6)) made.push([16, Math.min(rest, 6) - 3, 2]);
    }
    while (rest-- > 0) made.push([lengths[i]!, 0, 0]);
    i += same;
  }
  return made;
}

const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

function writeBlock(bits: Bits, choices: readonly Choice[], final: boolean): void {
  const counts = count(choices);
  const literals = codeLengths(counts.literals, 15);
  const distances = codeLengths(counts.distances, 15);
  const used = (lengths: number[], least: number) =>
    Math.max(least, lengths.findLastIndex((length) => length > 0) + 1);
  const literalCount = used(literals, 257);
  const distanceCount = used(distances, 1);
  const head = runs([...literals.slice(0, literalCount), ...distances.slice(0, distanceCount)]);
  const headCounts: number[] = new Array(19).fill(0);
  for (const [symbol] of head) headCounts[symbol]!++;
  const headLengths = codeLengths(headCounts, 7);
  const headCount = used(ORDER.map((symbol) => headLengths[symbol]!), 4);
  bits.put(final ? 1 : 0, 1);
  bits.put(2, 2);
  bits.put(literalCount - 257, 5);
  bits.put(distanceCount - 1, 5);
  bits.put(headCount - 4, 4);
  for (const symbol of ORDER.slice(0, headCount)) bits.put(headLengths[symbol]!, 3);
  const putHead = coder(headLengths);
  for (const [symbol, extra, width] of head) {
    putHead(bits, symbol);
    bits.put(extra, width);
  }
  const putLiteral = coder(literals);
  const putDistance = coder(distances);
  for (const { value, distance } of choices) {
    if (!distance) {
      putLiteral(bits, value);
      continue;
    }
    const length = LENGTH_SYMBOL[value]!;
    putLiteral(bits, 257 + length);
    bits.put(value - LENGTH_BASE[length]!, LENGTH_EXTRA[length]!);
    const far = distanceSymbol(distance);
    putDistance(bits, far);
    bits.put(distance - DISTANCE_BASE[far]!, distanceExtra(far));
  }
  putLiteral(bits, END);
}

/** Where blocks best begin, given a way through the whole text: each may have codes of its own. */
function boundaries(choices: readonly Choice[]): number[] {
  const ends = Array.from(
    { length: PIECES + 1 },
    (_, i) => Math.round(choices.length * i / PIECES),
  );
  const best: { size: number; from: number }[] = [{ size: 0, from: 0 }];
  for (let to = 1; to <= PIECES; to++) {
    best[to] = { size: Infinity, from: 0 };
    for (let from = 0; from < to; from++) {
      const bits = new Bits();
      writeBlock(bits, choices.slice(ends[from], ends[to]), false);
      const size = best[from]!.size + bits.length;
      if (size < best[to]!.size) best[to] = { size, from };
    }
  }
  const positions = [0];
  for (const { value, distance } of choices) {
    positions.push(positions.at(-1)! + (distance ? value : 1));
  }
  const made: number[] = [];
  for (let at = PIECES; at > 0; at = best[at]!.from) made.unshift(positions[ends[at]!]!);
  return made;
}

/** The raw deflated form of `data`. */
export function deflate(data: Uint8Array): Uint8Array {
  const found = matches(data);
  const settle = (start: number, end: number, costs: Costs): Choice[] => {
    let best: { choices: Choice[]; size: number } | undefined;
    for (let round = 0; round < ROUNDS; round++) {
      const choices = cheapest(data, found, start, end, costs);
      const bits = new Bits();
      writeBlock(bits, choices, false);
      if (!best || bits.length < best.size) best = { choices, size: bits.length };
      costs = costsOf(count(choices));
    }
    return best!.choices;
  };
  const whole = settle(0, data.length, FIRST);
  const bits = new Bits();
  let start = 0;
  for (const end of boundaries(whole)) {
    writeBlock(bits, settle(start, end, costsOf(count(whole))), end === data.length);
    start = end;
  }
  return new Uint8Array(bits.bytes);
}
