import { assert, assertEquals } from "@std/assert";
import { hintHere, messageHere } from "../../cli/hints.ts";

/** What a program passes, and nobody can type: `{ tls: false }`, `connectTimeout`. */
const FOR_PROGRAMS =
  /(?<!\$)\{ ?[a-z]\w*[:, }]|\b(connectTimeout|identityFile|useNative|clientCa)\b/;

function* sources(folder: string): Generator<string> {
  for (
    const { name, isDirectory } of Deno.readDirSync(new URL(`../../${folder}`, import.meta.url))
  ) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}

Deno.test("hints: none that the library has for programs is left as it is for whoever types", () => {
  let found = 0;
  for (const path of [...sources("client"), ...sources("transport"), "runtime/runtimes.ts"]) {
    const text = Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
    // A string that follows "hint:", and those that are added to it.
    for (
      const [, hint] of text.matchAll(/\bhint(?:: string)?[:=]([^;]*?)(?:,\n\s*\w+[,:]|;|\n\s*\})/g)
    ) {
      const literals = [
        ...hint!.matchAll(/"((?:\\.|[^"\\\n])*)"|'((?:\\.|[^'\\\n])*)'|`([^`]*)`/g),
      ];
      for (const [, double, single, template] of literals) {
        const said = (double ?? single ?? template)!.replaceAll("\\'", "'")
          .replace(/\$\{\s*JSON\.stringify\([^)]*\)\s*\}/, '"deno"');
        if (!FOR_PROGRAMS.test(said)) continue;
        found++;
        assert(!FOR_PROGRAMS.test(hintHere(said)), `${path}: ${hintHere(said)}`);
      }
    }
  }
  assert(found > 10, `only ${found} were found`);
});

Deno.test("hints: only the hint of a message is put into other words", () => {
  assertEquals(
    messageHere(
      "Cannot do it: connectTimeout\n  stderr: { interpreter }\n  hint: name { interpreter }",
    ),
    "Cannot do it: connectTimeout\n  stderr: { interpreter }\n  hint: name --interpreter",
  );
});
