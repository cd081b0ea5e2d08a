/**
 * The lines of earlier sessions, in the user's state folder.
 *
 * @module
 */

/** How many lines are kept. */
const MOST = 1000;

/** The folder for what a user's programs remember, or `undefined` where there is no home. */
export function stateFolder(): string | undefined {
  const own = Deno.env.get("XDG_STATE_HOME");
  if (own) return `${own}/pushy`;
  if (Deno.build.os === "windows") {
    const local = Deno.env.get("LOCALAPPDATA");
    return local && `${local}\\pushy`;
  }
  const home = Deno.env.get("HOME");
  return home && `${home}/.local/state/pushy`;
}

/** The history of one language. */
export class History {
  readonly #path: string | undefined;

  /** `language` is `"javascript"` or `"python"`. */
  constructor(language: string) {
    const folder = stateFolder();
    this.#path = folder && `${folder}/history_${language}`;
  }

  /** The lines, the last one first. */
  async load(): Promise<string[]> {
    if (this.#path === undefined) return [];
    try {
      const text = await Deno.readTextFile(this.#path);
      return text.split("\n").filter(Boolean).reverse();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  /** Keeps the lines, the last one first. Only this user can read them. */
  async save(lines: readonly string[]): Promise<void> {
    if (this.#path === undefined) return;
    const folder = this.#path.replace(/[\\/][^\\/]*$/, "");
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    const kept = lines.slice(0, MOST).reverse();
    const part = `${this.#path}.${Deno.pid}.part`;
    await Deno.writeTextFile(part, kept.map((line) => `${line}\n`).join(""), { mode: 0o600 });
    await Deno.rename(part, this.#path);
  }
}
