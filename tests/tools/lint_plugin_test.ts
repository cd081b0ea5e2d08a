import { assertEquals } from "@std/assert";
import plugin from "../../tools/lint_plugin.ts";

function lint(file: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, file, source).map((found) => found.id.replace("pushy/", ""));
}

const IMPORTS: [file: string, specifier: string, allowed: boolean][] = [
  ["protocol/session.ts", "./frames.ts", true],
  ["protocol/session.ts", "../transport/popen.ts", false],
  ["protocol/session.ts", "../mod.ts", false],
  ["transport/local.ts", "./popen.ts", true],
  ["transport/local.ts", "../protocol/frames.ts", false],
  ["transport/ssh/channel.ts", "../popen.ts", true],
  ["transport/ssh/channel.ts", "../../client/connect.ts", false],
  ["transport/local.ts", "node:net", true],
  ["transport/local.ts", "@pushy/core", false],
  ["runtime/bootstrap.ts", "../protocol/frames.ts", true],
  ["runtime/bootstrap.ts", "../transport/popen.ts", false],
  ["client/connect.ts", "../runtime/bootstrap.ts", true],
  ["client/connect.ts", "../transport/local.ts", true],
  ["client/connect.ts", "../server/run.ts", false],
  ["client/connect.ts", "../tests/support/leaks.ts", false],
  ["server/run.ts", "../runtime/bootstrap.ts", true],
  ["server/run.ts", "../client/connect.ts", false],
  ["mod.ts", "./client/connect.ts", true],
  ["mod.ts", "./tests/support/leaks.ts", false],
  ["cli.ts", "./mod.ts", true],
  ["cli.ts", "./server/run.ts", true],
  ["cli.ts", "./cli/repl.ts", true],
  ["cli/repl.ts", "../mod.ts", true],
  ["cli/repl.ts", "./history.ts", true],
  ["cli/doctor.ts", "../transport/popen.ts", true],
  ["cli/server.ts", "../server/run.ts", true],
  ["cli/repl.ts", "npm:acorn@8", true],
  ["cli/repl.ts", "../client/connect.ts", false],
  ["cli/repl.ts", "../protocol/messages.ts", false],
  ["client/connect.ts", "../cli/repl.ts", false],
  ["mod.ts", "./cli/repl.ts", false],
  ["tests/a_test.ts", "../client/connect.ts", true],
];

for (const [file, specifier, allowed] of IMPORTS) {
  Deno.test(`layers: ${file} ${allowed ? "may" : "may not"} import ${specifier}`, () => {
    const expected = allowed ? [] : ["layers"];
    assertEquals(lint(file, `import { a } from "${specifier}";`), expected, "import");
    assertEquals(lint(file, `import type { A } from "${specifier}";`), expected, "import type");
    assertEquals(lint(file, `export { a } from "${specifier}";`), expected, "export");
    assertEquals(lint(file, `export * from "${specifier}";`), expected, "export all");
    assertEquals(lint(file, `await import("${specifier}");`), expected, "dynamic import");
    assertEquals(lint(file, `let a: import("${specifier}").A;`), expected, "type");
  });
}

const SOURCES: [file: string, source: string, found: string[]][] = [
  ["client/a.ts", "export default 1", ["no-default-export"]],
  ["client/a.ts", "const a = 1; export { a as default }", ["no-default-export"]],
  ["tools/lint_plugin.ts", "export default 1", []],
  ["tests/a.ts", "enum A { B }", ["erasable-syntax"]],
  ["client/a.ts", "namespace A { export const b = 1 }", ["erasable-syntax"]],
  ["client/a.ts", "declare global { interface A {} }", []],
  ["client/a.ts", 'declare module "a" { interface A {} }', []],
  ["client/a.ts", "class A { private b = 1 }", ["hash-private"]],
  ["client/a.ts", "class A { private b() {} }", ["hash-private"]],
  ["client/a.ts", "class A { constructor(private b: number) {} }", ["hash-private"]],
  ["client/a.ts", "class A { #b = 1; private constructor() {} protected c() {} }", []],
  ["client/utils.ts", "", ["file-names"]],
  ["tests/support/string_helpers.ts", "", ["file-names"]],
  ["client/connection_manager.ts", "", ["file-names"]],
  ["client/commonplace.ts", "", []],
  ["client/a.ts", "new Proxy({}, {})", ["one-proxy"]],
  ["mod.ts", "new Proxy({}, {})", ["one-proxy"]],
  ["protocol/proxy.ts", "new Proxy({}, {})", []],
  ["tests/a.ts", "new Proxy({}, {})", []],
  ["client/a.ts", "console.log(1)", ["quiet"]],
  ["runtime/a.ts", "console.log = () => {}", []],
  ["cli.ts", "console.log(1)", []],
  ["cli/repl.ts", "console.log(1)", []],
];

for (const [file, source, found] of SOURCES) {
  Deno.test(`lint: ${source || "an empty file"} in ${file}`, () => {
    assertEquals(lint(file, source), found);
  });
}
