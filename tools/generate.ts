/**
 * Makes the modules that embed the agents: `deno task generate`. With `--check` it only says whether they are stale.
 *
 * @module
 */

import { brotliCompressSync, constants } from "node:zlib";
import { minify } from "terser";
import { deflateAsync } from "zopfli";
import { minifyPython } from "./minify_python.ts";

const root = decodeURIComponent(new URL("..", import.meta.url).pathname);

/** Runs Deno in the project's folder; gives what it writes. */
async function deno(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: root })
    .output();
  if (code !== 0) {
    throw new Error(`deno ${args.join(" ")} failed: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout).trim();
}

function bundle(entry: string, ...flags: string[]): Promise<string> {
  return deno(
    "bundle",
    "--format=esm",
    "--platform=deno",
    "--no-config",
    "--quiet",
    ...flags,
    entry,
  );
}

const AGENT = "runtime/js/agent.ts";
/** What leads to the rest of the JavaScript agent, and what the first part uses of it. */
const LATE: Record<string, string> = {
  "protocol/reaching.ts": "Reaching",
  "runtime/js/compile.ts": "compile",
  "runtime/js/files.ts": "makeFiles",
  "runtime/js/watchdog.ts": "startWatchdog",
  "runtime/large_arrays.ts": "largeArray",
};

/** The modules that a module needs, itself included, as far as the ones of {@linkcode LATE} are not needed for it. */
async function needed(entry: string): Promise<Set<string>> {
  type Dependency = { code?: { specifier?: string } };
  type Graph = { modules: { specifier: string; dependencies?: Dependency[] }[] };
  const { modules } = JSON.parse(await deno("info", "--json", "--no-config", entry)) as Graph;
  const nameOf = (specifier: string) =>
    decodeURIComponent(new URL(specifier).pathname).slice(root.length);
  const graph = new Map(modules.map(({ specifier, dependencies = [] }) => [
    nameOf(specifier),
    dependencies.flatMap(({ code }) =>
      code?.specifier?.startsWith("file:") ? nameOf(code.specifier) : []
    ),
  ]));
  const found = new Set<string>();
  const visit = (name: string) => {
    if (found.has(name) || Object.hasOwn(LATE, name)) return;
    found.add(name);
    graph.get(name)?.forEach(visit);
  };
  visit(entry);
  return found;
}

/** Modules of the protocol whose classes are shown to users, or whose names are on the wire. */
const SHOWN = /^protocol\/(?:errors|remote_error|limits|messages)\.ts/;

/** Names that only the protocol's own classes have, and nobody outside knows: of members, in what a bundle writes. */
function innerNames(parts: readonly string[]): string[] {
  const isInner = (part: string) => part.startsWith("protocol/") && !SHOWN.test(part);
  const inner = parts.filter(isInner).join("");
  const outer = parts.filter((part) => !isInner(part)).join("");
  const members = inner.matchAll(
    /^ {2}(?:get |set |async )*([a-z]\w{4,})(?:\(.*\) \{|;| = .*;)$/gm,
  );
  return [...new Set([...members].map(([, name]) => name!))].filter((name) =>
    !new RegExp(`\\b${name}\\b`).test(outer) &&
    // Nor keys and methods of plain objects, which may be an interpreter's to look for, or words in strings.
    !new RegExp(`\\b${name}:|"${name}"|^ {4,}(?:async )?${name}\\(.*\\) \\{$`, "m").test(inner)
  ).sort();
}

/**
 * The agent in two parts. The first is the body of a function: Deno takes 10 ms less to start that than a module. The rest is
 * evaluated inside that function, where it finds what the first part declares; both are made shorter as one text, so that
 * they agree on the names.
 */
async function javaScriptAgent(): Promise<{ source: string; rest: string }> {
  const first = await needed(AGENT);
  const parts = (await bundle(AGENT)).split(/^\/\/ (?=(?:protocol|runtime)\/\S+\.ts$)/m);
  const early: string[] = [];
  const late: string[] = [];
  for (const part of parts.slice(1)) {
    const name = part.slice(0, part.indexOf("\n"));
    (first.has(name) ? early : late).push(part.slice(name.length));
  }
  const [program, exported] = early.join("").split(/^export \{$/m);
  const start = /^\s*start\n\};$/.test(exported ?? "");
  if (parts[0]!.trim() || !start) {
    throw new Error("Cannot embed the agent: it must export start, and nothing else");
  }
  const declared = Object.values(LATE);
  const rest = declared.reduce((text, name) => {
    const known = text.replace(`var ${name} = `, `${name} = `)
      .replace(new RegExp(`(async )?function ${name}\\(`), `${name} = $1function(`);
    if (known === text) throw new Error(`Cannot embed the agent: ${name} is declared in a new way`);
    return known;
  }, late.join(""));
  const { code = "" } = await minify(
    `var ${declared.join()};\n${program}\nPUSHY_START(start);\nPUSHY_REST(() => {${rest}});\n`,
    {
      module: true,
      compress: { passes: 3, ecma: 2022, keep_fargs: false, pure_getters: true },
      mangle: {
        toplevel: true,
        properties: { regex: new RegExp(`^(?:${innerNames(parts.slice(1)).join("|")})$`) },
      },
    },
  );
  const cut = /^(.*?)[,;]?PUSHY_START\((.*)\)[,;]PUSHY_REST\((.*)\);?$/s.exec(code);
  if (!cut) throw new Error("Cannot embed the agent: its parts are not where they should be");
  const [, body, started, later] = cut;
  // Without names of its own, which could stand in front of the ones that the rest is looking for.
  const evaluate = "function PUSHY_EVALUATE(){eval(arguments[0])}";
  const source = `${body};${evaluate}return ${started}`;
  const named = (text: string) => `${text}\n//# sourceURL=pushy:agent`;
  return { source: named(source), rest: named(`(${later})()`) };
}

function brotli(source: Uint8Array): Uint8Array {
  const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_MODE, BROTLI_MODE_TEXT } = constants;
  return brotliCompressSync(source, {
    params: { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_MODE]: BROTLI_MODE_TEXT },
  });
}

/** Zopfli's is 4 % smaller than zlib's. */
async function deflate(source: Uint8Array): Promise<Uint8Array> {
  return await deflateAsync(source, { numiterations: 30 });
}

async function moduleOf(
  what: string,
  { source, rest }: { source: string; rest: string },
  pack: (source: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<string> {
  const constants = async (name: string, text: string, says: string, packedName: string) => {
    const packed = (await pack(new TextEncoder().encode(text))).toBase64();
    return `\n/** ${says} */\nexport const ${name}: string = ${JSON.stringify(text)};\n\n` +
      `/** The same, compressed (${pack.name}), in base64. */\n` +
      `export const ${packedName}: string =\n  "${packed}";\n`;
  };
  return `// Generated by \`deno task generate\`. Do not edit.\n// deno-lint-ignore-file\n` +
    `// deno-fmt-ignore-file\n` +
    await constants("source", source, what, "packed") +
    await constants("rest", rest, "What follows when it is first needed.", "packedRest");
}

/**
 * The agent in three parts. Compiling takes Python longer than connecting: what the first result does not need comes as a
 * string. The rest follows when it is first needed.
 */
async function pythonAgent(): Promise<{ source: string; rest: string }> {
  const source = await Deno.readTextFile(`${root}runtime/python/agent.py`);
  const [first, later, rest] = minifyPython(source, "# ==== later", "# ==== rest");
  return { source: `${first}\n#LATER\n${later}`, rest: rest! };
}

const files: [path: string, make: () => Promise<string>][] = [
  [
    "runtime/generated/js_agent.ts",
    async () =>
      moduleOf(
        "The JavaScript agent: the body of a function that gives its start.",
        await javaScriptAgent(),
        brotli,
      ),
  ],
  [
    "runtime/generated/py_agent.ts",
    async () => moduleOf("The Python agent.", await pythonAgent(), deflate),
  ],
];

let stale = 0;
for (const [path, make] of files) {
  const made = await make();
  const present = await Deno.readTextFile(root + path).catch(() => "");
  if (present === made) continue;
  if (Deno.args.includes("--check")) {
    console.error(`${path} is stale: run "deno task generate"`);
    stale++;
  } else {
    await Deno.mkdir(root + path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(root + path, made);
    console.log(`${path}: ${made.length} characters`);
  }
}
if (stale > 0) Deno.exit(1);
