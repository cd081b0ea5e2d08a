import { assert, assertEquals, assertRejects } from "@std/assert";
import { connect, type TransportModule } from "../../mod.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The names of the fields of an interface. */
async function fieldsOf(path: string, name: string): Promise<string[]> {
  const source = await Deno.readTextFile(`${ROOT}${path}`);
  const body = new RegExp(`interface ${name}\\b[^{]*\\{([^]*?)\\n\\}`).exec(source)?.[1] ?? "";
  return [...body.matchAll(/^ {2}(\w+)\??[:(]/gm)].map((match) => match[1]!);
}

const TABLES: [path: string, name: string, heading: string][] = [
  ["client/options.ts", "CommonOptions", "# Transports"],
  ["transport/local.ts", "LocalOptions", "## local"],
  ["transport/ssh/options.ts", "SshOptions", "## ssh"],
  ["transport/daemon.ts", "DaemonOptions", "## daemon"],
  ["transport/smb/options.ts", "SmbOptions", "## smb"],
];

for (const [path, name, heading] of TABLES) {
  Deno.test(`transports.md has every option of ${name}`, async () => {
    const page = await Deno.readTextFile(`${ROOT}docs/transports.md`);
    const start = page.indexOf(heading);
    const end = page.indexOf("\n## ", start + 1);
    const section = page.slice(start, end < 0 ? undefined : end);
    const fields = await fieldsOf(path, name);
    assert(fields.length > 0, `${name} has no fields`);
    for (const field of fields) {
      assert(new RegExp(`\`[^\`]*\\b${field}\\b[^\`]*\``).test(section), `${field} is missing`);
    }
    for (const [, cell] of section.matchAll(/^\| (`[^|]*?) +\|/gm)) {
      for (const option of cell!.match(/\w+/g)!) {
        assert(fields.includes(option), `${option} is no option of ${name}`);
      }
    }
  });
}

for (
  const [name, path, declared] of [
    ["local", "transport/local.ts", "LocalOptions"],
    ["ssh", "transport/ssh/options.ts", "SshOptions"],
    ["daemon", "transport/daemon.ts", "DaemonOptions"],
    ["smb", "transport/smb/options.ts", "SmbOptions"],
  ] as const
) {
  Deno.test(`${name}: has the options that it declares, and refuses a misspelt one`, async () => {
    const module: TransportModule = await import(`../../transport/${name}.ts`);
    assertEquals(module.options, await fieldsOf(path, declared));
    const target = name === "local" ? "local:" : `${name}:127.0.0.1`;
    const error = await assertRejects(() => connect(target, { prot: 1 }), TypeError);
    assert(error.message.startsWith(`Cannot use option "prot"`), error.message);
  });
}
