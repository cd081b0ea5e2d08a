/**
 * How far a copy is: a bar on a terminal, a line for each file elsewhere.
 *
 * @module
 */

import type { CopyProgress } from "../mod.ts";
import { columns, note } from "./terminal.ts";

/** A bar is drawn again after so many milliseconds. */
const INTERVAL = 100;
/** Before so many milliseconds a rate tells nothing of the time that is left. */
const FIRST = 1000;

/** Shows progress until it is ended. */
export interface ProgressBar {
  /** The copy went on. */
  update(progress: CopyProgress): void;
  /** The copy is complete. */
  done(): void;
  /** Takes the bar off the screen. */
  clear(): void;
}

/** Makes what suits standard error. `name` is what is being copied. */
export function progressBar(name: string, quiet: boolean): ProgressBar {
  if (quiet) return { update() {}, done() {}, clear() {} };
  return Deno.stderr.isTerminal() ? new Bar(name) : new Lines(name);
}

class Bar implements ProgressBar {
  readonly #name: string;
  readonly #begun = performance.now();
  #drawn = 0;
  #last: CopyProgress = { bytes: 0 };

  constructor(name: string) {
    this.#name = name;
  }

  update(progress: CopyProgress): void {
    this.#last = progress;
    const now = performance.now();
    if (now - this.#drawn < INTERVAL) return;
    this.#drawn = now;
    const { rate, ...without } = progress;
    const shown = now - this.#begun < FIRST ? without : { ...without, rate };
    note(`\r\x1b[K${barLine(this.#name, shown, columns() - 1)}`);
  }

  done(): void {
    const { bytes } = this.#last;
    const time = (performance.now() - this.#begun) / 1000;
    note(`\r\x1b[K${summary(this.#name, bytes, time)}\n`);
  }

  clear(): void {
    note("\r\x1b[K");
  }
}

class Lines implements ProgressBar {
  readonly #name: string;
  readonly #begun = performance.now();
  #bytes = 0;

  constructor(name: string) {
    this.#name = name;
  }

  update({ bytes }: CopyProgress): void {
    this.#bytes = bytes;
  }

  done(): void {
    const time = (performance.now() - this.#begun) / 1000;
    note(`${summary(this.#name, this.#bytes, time)}\n`);
  }

  clear(): void {}
}

function summary(name: string, bytes: number, time: number): string {
  const rate = time > 0 ? `, ${size(bytes / time)}/s` : "";
  return `${printable(name)}: ${size(bytes)} in ${duration(time)}${rate}`;
}

/** A line of at most `width` characters: name, bar, share, rate, time left. */
export function barLine(name: string, progress: CopyProgress, width: number): string {
  const { bytes, total, rate } = progress;
  const share = total ? Math.min(1, bytes / total) : undefined;
  const left = share !== undefined && rate ? duration((total! - bytes) / rate) : "";
  const numbers = [
    share === undefined ? size(bytes) : `${Math.floor(share * 100)}%`.padStart(4),
    rate === undefined ? "" : `${size(rate)}/s`,
    left && `${left} left`,
  ].filter(Boolean).join("  ");
  const room = width - numbers.length - 2;
  if (room < 10) return numbers.slice(0, Math.max(0, width));
  const label = shortened(printable(name), Math.min(30, Math.floor(room / 2)));
  const bar = room - label.length - 4;
  if (share === undefined || bar < 5) return `${label}  ${numbers}`;
  const full = Math.round(share * bar);
  return `${label} [${"#".repeat(full)}${"-".repeat(bar - full)}] ${numbers}`;
}

function shortened(name: string, most: number): string {
  return name.length <= most ? name : `…${name.slice(name.length - most + 1)}`;
}

/** A name that came from elsewhere, without what a terminal would act on. */
function printable(name: string): string {
  // deno-lint-ignore no-control-regex
  return name.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}

/** Bytes, as people say them. */
export function size(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) {
      return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    }
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

/** Seconds, as people say them. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes === 0) return `${whole} s`;
  if (minutes < 60) return `${minutes}:${String(whole % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
}
