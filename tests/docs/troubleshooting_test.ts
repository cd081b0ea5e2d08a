import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../../", import.meta.url).pathname;
const FOLDERS = ["protocol", "transport", "runtime", "client", "server", "cli"];

async function* sources(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory && name !== "generated") yield* sources(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

/** The text of a literal at a place in source, with "…" for what is filled in. */
function literalAt(source: string, at: number): string | undefined {
  const quote = source[at];
  if (quote !== '"' && quote !== "'" && quote !== "`") return undefined;
  let text = "";
  for (let i = at + 1; i < source.length && source[i] !== quote; i++) {
    if (source[i] === "\\") {
      text += source[++i];
    } else if (quote === "`" && source.startsWith("${", i)) {
      let depth = 1;
      for (i += 2; depth > 0; i++) {
        if (source[i] === "{") depth++;
        if (source[i] === "}") depth--;
      }
      i--;
      text += "…";
    } else {
      text += source[i];
    }
  }
  return text;
}

/** A variable of connect.ts, with which several messages begin. */
const BEGINNING = 'Cannot connect to "…": ';

/** How a message begins that is not written where its error is made, but in a table or a variable. */
const ELSEWHERE =
  /(?<!hint:\s*)["`](?=Cannot |There is no |The (?:connection|call|host key|ssh client|account|remote command) |The remote side (?:ended|closed|no longer)|\$\{target\} (?:did|and|has|does) )/g;

/** Every text that an error of the project is made of. */
async function messages(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const folder of FOLDERS) {
    for await (const path of sources(`${ROOT}${folder}`)) {
      const source = withoutComments(await Deno.readTextFile(path));
      const places = [
        ...source.matchAll(/new \w*(?:Error|Failure)\(\s*/g).map((match) =>
          match.index + match[0].length
        ),
        ...source.matchAll(ELSEWHERE).map((match) => match.index),
      ];
      for (const place of places) {
        const text = literalAt(source, place);
        // A text that is nothing but what is filled in is made of another.
        if (text && !/^[…\s.:]*$/.test(text)) found.set(text, path.slice(ROOT.length));
      }
    }
  }
  found.delete(BEGINNING);
  return found;
}

function withoutComments(source: string): string {
  return source.replace(/\/\*[^]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
}

async function patterns(): Promise<{ text: string; pattern: RegExp }[]> {
  const page = await Deno.readTextFile(`${ROOT}docs/troubleshooting.md`);
  const cells = page.split("\n").filter((line) => line.startsWith("| `")).map((line) =>
    line.split(" | ")[0]!
  );
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)]).map(([, text]) => ({
    text: text!,
    pattern: new RegExp(
      `^${
        text!.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[^]*")
      }`,
    ),
  }));
}

Deno.test("troubleshooting has every message of the project", async () => {
  const known = await patterns();
  const missing = [...await messages()].filter(([text]) =>
    !known.some(({ pattern }) => pattern.test(text))
  );
  assertEquals(missing, []);
});

Deno.test("troubleshooting has no row for what no error says, and none for everything", async () => {
  const texts = [...(await messages()).keys()];
  for (const { text, pattern } of await patterns()) {
    assert(text.replaceAll("…", "").trim().length >= 3, text);
    assert(
      /^[A-Z]+$/.test(text) || texts.some((message) => pattern.test(message)) || COMPOSED.has(text),
      text,
    );
  }
});

/** Texts of errors that are put together in more steps. */
const COMPOSED = new Set(["Cannot send …"]);
