/**
 * The agent that is sent is the agent that was written: statement by statement, with other names that are never confused.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { minifyPython } from "../../tools/minify_python.ts";
import { PYTHON } from "./pythons.ts";

/** Walks through two sources side by side, and says where they differ. */
const COMPARE = `
import ast, json, sys

def plain(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            said = [s for s in body if not (isinstance(s, ast.Expr) and hasattr(s.value, "value") and type(s.value.value) is str)]
            node.body = said or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree

def units(part, method=False):
    inside = sum([getattr(part, name, []) for name in ("body", "orelse", "finalbody", "handlers")], [])
    if isinstance(part, (ast.Module, ast.ClassDef, ast.If, ast.Try, ast.ExceptHandler)):
        for each in inside:
            yield from units(each, isinstance(part, ast.ClassDef))
    else:
        yield part, method

def pairs(a, b):
    if type(a) is not type(b):
        raise AssertionError("%s became %s" % (ast.dump(a), ast.dump(b)))
    for field in a._fields:
        x, y = getattr(a, field, None), getattr(b, field, None)
        many = isinstance(x, list) and isinstance(y, list)
        if many and len(x) != len(y):
            raise AssertionError("%s became %s" % (ast.dump(a), ast.dump(b)))
        for m, n in zip(x, y) if many else [(x, y)]:
            if isinstance(m, ast.AST):
                yield from pairs(m, n)
            elif type(m) is str and field in ("id", "arg", "name", "names", "asname") and not isinstance(a, ast.keyword):
                yield m, n
            elif m != n and not (isinstance(a, ast.Constant) and set(m.split()) <= later):
                raise AssertionError("%r became %r" % (m, n))

sources = json.load(sys.stdin)
later = set(sources["later"])
everywhere = {}
for old, new in sources["parts"]:
    old, new = plain(ast.parse(old)), plain(ast.parse(new))
    list(pairs(old, new))
    for (a, method), (b, _) in zip(units(old), units(new)):
        there, back = {}, {}
        if method and hasattr(a, "name"):
            # It is an attribute, whatever a variable of that name is called.
            if a.name != b.name:
                raise AssertionError("the method %s became %s" % (a.name, b.name))
            a.name = b.name = ""
        for m, n in pairs(a, b):
            if there.setdefault(m, n) != n or back.setdefault(n, m) != m:
                raise AssertionError("%s and %s are confused in %s" % (m, back.get(n), ast.dump(a)[:300]))
        if hasattr(a, "name") and everywhere.setdefault(a.name, b.name) != b.name:
            raise AssertionError("%s has two names" % a.name)
print("same", all(word in everywhere for word in later))
`;

const MARKS = ["# ==== later", "# ==== rest"];

/** What the second part has for the first, by the names in the calls of \`later\`. */
function laterNames(source: string): string[] {
  return [...source.matchAll(/^later\(([^)]*)\)/gm)].flatMap(([, names]) => names!.match(/\w+/g)!);
}

Deno.test({
  name: "Python: the agent that is sent is the one that was written, with shorter names",
  ignore: PYTHON === undefined,
  fn: async () => {
    const source = await Deno.readTextFile(
      new URL("../../runtime/python/agent.py", import.meta.url),
    );
    const ends = MARKS.map((mark) => source.indexOf(`\n${mark}`) + 1);
    const shorter = minifyPython(source, ...MARKS);
    const child = new Deno.Command(PYTHON!.path, {
      args: ["-c", COMPARE],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    const later = laterNames(source);
    assert(later.length > 5);
    const parts = shorter.map((part, i) => [source.slice(ends[i - 1] ?? 0, ends[i]), part]);
    await writer.write(new TextEncoder().encode(JSON.stringify({ later, parts })));
    await writer.close();
    const { stdout, stderr } = await child.output();
    assertEquals(new TextDecoder().decode(stderr), "");
    assertEquals(new TextDecoder().decode(stdout), "same True\n");
  },
});

Deno.test("Python: statements share a line where nothing else belongs to it", () => {
  const [first] = minifyPython(
    "if a:\n    b()\n    c()\nelse:\n    d()\n    if e:\n        f()\n    g()\n    h()\ni()\nj()\n# rest\n",
    "# rest",
  );
  assertEquals(first, "if a:b();c()\nelse:\n d()\n if e:f()\n g();h()\ni();j()\n");
});
